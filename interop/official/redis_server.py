"""A real Redis server: the one on PATH, or Debian's package unpacked into the cache, without installing anything."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import trio

from interop.build import BuildFailed, ToolchainMissing, cache_root, make_atomically, run_command
from interop.official.resp import RedisError, open_redis

# The program, and the libraries that a machine without it may lack.
PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblzf1", "libatomic1")
START_SECONDS = 15.0
POLL_SECONDS = 0.05


class Server(NamedTuple):
    """How a server is started."""

    program: str
    environment: dict[str, str]


def redis_server() -> Server:
    """Find or fetch a server; raises ToolchainMissing where none can be had."""
    if found := shutil.which("redis-server"):
        return Server(found, dict(os.environ))
    root = _unpacked()
    libraries = sorted({str(path.parent) for path in root.rglob("*.so*")})
    environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    return Server(str(root / "usr" / "bin" / "redis-server"), environment)


def _unpacked() -> Path:
    if missing := [tool for tool in ("apt-get", "dpkg", "dpkg-deb") if shutil.which(tool) is None]:
        raise ToolchainMissing(f"no redis-server, and no {' or '.join(missing)} to unpack Debian's with")
    architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    place = cache_root() / f"redis-{architecture.stdout.strip()}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            make_atomically(_unpack, place)
        except OSError:
            if not place.is_dir():  # another run was faster otherwise
                raise
        except BuildFailed as error:
            raise ToolchainMissing(f"no redis-server, and Debian's can not be fetched: {error}") from error
    return place


def _unpack(target: Path) -> None:
    with TemporaryDirectory() as folder:
        run_command(["apt-get", "download", *PACKAGES], Path(folder))
        for package in sorted(Path(folder).glob("*.deb")):
            run_command(["dpkg-deb", "-x", str(package), str(target)], target)


@asynccontextmanager
async def running_redis(server: Server) -> AsyncIterator[str]:
    """Run a server on a free loopback port, which keeps nothing; yield `HOST:PORT`. Raises RedisError."""
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    process = await trio.lowlevel.open_process(
        [server.program, *options], env=server.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        with trio.fail_after(START_SECONDS):
            while not await _answers(f"127.0.0.1:{port}"):
                if process.poll() is not None:
                    raise RedisError(f"redis-server leaves at once with code {process.returncode}")
                await trio.sleep(POLL_SECONDS)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _answers(address: str) -> bool:
    try:
        async with open_redis(address) as redis:
            return await redis.command("PING") == b"PONG"
    except (OSError, RedisError):
        return False


def free_port() -> int:
    """Return a TCP port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
