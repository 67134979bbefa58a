"""Streams, connections and hosts without a network, for the tests of protocols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest
import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import Buffer, ConnectionInfo, Direction, MuxedConnection, OpensStreams, Stream, StreamHandler
from peerstack.stack.addressing import AnyPeer
from peerstack.stack.errors import StackError
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair


class PipeStream(Stream):
    """A stream that is a memory pipe; a reset is a cut of the pipe."""

    def __init__(self, pipe: MemoryPipe, connection: MuxedConnection) -> None:
        self._pipe = pipe
        self._connection = connection

    @property
    def connection(self) -> MuxedConnection:
        return self._connection

    def reset(self, code: int = 0) -> None:
        self._pipe.abort()

    def unread(self, data: bytes) -> None:
        self._pipe.unread(data)

    async def send_all(self, data: Buffer) -> None:
        await self._pipe.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._pipe.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._pipe.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._pipe.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._pipe.aclose()


class PipeConnection(MuxedConnection):
    """A connection whose every stream is a memory pipe of its own."""

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info
        self.other: PipeConnection = self
        self._closed = False
        self._arrive, self._arrivals = trio.open_memory_channel[Stream](100)

    async def run(self) -> None:
        await trio.sleep_forever()

    async def open_stream(self) -> Stream:
        ours, theirs = memory_pipe_pair()
        await self.other._arrive.send(PipeStream(theirs, self.other))
        return PipeStream(ours, self)

    async def accept_stream(self) -> Stream:
        return await self._arrivals.receive()

    async def aclose(self) -> None:
        self._closed = True
        await trio.lowlevel.checkpoint()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def rtt(self) -> float | None:
        return None

    @property
    def stream_count(self) -> int:
        return 0


class Connect(Protocol):
    """Make the two ends of a connection between the holders of two keys."""

    def __call__(
        self,
        one: Identity,
        other: Identity,
        *,
        one_at: str = "/ip4/127.0.0.1/tcp/1001",
        other_at: str = "/ip4/127.0.0.1/tcp/1002",
    ) -> tuple[MuxedConnection, MuxedConnection]: ...


def info(remote: Identity, local_address: str, remote_address: str, direction: Direction) -> ConnectionInfo:
    return ConnectionInfo(
        remote_peer=remote.peer_id,
        remote_public_key=remote.public_key,
        local_address=Multiaddr(local_address),
        remote_address=Multiaddr(remote_address),
        direction=direction,
        security="/test",
        muxer="/test",
    )


def connect_ends(
    one: Identity,
    other: Identity,
    *,
    one_at: str = "/ip4/127.0.0.1/tcp/1001",
    other_at: str = "/ip4/127.0.0.1/tcp/1002",
) -> tuple[MuxedConnection, MuxedConnection]:
    ours = PipeConnection(info(other, one_at, other_at, Direction.OUTBOUND))
    theirs = PipeConnection(info(one, other_at, one_at, Direction.INBOUND))
    ours.other, theirs.other = theirs, ours
    return ours, theirs


@pytest.fixture
def connect() -> Connect:
    return connect_ends


@pytest.fixture
async def stream_pair() -> tuple[Stream, Stream]:
    ours, theirs = connect_ends(Identity.generate(), Identity.generate())
    return await ours.open_stream(), await theirs.accept_stream()


class HandlerHost:
    """A host whose streams to any peer are served by one handler, and reset when that fails."""

    def __init__(self, handler: StreamHandler, nursery: trio.Nursery) -> None:
        self._handler = handler
        self._nursery = nursery

    async def open_stream(self, peer: AnyPeer, protocol: str, /, *, allow_limited: bool = False) -> Stream:
        ours, theirs = connect_ends(Identity.generate(), Identity.generate())
        stream = await ours.open_stream()
        self._nursery.start_soon(self._serve, await theirs.accept_stream())
        return stream

    async def _serve(self, stream: Stream) -> None:
        try:
            await self._handler(stream)
        except (StackError, trio.BrokenResourceError):
            stream.reset()
        else:
            await stream.aclose()


@pytest.fixture
def host_serving(nursery: trio.Nursery) -> Callable[[StreamHandler], OpensStreams]:
    return lambda handler: HandlerHost(handler, nursery)


@pytest.fixture(scope="session")
def peer() -> PeerId:
    return Identity.generate().peer_id
