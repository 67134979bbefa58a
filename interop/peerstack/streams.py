"""Moves bytes over streams the way the commands need it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from peerstack.stack.abc import Stream


@asynccontextmanager
async def closing(stream: Stream) -> AsyncIterator[Stream]:
    """Close the stream after the block, or reset it when the block raises."""
    try:
        yield stream
    except BaseException:
        stream.reset()
        raise
    await stream.aclose()


async def send_and_end(stream: Stream, payload: bytes, chunk: int) -> None:
    """Send the payload in chunks, and the end."""
    with memoryview(payload) as view:
        for start in range(0, len(view), chunk):
            await stream.send_all(view[start : start + chunk])
    await stream.send_eof()


async def receive_to_end(stream: Stream) -> list[bytes | bytearray]:
    """Return all chunks up to the end."""
    return [data async for data in stream]


async def exchange(stream: Stream, payload: bytes, chunk: int) -> list[bytes | bytearray]:
    """Send the payload and the end, and receive up to the end meanwhile."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_and_end, stream, payload, chunk)
        return await receive_to_end(stream)


async def receive_exactly(stream: Stream, size: int) -> bytes:
    """Return `size` bytes. Raises EOFError when the stream ends before."""
    data = bytes(await stream.receive_some(size))
    while len(data) < size:
        more = await stream.receive_some(size - len(data))
        if not more:
            raise EOFError(f"the stream ended after {len(data)} of {size} bytes")
        data += more
    return data
