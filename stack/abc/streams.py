"""The interfaces between the layers: ABCs for what we hand to users, Protocols for what users hand to us."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import trio

from ..errors import LocalProtocolError

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from ..events import Event
    from ..identity import PeerId, PublicKey
    from ..report import Attempt

Buffer: TypeAlias = bytes | bytearray | memoryview


class Direction(StrEnum):
    """Who opened a connection or a stream."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class ConnectionState(StrEnum):
    """What may be expected of a connection now."""

    ALIVE = "alive"
    """Nothing speaks against it."""
    SUSPECTED = "suspected"
    """Something was sent and nothing has been received for some round trips, or a probe is not answered yet."""
    CLOSING = "closing"
    """It is over, or on its way out: no stream can be opened."""


SILENCE = 2.0
"""Seconds without an answer to what was sent after which a connection is suspected, or `SILENT_ROUND_TRIPS`."""
SILENT_ROUND_TRIPS = 4
"""Round trips of that silence, where they take longer than `SILENCE`."""


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
        info = self.info
        where = f"{info.direction} to {info.remote_peer} at {info.remote_address}"
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
        """Say goodbye where the wire has a word for it, and close; every stream is broken afterwards."""

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
        """When something was first sent after the peer was last heard of, on trio's clock; None if nothing was.

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
        """Take note that the peer is authenticated, for pipes that allow strangers less."""


class Channel(trio.abc.Stream):
    """What a muxer runs on: bytes go in sealed at once and leave in batches, and come out in whole pieces.

    `write` never waits and never fails half-way, so a caller that is cancelled can not leave half a frame behind.
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
        """End our direction of the pipe, behind what was flushed. Raises `LocalProtocolError` if it can not."""

    @abstractmethod
    async def read(self) -> list[bytes]:
        """Wait for bytes and return all that are there, in order; an empty list is the end.

        Raises `RemoteProtocolError` for what can not be opened, `trio.BrokenResourceError` when the pipe broke.
        """

    @abstractmethod
    def unread(self, data: bytes) -> None:
        """Give bytes back: the next read returns them first."""


@dataclass(frozen=True, slots=True)
class Wire:
    """A raw byte stream to another host, not yet authenticated, and its two ends."""

    stream: trio.abc.Stream
    local_address: Multiaddr
    remote_address: Multiaddr
    handshake: Callable[[], Awaitable[trio.abc.Stream]] | None = None
    """What a listener leaves to be done before bytes flow, such as an HTTP upgrade: returns the stream to use then.

    Whoever accepted the wire runs it once, under a deadline of its own and beside other work, so that a slow client
    holds up nobody else, and closes `stream` when it fails. Raises `RemoteProtocolError`, `trio.BrokenResourceError`.
    """


@dataclass(frozen=True, slots=True)
class Secured:
    """What a security handshake gives: the channel, who is there, and the muxer if both sides named one early."""

    channel: Channel
    remote_public_key: PublicKey
    muxer: str | None = None

    @property
    def remote_peer(self) -> PeerId:
        """The authenticated peer."""
        return self.remote_public_key.peer_id


class Incoming(ABC):
    """A connection that arrived at a listener and is not authenticated yet; refusing it costs nothing."""

    local_address: Multiaddr
    remote_address: Multiaddr

    @abstractmethod
    async def upgrade(self) -> MuxedConnection:
        """Authenticate and mux. The caller sets the deadline. Closes the wire when it fails."""

    @abstractmethod
    async def refuse(self) -> None:
        """Close the wire unheard, and say no more than that: nothing, or QUIC's CONNECTION_REFUSED."""


class StreamListener(trio.abc.AsyncResource):
    """A bound address that yields raw byte streams."""

    address: Multiaddr

    @abstractmethod
    async def accept(self) -> Wire:
        """Wait for the next wire. Raises `trio.ClosedResourceError` after `aclose`; survives a peer's early reset."""


class Listener(trio.abc.AsyncResource):
    """A bound address that yields connections to be upgraded."""

    address: Multiaddr
    """As bound: the real port, but possibly the unspecified address."""

    @abstractmethod
    async def accept(self) -> Incoming:
        """Wait for the next connection. Raises `trio.ClosedResourceError` after `aclose`."""


