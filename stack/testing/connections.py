"""Two connected channels or muxed connections in memory, for tests of muxers and of what runs on streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import trio

from ..abc import ConnectionInfo, Direction, MuxedConnection, Muxer, Stream
from ..errors import StackError
from ..identity import Identity
from ..memory import DEFAULT_CAPACITY, MemoryPipe, memory_address, memory_pipe_pair
from ..security.plaintext import PlainChannel
from .checks import require

StreamPair: TypeAlias = tuple[Stream, Stream]


def plain_channel_pair(capacity: int = DEFAULT_CAPACITY) -> tuple[PlainChannel, PlainChannel]:
    """Return two connected channels; each direction holds `capacity` bytes before the sender waits."""
    one, other = memory_pipe_pair(capacity)
    return PlainChannel(one), PlainChannel(other)


def connection_infos(muxer: str = "") -> tuple[ConnectionInfo, ConnectionInfo]:
    """Return what the dialing and the listening side know of a connection between two new identities."""
    dialer, listener = Identity.generate(), Identity.generate()
    sides = (
        (listener, memory_address(1), memory_address(2), Direction.OUTBOUND),
        (dialer, memory_address(2), memory_address(1), Direction.INBOUND),
    )
    outbound, inbound = (
        ConnectionInfo(
            remote_peer=remote.peer_id,
            remote_public_key=remote.public_key,
            local_address=here,
            remote_address=there,
            direction=direction,
            security="plain",
            muxer=muxer,
        )
        for remote, here, there, direction in sides
    )
    return outbound, inbound


@dataclass(slots=True)
class ConnectionEnd:
    """One end of a connection under test."""

    connection: MuxedConnection
    closed_streams: list[Stream] = field(default_factory=list, kw_only=True)
    """Streams that `on_stream_closed` was called with."""
    ended: trio.Event = field(default_factory=trio.Event, kw_only=True)
    """Set when `run` is over."""
    failure: StackError | None = field(default=None, kw_only=True)
    """What `run` raised."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope, kw_only=True)
    """What `run` runs in."""

    async def run(self) -> None:
        """Run the connection and keep what it raises."""
        self.connection.on_stream_closed = self.closed_streams.append
        try:
            with self.scope:
                await self.connection.run()
        except StackError as error:
            self.failure = error
        finally:
            self.ended.set()


@dataclass(slots=True)
class Side(ConnectionEnd):
    """One end of a connection over a pipe in memory."""

    pipe: MemoryPipe


class ConnectionSubject(Protocol):
    """What the checks of streams and connections work on: anything that makes pairs of running connections."""

    @property
    def settle(self) -> float:
        """Seconds without progress that make a stream count as clogged."""
        ...

    @property
    def flow_control(self) -> bool:
        """Whether a stream that is not read leaves the others alone."""
        ...

    def sides(self) -> AbstractAsyncContextManager[tuple[ConnectionEnd, ConnectionEnd]]:
        """Run two connections."""
        ...

    def streams(self) -> AbstractAsyncContextManager[StreamPair]:
        """Run two connections with one stream between them."""
        ...


@asynccontextmanager
async def muxed_pair(near: Muxer, far: Muxer, *, capacity: int = DEFAULT_CAPACITY) -> AsyncIterator[tuple[Side, Side]]:
    """Run two connections over a pipe in memory, without security; the first one is the client."""
    pipes = memory_pipe_pair(capacity)
    infos = connection_infos(near.protocol_id)
    sides = tuple(
        Side(muxer.mux(PlainChannel(pipe), info), pipe)
        for muxer, pipe, info in zip((near, far), pipes, infos, strict=True)
    )
    async with trio.open_nursery() as nursery:
        for side in sides:
            nursery.start_soon(side.run)
        yield sides[0], sides[1]
        nursery.cancel_scope.cancel()


@dataclass(frozen=True, slots=True)
class MuxerSubject:
    """What the checks work on."""

    make_muxer: Callable[[], Muxer]
    capacity: int
    settle: float
    flow_control: bool = True

    def sides(self) -> AbstractAsyncContextManager[tuple[Side, Side]]:
        """Run two connections."""
        return muxed_pair(self.make_muxer(), self.make_muxer(), capacity=self.capacity)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[StreamPair]:
        """Run two connections with one stream between them."""
        async with self.sides() as (near, far):
            yield await open_pair(near.connection, far.connection)


async def open_pair(opener: MuxedConnection, acceptor: MuxedConnection) -> StreamPair:
    """Open a stream and accept it; a byte goes first, since muxers may open with the first byte only."""
    stream = await opener.open_stream()
    await stream.send_all(b"!")
    accepted = await acceptor.accept_stream()
    require(await accepted.receive_some(1) == b"!", "the first byte of a stream came out changed")
    return stream, accepted
