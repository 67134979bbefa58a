"""What the QUIC transport needs of an engine: all connections of one UDP socket, without I/O and without waiting.

The engine has the protocol: ids and routing, address validation by load (Retry), version negotiation, stateless resets,
answers for closed connections, keep-alive and timeouts, congestion, send buffers and receive windows. The transport
has the sockets, trio, certificates, limits, addresses and streams, and is the same for every engine.

A connection is a number, and so is a stream in it. After every call the transport asks `needs_flush`, and calls `flush`
in the same step: it returns what happened and what is to be sent.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from peerstack.stack.errors import StackError
from peerstack.stack.limits import WindowBudget
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.stack.security.tls.certificate import Credentials

from .certificates import CertificateVerifier
from .config import QuicConfig


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What all engines of a transport are made with."""

    config: QuicConfig
    credentials: Credentials
    reset_key: bytes
    """32 bytes: HMAC-SHA256 of a connection id under it, cut to 16 bytes, is its stateless reset token."""
    budget: WindowBudget
    """Of all connections of the transport, for receive windows that grow."""
    growth: int = sys.maxsize
    """Bytes of it that one connection may take, beside what the largest window allows."""

    def connection_budget(self) -> WindowBudget:
        """Return what the windows of a new connection may grow by; close it with the connection."""
        return WindowBudget(min(self.config.max_connection_window, self.growth), self.budget)


# ---- events: all but Arrived begin with the connection they belong to; none comes after `close` of the connection


class Arrived(NamedTuple):
    """A connection wants in: `accept`, `refuse` or `ignore` it. The engine keeps its first datagrams."""

    arrival: int
    address: SocketAddress


class Answered(NamedTuple):
    """A datagram of the peer was accepted: the first one after `connect`, and the first one after each `ping`."""

    connection: int


class Connected(NamedTuple):
    """The peer is authenticated; the verifier has its key."""

    connection: int


class StreamOpened(NamedTuple):
    """The peer opened a stream. Comes before any other event of that stream."""

    connection: int
    stream: int


class Readable(NamedTuple):
    """`read` has something: bytes or the end. Told again, at the latest, after `read` has returned all there was."""

    connection: int
    stream: int


class Writable(NamedTuple):
    """A stream of which `write` took nothing has room again."""

    connection: int
    stream: int


class ResetReceived(NamedTuple):
    """The peer gave up sending (RESET_STREAM), and what arrived before was read: there is nothing more to read."""

    connection: int
    stream: int
    code: int


class StopReceived(NamedTuple):
    """The peer no longer reads a stream (STOP_SENDING); `write` takes nothing more."""

    connection: int
    stream: int
    code: int


class StreamsAvailable(NamedTuple):
    """The peer allows more streams, after `open` returned None."""

    connection: int


class Acknowledged(NamedTuple):
    """Everything written before this `mark` was acknowledged, or its stream was reset."""

    connection: int
    mark: int


class Ended(NamedTuple):
    """The connection is over: by an orderly close of the peer (`failure` None), or because of `failure`.

    `read` still gives what arrived, until `close` is called.
    """

    connection: int
    failure: StackError | None


Event: TypeAlias = (
    Arrived
    | Answered
    | Connected
    | StreamOpened
    | Readable
    | Writable
    | ResetReceived
    | StopReceived
    | StreamsAvailable
    | Acknowledged
    | Ended
)
Transmit: TypeAlias = tuple[bytes, int, SocketAddress]
"""Datagrams to one address, one after another: all of `segment` bytes, but for the last, which may be shorter."""


class ConnectionStatistics(NamedTuple):
    """What is known of a connection's path."""

    rtt: float | None
    """Smoothed, in seconds, once measured."""
    unanswered_since: float | None
    """When something was first sent that the peer has to acknowledge, after the last datagram of it."""