class StreamTransport(Protocol):
    """Carries plain byte streams: TCP, memory, WebSocket. `UpgradedTransport` makes a `Transport` of it."""

    def can_dial(self, address: Multiaddr) -> bool:
        """Say whether `dial` understands this address (names resolved already)."""
        ...

    def can_listen(self, address: Multiaddr) -> bool:
        """Say whether `listen` understands this address."""
        ...

    async def dial(self, address: Multiaddr) -> Wire:
        """Connect. Raises `OSError` or `StackError`."""
        ...

    async def listen(self, address: Multiaddr) -> StreamListener:
        """Bind. Raises `OSError` or `StackError`."""
        ...


class Transport(Protocol):
    """Carries authenticated, muxed connections; the only thing a swarm knows."""

    def can_dial(self, address: Multiaddr) -> bool:
        """Say whether `dial` understands this address."""
        ...

    def can_listen(self, address: Multiaddr) -> bool:
        """Say whether `listen` understands this address."""
        ...

    async def dial(self, address: Multiaddr, peer: PeerId | None, attempt: Attempt) -> MuxedConnection:
        """Connect, authenticate, mux, recording each stage in `attempt`. Raises `OSError` or `StackError`."""
        ...

    async def listen(self, address: Multiaddr) -> Listener:
        """Bind. Raises `OSError` or `StackError`."""
        ...


class Protector(Protocol):
    """Keeps strangers off a wire before anything is said on it, as the key of a private network does."""

    def protect(self, stream: trio.abc.Stream) -> Pipe:
        """Return what to speak on instead of the stream; to whoever lacks the key it is noise, and theirs to us."""
        ...


class Security(Protocol):
    """Authenticates and encrypts a byte stream."""

    @property
    def protocol_id(self) -> str:
        """The id that multistream-select negotiates, such as `/noise`."""
        ...

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        """Run the handshake. `muxers` are ours in order of preference, for early negotiation.

        Raises `PeerIdMismatch` when `expect` is given and another peer is there, `RemoteProtocolError` for a broken
        handshake, `ConnectionLost` when the wire ends early.
        """
        ...


@runtime_checkable
class ProvesPeer(Protocol):
    """A part that was made for one identity and proves it, such as Noise; `open_host` takes only those of its own."""

    @property
    def local_peer(self) -> PeerId:
        """Who it proves to be."""
        ...


class Muxer(Protocol):
    """Makes many streams of one channel."""

    @property
    def protocol_id(self) -> str:
        """The id that multistream-select negotiates, such as `/yamux/1.0.0`."""
        ...

    def mux(self, channel: Channel, info: ConnectionInfo) -> MuxedConnection:
        """Wrap the channel; `info.direction` says who is the client."""
        ...


StreamHandler: TypeAlias = Callable[[Stream], Awaitable[None]]
"""Serves one inbound stream; the stream is closed when it returns, and reset when it raises."""


class Gater(Protocol):
    """Decides which peers and addresses may be dialed or accepted; every answer is yes (True) or no (False).

    One that raises, or answers anything else, refuses that connection, and the log says so with a traceback.
    """

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        """Asked before each dial of an address."""
        ...

    def allow_accept(self, remote_address: Multiaddr) -> bool:
        """Asked for each arriving connection before a byte is read."""
        ...

    def allow_connection(self, info: ConnectionInfo) -> bool:
        """Asked when the peer is authenticated, in either direction."""
        ...


class Observer(Protocol):
    """Receives events; must not block. What it raises ends the host, and leaves `open_host` as itself."""

    def notify(self, event: Event) -> None:
        """Take note of an event."""
        ...


class OpensStreams(Protocol):
    """What the dialing side of a protocol needs of a host."""

    async def open_stream(self, peer: PeerId | str | Multiaddr, protocol: str, /) -> Stream:
        """Open a stream to the peer (its id, or an address that ends in it) for a protocol, connecting at need.

        Raises `StackError`.
        """
        ...
