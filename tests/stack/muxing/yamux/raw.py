"""A connection under test whose peer is a bare pipe, and two connections joined."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Direction
from peerstack.stack.muxing.yamux import Config, Yamux, YamuxConnection, YamuxStream
from peerstack.stack.muxing.yamux.wire import DATA, HEADER_SIZE, SYN, decode_header
from peerstack.stack.testing import MemoryPipe, PlainChannel, Side, connection_infos, memory_pipe_pair, muxed_pair

from .cores import frame

OUTBOUND, INBOUND = connection_infos()


class RawPeer:
    """The other end of a connection, frame by frame."""

    def __init__(self, pipe: MemoryPipe, side: Side) -> None:
        self.pipe = pipe
        self.side = side
        assert isinstance(side.connection, YamuxConnection)
        self.connection = side.connection
        self._data = b""

    async def send(self, *frames: bytes) -> None:
        """Send frames, and wait until they were dealt with."""
        await self.pipe.send_all(b"".join(frames))
        await trio.testing.wait_all_tasks_blocked()

    async def accepted(self, stream_id: int = 1, body: bytes = b"") -> YamuxStream:
        """Open a stream and return it as the connection sees it."""
        await self.send(frame(DATA, SYN, stream_id, body=body))
        return await self.connection.accept_stream()

    def received(self) -> list[tuple[int, int, int, int]]:
        """Return the headers of the frames that came since the last call, without pings."""
        while self.pipe.incoming.size:
            self._data += self.pipe.incoming.take()
        frames: list[tuple[int, int, int, int]] = []
        while len(self._data) >= HEADER_SIZE:
            header = decode_header(self._data)
            end = HEADER_SIZE + (header[3] if header[0] == DATA else 0)
            if end > len(self._data):
                break
            self._data = self._data[end:]
            if header[0] != 2:
                frames.append(header)
        return frames


@asynccontextmanager
async def against_raw(
    config: Config | None = None, *, client: bool = False, capacity: int = 1024 * 1024
) -> AsyncIterator[RawPeer]:
    """Run a connection against a bare pipe."""
    near, far = memory_pipe_pair(capacity)
    info = OUTBOUND if client else INBOUND
    assert info.direction is (Direction.OUTBOUND if client else Direction.INBOUND)
    side = Side(Yamux(config).mux(PlainChannel(near), info), near)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.run)
        await trio.testing.wait_all_tasks_blocked()
        yield RawPeer(far, side)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connections(
    config: Config | None = None, *, capacity: int = 64 * 1024
) -> AsyncIterator[tuple[YamuxConnection, YamuxConnection]]:
    """Run two connections over a pipe in memory; the first is the client."""
    async with muxed_pair(Yamux(config), Yamux(config), capacity=capacity) as (near, far):
        assert isinstance(near.connection, YamuxConnection)
        assert isinstance(far.connection, YamuxConnection)
        yield near.connection, far.connection


async def stream_pair(near: YamuxConnection, far: YamuxConnection) -> tuple[YamuxStream, YamuxStream]:
    """Return both ends of a stream."""
    stream = await near.open_stream()
    await stream.send_all(b"!")
    accepted = await far.accept_stream()
    assert await accepted.receive_some() == b"!"
    return stream, accepted


async def raises(
    error: type[BaseException], operation: Callable[[], Awaitable[object]], match: str | None = None
) -> None:
    """Run the operation, which must raise; for tasks that wait."""
    with pytest.raises(error, match=match):
        await operation()
