"""What the rest of this transport needs of a QUIC engine, and nothing else: the seam where a faster one fits in.

An engine is one connection without I/O: datagrams and time go in, events and datagrams come out. It never waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from peerstack.stack.errors import StackError
from peerstack.stack.identity import PublicKey
from peerstack.stack.net.datagrams import SocketAddress


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """The peer is authenticated; `Engine.peer_key` says who it is."""


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of a stream, in order; `end` when the peer will send no more."""

    stream_id: int
    data: bytes
    end: bool


@dataclass(frozen=True, slots=True)
class ResetReceived:
    """The peer gave up sending on a stream (RESET_STREAM)."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class StopReceived:
    """The peer no longer listens to a stream (STOP_SENDING)."""

    stream_id: int
    code: int


@dataclass(frozen=True, slots=True)
class RouteAdded:
    """The peer may address this connection by one more id."""

    connection_id: bytes


@dataclass(frozen=True, slots=True)
class RouteRemoved:
    """The peer will not use this id any more."""

    connection_id: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The connection is over: by an orderly close of the peer (`failure` is None), or because of `failure`."""

    failure: StackError | None


Event: TypeAlias = HandshakeCompleted | DataReceived | ResetReceived | StopReceived | RouteAdded | RouteRemoved | Ended


class Engine(Protocol):
    """One QUIC connection. Times are seconds on trio's clock."""

    @property
    def connection_id(self) -> bytes:
        """The id by which the peer first addresses this connection; more come as `RouteAdded`."""
        ...

    @property
    def peer_key(self) -> PublicKey | None:
        """The identity the peer proved, once it has."""
        ...

    @property
    def answered(self) -> bool:
        """Whether anything authentic came from the peer."""
        ...

    @property
    def peer_address(self) -> SocketAddress | None:
        """Where datagrams go now."""
        ...

    @property
    def peer_reset_token(self) -> bytes:
        """The last 16 bytes of a datagram by which the peer would say that it has forgotten us; may be empty."""
        ...

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time in seconds, once measured."""
        ...

    @property
    def awaits_acknowledgement(self) -> bool:
        """Whether packets are under way that the peer has to acknowledge."""
        ...

    def sent_marks(self) -> dict[int, int]:
        """Return where what each stream was given to send ends, of those that wait for acknowledgements."""
        ...

    def acknowledged(self, marks: dict[int, int]) -> bool:
        """Say whether everything before these marks was acknowledged, or its stream was reset; forgets those."""
        ...

    def receive(self, datagram: bytes, address: SocketAddress, now: float) -> None:
        """Take a datagram. What is wrong with it shows in `events`, if it counts at all."""
        ...

    def events(self) -> list[Event]:
        """Return what happened since the last call."""
        ...

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return what the congestion window lets out now."""
        ...

    def was_too_large(self, size: int) -> None:
        """Send smaller datagrams: the system says that one of `size` bytes does not fit the way to the peer."""
        ...

    def next_deadline(self) -> float | None:
        """Return when `handle_deadline` wants to be called."""
        ...

    def handle_deadline(self, now: float) -> None:
        """Run what is due."""
        ...

    @property
    def can_open(self) -> bool:
        """Whether the peer allows one more stream of ours."""
        ...

    def open_stream(self) -> int:
        """Return the id of a new stream of ours; the peer learns of it by the first bytes."""
        ...

    def is_new(self, stream_id: int) -> bool:
        """Say, once, whether this stream of the peer was never asked about before."""
        ...

    def send_room(self, stream_id: int) -> int:
        """Return how many bytes `write` should be given at most now."""
        ...

    def write(self, stream_id: int, data: bytes | memoryview, *, end: bool = False) -> bool:
        """Queue bytes, and the end of our direction; say whether it was still open, else nothing happens."""
        ...

    def unacknowledged(self, stream_id: int) -> bool:
        """Whether bytes of the stream, or its end, have not been acknowledged yet."""
        ...

    def reset(self, stream_id: int, code: int) -> None:
        """Give up our direction (RESET_STREAM), unless everything has arrived already."""
        ...

    def stop(self, stream_id: int, code: int) -> bool:
        """Stop listening (STOP_SENDING), unless the peer has ended already; what still comes is dropped.

        Say whether there is something to send.
        """
        ...

    def ignore(self, stream_id: int, size: int) -> None:
        """Drop what still comes, and tell the peer to stop sending only when that is more than `size` bytes."""
        ...

    def settle(self, stream_id: int) -> None:
        """Count off what will not be read, if all there is has been received; the stream is done with."""
        ...

    def consumed_of(self, stream_id: int) -> int:
        """Return how many bytes of a stream the application took."""
        ...

    def consumed(self, stream_id: int, size: int, now: float) -> bool:
        """Note that the application took bytes (or gave some back); say whether there is something to send."""
        ...

    def ping(self) -> None:
        """Ask the peer for a sign of life, in a datagram to which one that has forgotten us may say so."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection; the next datagram says so to the peer."""
        ...

    def release(self) -> None:
        """Give back memory reserved for receive windows."""
        ...
