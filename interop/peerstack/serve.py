"""The protocols that the contract wants served; identify and ping are the host's own."""

from __future__ import annotations

import hashlib
from functools import partial

from peerstack.protocols import perf
from peerstack.stack.abc import Stream
from peerstack.stack.host import Host

ECHO = "/interop/echo/1.0.0"
DIGEST = "/interop/digest/1.0.0"
RESET = "/interop/reset/1.0.0"


def serve(host: Host) -> None:
    """Serve them all."""
    host.handle(ECHO, serve_echo)
    host.handle(DIGEST, serve_digest)
    host.handle(RESET, serve_reset)
    host.handle(perf.PROTOCOL, partial(perf.serve, config=perf.PerfConfig()), max_streams_per_peer=1)


async def serve_echo(stream: Stream) -> None:
    """Send every byte back as it arrives, and the end."""
    async for data in stream:
        await stream.send_all(data)


async def serve_digest(stream: Stream) -> None:
    """Answer everything up to the end by its SHA-256."""
    digest = hashlib.sha256()
    async for data in stream:
        digest.update(data)
    await stream.send_all(digest.digest())


async def serve_reset(stream: Stream) -> None:
    """Reset the stream after one byte."""
    await stream.receive_some(1)
    stream.reset()