class SocketEngine(Protocol):
    """All QUIC connections of one UDP socket. No I/O, no waiting, no clock: times are seconds on trio's clock.

    Faults are contained in it: what a datagram makes it raise ends the connection that it belongs to.

    An engine that does its own system calls may get a method for that beside `receive` and `flush`, which every engine
    has: sockets that are shared with other protocols, and simulated ones, have no descriptor of their own.
    """

    name: str
    """By which it is chosen, and by which people know it: "aioquic"."""

    # ---- datagrams and time

    def receive(self, data: bytes | memoryview, segment: int, address: SocketAddress, now: float) -> None:
        """Take datagrams of one sender: `data` holds some of `segment` bytes, of which the last may be shorter."""
        ...

    @property
    def needs_flush(self) -> bool:
        """Whether `flush` has something to do before its deadline."""
        ...

    def flush(self, now: float, limit: int) -> tuple[list[Event], list[Transmit], float | None, bool]:
        """Run what is due; return what happened, what to send, when to call again, and whether more waits.

        None means that there is nothing to wait for. `limit` is about how many datagrams of one connection go at once.
        """
        ...

    def too_large(self, size: int, address: SocketAddress) -> None:
        """Send smaller datagrams there: the system refused one of `size` bytes."""
        ...

    # ---- arrivals

    def listen(self, enabled: bool) -> None:
        """Let new connections arrive, or no more; those that did stay until they are accepted, refused or ignored."""
        ...

    def expect(self, address: SocketAddress, expected: bool) -> None:
        """Let connections from this address arrive, or no more: listening or not, without proof, beyond the backlog.

        A dial whose connection the peer begins (a hole punch) waits for it.
        """
        ...

    def accept(self, arrival: int, verifier: CertificateVerifier, now: float) -> int:
        """Let a connection in that arrived; return its handle. Raises StackError if its first packet is no good."""
        ...

    def refuse(self, arrival: int) -> None:
        """Answer CONNECTION_REFUSED."""
        ...

    def ignore(self, arrival: int) -> None:
        """Forget an arrival without a word."""
        ...

    # ---- connections

    def connect(self, address: SocketAddress, verifier: CertificateVerifier, now: float) -> int:
        """Begin a connection and return its handle."""
        ...

    def close(self, connection: int, code: int, reason: str, now: float) -> None:
        """Forget a connection, and tell its peer unless it knows. Called once for each, also after `Ended`.

        CONNECTION_CLOSE goes out with the next `flush`, more than once to a peer that is authenticated, for one that
        misses it waits for its idle timeout; and it answers what still comes for a while.
        """
        ...

    def peer_address(self, connection: int) -> SocketAddress:
        """Return where datagrams go now; a NAT may have changed the port."""
        ...

    def statistics(self, connection: int) -> ConnectionStatistics:
        """Return what is known of the path."""
        ...

    def ping(self, connection: int) -> None:
        """Send a PING; `Answered` follows once anything comes from the peer."""
        ...

    def mark(self, connection: int) -> int:
        """Ask to be told by `Acknowledged` when all stream data and ends written so far have arrived."""
        ...

    # ---- streams

    def open(self, connection: int) -> int | None:
        """Return a new stream, of which the peer learns with the first bytes; None if it allows no more now."""
        ...

    def read(self, connection: int, stream: int, size: int) -> tuple[bytes, bool] | None:
        """Take up to `size` bytes, and whether the end came after them; None when there is nothing now (or ever).

        Reading is the flow control: it opens the windows. The end comes once, with the last bytes or as (b"", True).
        `size` 0 takes nothing, and tells the end if all was read.
        """
        ...

    def write(self, connection: int, stream: int, data: bytes | memoryview) -> int:
        """Queue what there is room for and return how many bytes that were.

        0: there is no room, `Writable` follows; or nothing can be sent any more, `StopReceived` told so or will.
        """
        ...

    def finish(self, connection: int, stream: int) -> None:
        """End our direction after what was written; nothing happens if it was ended, reset or stopped before."""
        ...

    def reset(self, connection: int, stream: int, code: int) -> None:
        """Give up our direction (RESET_STREAM), unless everything has arrived already."""
        ...

    def stop(self, connection: int, stream: int, code: int) -> None:
        """Drop what was not read and what still comes; tell the peer (STOP_SENDING) unless it has ended already."""
        ...


class EngineFactory(Protocol):
    """Makes the engine of each socket; the class of an engine is one."""

    name: str
    """That of its engines."""

    def __call__(self, settings: EngineSettings) -> SocketEngine:
        """Make an engine."""
        ...
