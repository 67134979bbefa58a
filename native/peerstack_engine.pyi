"""A QUIC engine in Rust: all connections of one UDP socket.

It does no I/O (but for `pump`), reads no clock and starts no threads. Times are seconds of the caller's clock, sizes
are bytes. Connections and arrivals are numbers that are never used again; streams have QUIC's ids. A method raises
`Unknown` for a connection that was closed, ValueError for an argument that cannot be, and RuntimeError while another
method of the same engine runs (in another thread, or in the function that verifies certificates).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

__version__: str

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""As Python's sockets have it."""

Buffer: TypeAlias = bytes | bytearray | memoryview

Verify: TypeAlias = Callable[[Sequence[bytes]], object]
"""Verifies the certificates that a peer shows (DER), during the handshake, once it proved to have the key of the first.

False, or what it raises, ends the connection with the alert `bad_certificate`; the latter is raised by the method that
ran the handshake. Called with more than one certificate, it is only told: there must be one.
"""

Event: TypeAlias = tuple[Any, ...]
"""What happened: one of the kinds below, and what is said there."""

ARRIVED: Final[int]
"""`(arrival, address, local, validated)`: a peer wants a connection: accept, refuse, retry or ignore it.

`local` is the IP address it sent to, if `receive` knew it; `validated` says whether it has answered a Retry.
"""
ANSWERED: Final[int]
"""`(connection,)`: the peer answered, for the first time or after a `ping`."""
CONNECTED: Final[int]
"""`(connection,)`: the handshake is over, and the certificate was accepted."""
MOVED: Final[int]
"""`(connection, address)`: the peer has another port, as behind a NAT that forgot it."""
OPENED: Final[int]
"""`(connection, stream)`: the peer opened a stream. Comes before its other events."""
READABLE: Final[int]
"""`(connection, stream)`: there is something to `read`. Told once until `read` returned None or everything."""
WRITABLE: Final[int]
"""`(connection, stream)`: after `write` did not take all, it may take more."""
FINISHED: Final[int]
"""`(connection, stream)`: everything written, and the end, was acknowledged."""
RESET: Final[int]
"""`(connection, stream, code)`: the peer gave up sending, and what arrived before was read."""
STOPPED: Final[int]
"""`(connection, stream, code)`: the peer reads no more; `write` takes nothing, and the stream was reset."""
AVAILABLE: Final[int]
"""`(connection,)`: the peer allows more streams."""
ACKNOWLEDGED: Final[int]
"""`(connection, mark)`: everything written before this `mark` was acknowledged, or its stream reset."""
LOST: Final[int]
"""`(connection, cause, code, reason)`: the connection ended, not by our `close`. `read` still gives what arrived."""

CAUSE_CLOSED: Final[int]
"""The peer's application closed it; the code is its own."""
CAUSE_ABORTED: Final[int]
"""The peer's QUIC gave up, for what we sent; the code is QUIC's (RFC 9000, section 20.1), 0x100 + the alert for TLS."""
CAUSE_BROKEN: Final[int]
"""The peer broke QUIC or TLS, or was refused; the code is QUIC's."""
CAUSE_RESET: Final[int]
"""The peer has forgotten the connection (a stateless reset)."""
CAUSE_TIMED_OUT: Final[int]
"""Nothing was heard for too long."""
CAUSE_VERSION: Final[int]
"""The peer does not speak QUIC version 1."""
CAUSE_BUG: Final[int]
"""A bug in the engine; other connections live on."""

class Unknown(LookupError):
    """There is no such connection or arrival, or it is over."""

class Refused(Exception):
    """A connection cannot begin; the arguments are those of LOST: cause, code and reason."""

