"""The interop protocols a peer serves: echo, digest, reset, and py-libp2p's own perf service."""

import hashlib
import logging

from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.perf import PerfService

ECHO = TProtocol("/interop/echo/1.0.0")
DIGEST = TProtocol("/interop/digest/1.0.0")
RESET = TProtocol("/interop/reset/1.0.0")
PERF = TProtocol("/perf/1.0.0")

READ_SIZE = 65_536
PERF_BLOCK = 262_144

logger = logging.getLogger("interop.serve")


async def serve(host):
    """Register every handler of the contract on `host`."""
    for protocol, handler in ((ECHO, echo), (DIGEST, digest), (RESET, reset)):
        host.set_stream_handler(protocol, _guarded(handler))
    await PerfService(host, {"write_block_size": PERF_BLOCK}).start()


async def chunks(stream, size=READ_SIZE):
    """Yield what arrives, at most `size` bytes at a time, until the end of input."""
    while True:
        try:
            data = await stream.read(size)
        except StreamEOF:
            return
        yield data


async def echo(stream):
    """Send every byte back; close the write side at the end of input."""
    async for data in chunks(stream):
        await stream.write(data)
    await stream.close()


async def digest(stream):
    """Answer the whole input with its SHA-256."""
    seen = hashlib.sha256()
    async for data in chunks(stream):
        seen.update(data)
    await stream.write(seen.digest())
    await stream.close()


async def reset(stream):
    """Read one byte, then reset."""
    await stream.read(1)
    await stream.reset()


def _guarded(handler):
    async def run(stream):
        try:
            await handler(stream)
        except Exception as error:  # noqa: BLE001  what leaves a handler takes the whole connection with it
            logger.info("%s: %r", handler.__name__, error)
            await stream.reset()

    return run
