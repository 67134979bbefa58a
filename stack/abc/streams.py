"""The interfaces between the layers: ABCs for what we hand to users, Protocols for what users hand to us."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import trio

from ..errors import LocalProtocolError

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from ..identity import PeerId, PublicKey

Buffer: TypeAlias = bytes | bytearray | memoryview


class Direction(StrEnum):
    """Who opened a connection or a stream."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class ConnectionState(StrEnum):
    """What may be expected of a connection now."""

    ALIVE = "alive"
    """The peer answers, as far as is known."""
    SUSPECTED = "suspected"
    """Something was sent and nothing has been received for some round trips, or a probe is not answered yet."""
    CLOSING = "closing"
    """It is over, or on its way out: no stream can be opened."""


SILENCE = 2.0
"""Seconds without an answer to what was sent after which a connection is suspected, or `SILENT_ROUND_TRIPS`."""
SILENT_ROUND_TRIPS = 4
"""Round trips of that silence, where they take longer than `SILENCE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What a relay allows a connection before it ends it; None is no limit."""

    seconds: float | None = None
    """From when the connection was opened."""
    data: int | None = None
    """Bytes in each direction."""

    def __str__(self) -> str:
        seconds = None if self.seconds is None else f"{self.seconds:g} s"
        data = None if self.data is None else f"{self.data} bytes each way"
        return " and ".join(filter(None, (seconds, data))) or "an amount it does not tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """What is known of a connection from the moment it is authenticated."""

    remote_peer: PeerId
    remote_public_key: PublicKey | None
    local_address: Multiaddr
    remote_address: Multiaddr
    direction: Direction
    security: str
    muxer: str
    relay: PeerId | None = None
    """The peer that forwards the connection; None if it is direct."""
    limited: ConnectionLimits | None = None
    """What the relay allows it; None if there is no limit. Only protocols that ask for it get streams on it."""
    opened_at: float = field(default_factory=time.time)
    """Seconds since the epoch, for people; nothing is computed from it."""


class Stream(trio.abc.HalfCloseableStream):
    """A bidirectional byte stream inside a connection to an authenticated peer.

    All of trio's promises hold: `send_all`, `send_eof`, `receive_some`, iteration, `wait_send_all_might_not_block`.
    Both `StreamReset` and `ConnectionLost` are `trio.BrokenResourceError`. `aclose` sends what is missing to end
    the stream properly and never waits for the peer.

    What arrived before the peer's reset, or before the connection was lost, is received first; sending raises at once.
    `send_all` raises when our own side closes the stream or the connection meanwhile. `send_eof` does not raise for a
    peer that has reset the stream or stopped reading: its answer may still be read.
    """

    protocol: str = ""
    """The negotiated protocol id."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.protocol or 'not negotiated'} with {self.remote_peer}>"

    @property
    @abstractmethod
    def connection(self) -> MuxedConnection:
        """The connection that carries this stream."""

    @property
    def remote_peer(self) -> PeerId:
        """The authenticated peer at the other end."""
        return self.connection.info.remote_peer

    @abstractmethod
    def reset(self, code: int = 0) -> None:
        """Abort the stream in both directions at once; idempotent. The peer sees a reset, not an end."""

    @abstractmethod
    def unread(self, data: bytes) -> None:
        """Give bytes back: the next `receive_some` returns them first. For negotiators and parsers."""


