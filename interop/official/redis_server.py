"""A real Redis server: the one on PATH, or Debian's package unpacked into the cache, without installing anything."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from interop.debian import Server, debian_program, free_port
from interop.official.resp import RedisError, open_redis

# The program, and the libraries that a machine without it may lack.
PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1")
START_SECONDS = 15.0
ANSWER_SECONDS = 1.0
POLL_SECONDS = 0.05
PORTS_TRIED = 3
"""Between finding a free port and binding it, another connection may take it."""


def redis_server() -> Server:
    """Find or fetch a server; raises ToolchainMissing where none can be had."""
    return debian_program("redis-server", PACKAGES, "usr/bin/redis-server")


@asynccontextmanager
async def running_redis(server: Server) -> AsyncIterator[str]:
    """Run a server on a free loopback port, which keeps nothing; yield `HOST:PORT`. Raises RedisError."""
    for _ in range(PORTS_TRIED):
        port = free_port()
        options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        process = await trio.lowlevel.open_process(
            [server.program, *options], env=server.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            if await _serves(process, f"127.0.0.1:{port}"):
                yield f"127.0.0.1:{port}"
                return
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    raise RedisError(f"redis-server leaves at once, on each of {PORTS_TRIED} ports")


async def _serves(process: trio.Process, address: str) -> bool:
    """Wait until a server answers; return False if it leaves instead. Raises TooSlowError."""
    with trio.fail_after(START_SECONDS):
        while not await _answers(address):
            if process.poll() is not None:
                return False
            await trio.sleep(POLL_SECONDS)
    return process.poll() is None


async def _answers(address: str) -> bool:
    with suppress(OSError, RedisError), trio.move_on_after(ANSWER_SECONDS):  # another program may be silent
        async with open_redis(address) as redis:
            return await redis.command("PING") == b"PONG"
    return False