class Engine:
    """All QUIC connections of one UDP socket."""

    def __init__(
        self,
        certificate: bytes,
        key: bytes,
        reset_key: bytes,
        now: float,
        *,
        idle_timeout: float = 30.0,
        keep_alive: float | None = 15.0,
        max_streams: int = 256,
        stream_window: int = ...,
        connection_window: int = ...,
        stream_ahead: int = ...,
        connection_ahead: int = ...,
        send_window: int = ...,
        crypto_buffer: int = ...,
        discovery: int | None = None,
        congestion: str = "cubic",
        backlog: int = 128,
        answers: float = 100.0,
        close_copies: int = 3,
        details: bool = False,
    ) -> None:
        """`certificate` is ours (DER), `key` its private key (PKCS #8, DER).

        `reset_key`: HMAC-SHA256 of a connection id under it, cut to 16 bytes, is its stateless reset token.
        `keep_alive`: silence after which the peer is asked for a sign of life; None: never.
        `max_streams`: streams that a peer may hold open.
        `stream_window`, `connection_window`: what a peer may send beyond what was read, on one stream and on all.
        `stream_ahead`, `connection_ahead`: what it may send beyond these; so much that was not read survives a reset.
        `send_window`: what waits to be acknowledged, on all streams of a connection.
        `crypto_buffer`: TLS messages out of order, kept before the peer is authenticated.
        `discovery`: the largest datagram that path MTU discovery tries; None: it tries none.
        `congestion`: cubic, newreno or bbr (which is experimental).
        `backlog`: arrivals that were not decided on; more are ignored.
        `answers`: a second, to what belongs to no connection: resets, version negotiation.
        `close_copies`: of the datagram that says that we close.
        `details`: whether `flush` gives batches with their ECN bits and the address to send from.
        """

    def receive(
        self, data: Buffer, segment: int, address: Address, now: float, *, ecn: int = 0, local: str | None = None
    ) -> None:
        """Take datagrams of one sender: `data` holds some of `segment` bytes, of which the last may be shorter.

        `segment` 0: it is one. `local` is the IP address they were sent to, if that is known.
        """

    @property
    def needs_flush(self) -> bool:
        """Whether `flush` has something to do before its deadline."""

    def flush(self, now: float, limit: int) -> tuple[list[Event], list[tuple[Any, ...]], float | None, bool]:
        """Run what is due; return events, batches to send, when to call again at the latest, and whether more waits.

        A batch is `(data, segment, address)`, as for `receive`; with `details` also `ecn` and `local`. At most about
        `limit` datagrams.
        """

    def listen(self, enabled: bool) -> None:
        """Let connections arrive, or no more; those that arrived stay until they are decided on."""

    def expect(self, address: Address, expected: bool) -> None:
        """Let connections from this address arrive, or no more: listening or not, and beyond the backlog."""

    def connect(self, address: Address, verify: Verify, datagram_size: int, now: float) -> int:
        """Begin a connection, over a path that takes datagrams of this size; return its number. Raises Refused."""

    def accept(self, arrival: int, verify: Verify, datagram_size: int, now: float) -> int:
        """Let a connection in; return its number. Raises Refused if its first packet is no good."""

    def refuse(self, arrival: int) -> None:
        """Answer CONNECTION_REFUSED."""

    def retry(self, arrival: int) -> bool:
        """Ask for proof of its address (Retry): it will arrive again. False, and nothing happens, if it gave that."""

    def ignore(self, arrival: int) -> None:
        """Forget an arrival without a word."""

    def close(self, connection: int, code: int, reason: bytes, now: float) -> None:
        """End a connection, or forget one that has ended; it has no events any more, and its number is unknown."""

    def ping(self, connection: int) -> None:
        """Ask for a sign of life, with a datagram to which a peer that has forgotten us may say so (43 bytes)."""

    def mark(self, connection: int) -> int:
        """Ask for ACKNOWLEDGED when all that was written so far has arrived.

        If that takes more than four round trips, writes take nothing until it has.
        """

    def address(self, connection: int) -> Address:
        """Return where datagrams go now."""

    def rtt(self, connection: int) -> float | None:
        """Return the smoothed round-trip time, once connected."""

    def unanswered_since(self, connection: int) -> float | None:
        """Return when something was first sent that the peer has to acknowledge, after it was last heard of."""

    def statistics(self, connection: int) -> dict[str, int]:
        """Return what was counted: datagrams, bytes and batches, losses, and the sizes of window and datagrams."""

    def set_receive_window(self, connection: int, size: int) -> None:
        """Change what the peer may send on all streams together beyond what was read."""

    def set_max_streams(self, connection: int, count: int) -> None:
        """Change how many streams the peer may hold open."""

    def open(self, connection: int) -> int | None:
        """Return a new stream, of which the peer learns with the first bytes; None if it allows no more now."""

    def read(self, connection: int, stream: int, size: int) -> tuple[bytes, bool] | None:
        """Take up to `size` bytes, and whether the end came after them; None when nothing is there."""

    def write(self, connection: int, stream: int, data: Buffer, *, end: bool = False) -> int | None:
        """Take what there is room for, and the end if that is all; return how many bytes that were.

        WRITABLE follows when it took less. None: the stream takes nothing any more.
        """

    def reset(self, connection: int, stream: int, code: int) -> None:
        """Give up sending (RESET_STREAM), unless everything has arrived already."""

    def stop(self, connection: int, stream: int, code: int) -> None:
        """Drop what was not read and what still comes, and tell the peer (STOP_SENDING)."""

    def use_socket(self, descriptor: int) -> None:
        """Make the system calls on this descriptor in `pump`; the caller keeps and closes it. Linux only."""

    def pump(
        self, now: float, reads: int, limit: int
    ) -> tuple[list[Event], float | None, bool, bool, list[tuple[Address, int]]]:
        """Receive with up to `reads` system calls, and do what `flush` does, but send. Linux only.

        Returns events, the next deadline, whether more waits, whether the socket is full (then call again when it is
        writable), and where datagrams could not be sent, with the errno. Raises OSError for a broken descriptor.
        """