class MuxedConnection(trio.abc.AsyncResource):
    """An authenticated connection that carries many streams.

    `run` must be running for anything to move; it returns when the connection ended well, and raises
    `RemoteProtocolError` or `ConnectionLost` when it did not. Afterwards every stream is broken.
    """

    info: ConnectionInfo
    on_stream_closed: Callable[[Stream], None] | None = None
    """Called once for each stream when both its directions are done or it was reset."""
    doubted: bool = False
    """Set by the owner of the connection while the answer to a probe decides whether it is alive."""

    def __repr__(self) -> str:
        if not hasattr(self, "info"):  # as while QUIC still shakes hands
            return f"<{type(self).__name__} not authenticated>"
        info = self.info
        way = "to" if info.direction is Direction.OUTBOUND else "from"
        where = f"{info.direction} {way} {info.remote_peer} at {info.remote_address}"
        return f"<{type(self).__name__} {where}, {self.state}, {self.stream_count} streams>"

    @abstractmethod
    async def run(self) -> None:
        """Move bytes until the connection ends."""

    @abstractmethod
    async def open_stream(self) -> Stream:
        """Open a stream. Raises `ConnectionLost` when the connection is gone; waits when the peer lags behind."""

    @abstractmethod
    async def accept_stream(self) -> Stream:
        """Wait for the next stream the peer opens. Raises `ConnectionLost` when the connection is gone."""

    @abstractmethod
    async def aclose(self) -> None:
        """Send a GO_AWAY where the protocol has one, and close; every stream is broken afterwards."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the connection is over, or on its way out: no stream can be opened."""

    @property
    @abstractmethod
    def rtt(self) -> float | None:
        """The latest round-trip time in seconds, or None while none was measured."""

    @property
    @abstractmethod
    def stream_count(self) -> int:
        """How many streams are open in either direction."""

    @property
    def unanswered_since(self) -> float | None:
        """When something was first sent after the last data from the peer, on trio's clock; None if nothing was.

        Only what usually brings an answer counts: content of streams and questions, and not acknowledgements. A
        connection that always says None is never suspected of being dead on its own account.
        """
        return None

    @property
    def state(self) -> ConnectionState:
        """What may be expected of the connection now."""
        if self.closed:
            return ConnectionState.CLOSING
        since = self.unanswered_since
        silent = since is not None and trio.current_time() - since >= max(SILENCE, SILENT_ROUND_TRIPS * (self.rtt or 0))
        return ConnectionState.SUSPECTED if silent or self.doubted else ConnectionState.ALIVE

    async def probe(self) -> None:
        """Ask the peer for a sign of life, and wait until anything at all is received from it.

        Waits for ever for a peer that is gone while the connection is not: the caller sets the deadline. Raises
        `ConnectionLost` when the connection ends meanwhile. One that cannot ask returns at once.
        """
        await trio.lowlevel.checkpoint()

    async def wait_acknowledged(self) -> None:
        """Wait until the peer's end of the connection has taken every byte that was sent on it before this call.

        What it proves: those bytes left this host, crossed the network, and were received, whole and in order, by the
        peer's process (over QUIC: by its QUIC endpoint). What it does not prove: that any handler has read them. Bytes
        of streams that were reset meanwhile are not waited for. It costs one round trip, or two while another task
        waits for the same, and a few bytes. Raises `ConnectionLost` when the connection ends first, so that what was
        sent may be lost; `LocalProtocolError` where a connection has no means to know.
        """
        await trio.lowlevel.checkpoint()
        raise LocalProtocolError(f"{type(self).__name__} has no means to know what the peer has received")

    @property
    def remote_peer(self) -> PeerId:
        """The authenticated peer at the other end."""
        return self.info.remote_peer


class Pipe(trio.abc.HalfCloseableStream):
    """A byte stream that can also move bytes without waiting; what the data path runs on.

    A transport may return any `trio.abc.Stream`; one that returns a `Pipe` is faster.
    """

    @abstractmethod
    def send_nowait(self, data: Buffer) -> int:
        """Send what fits at once and return how many bytes went (0 = the caller must wait).

        Raises `trio.BrokenResourceError` or `trio.ClosedResourceError`.
        """

    @abstractmethod
    async def send_some(self, data: Buffer) -> int:
        """Wait until something can be sent, send it, and return how many bytes went (at least 1).

        When it is cancelled nothing has gone, for a caller that comes back with the same bytes, as from a queue.
        """

    @abstractmethod
    def receive_nowait(self, buffer: memoryview) -> int:
        """Receive into `buffer` and return how many bytes came (0 = end of stream). Raises `trio.WouldBlock`."""

    @abstractmethod
    async def wait_receive_might_not_block(self) -> None:
        """Wait until `receive_nowait` is worth a try."""

    @abstractmethod
    def unread(self, data: bytes) -> None:
        """Give bytes back: the next receive returns them first."""

    def trust(self) -> None:
        """Note that the peer is authenticated, for pipes that allow less before."""


class Channel(trio.abc.Stream):
    """What a muxer runs on: bytes go in sealed at once and leave in batches, and come out in whole pieces.

    `write` never waits and never fails half-way, so a caller that is cancelled cannot leave half a frame behind.
    """

    @abstractmethod
    def write(self, buffers: Sequence[Buffer]) -> None:
        """Seal the buffers, as one run of bytes, into the queue. They are not referred to afterwards."""

    @property
    @abstractmethod
    def queued(self) -> int:
        """Bytes sealed but not yet taken by the pipe below."""

    @abstractmethod
    def flush_nowait(self) -> None:
        """Hand the pipe as much of the queue as it takes without waiting."""

    @abstractmethod
    async def flush(self) -> None:
        """Wait until the pipe has taken the whole queue; one task at a time."""

    @abstractmethod
    async def send_eof(self) -> None:
        """End our direction of the pipe, behind what was flushed. Raises `LocalProtocolError` if it cannot."""

    @abstractmethod
    async def read(self) -> list[bytes]:
        """Wait for bytes and return all that are there, in order; an empty list is the end.

        Raises `RemoteProtocolError` for what cannot be opened, `trio.BrokenResourceError` when the pipe broke.
        """

    @abstractmethod
    def unread(self, data: bytes) -> None:
        """Give bytes back: the next read returns them first."""
