"""The engine in Rust (`native/`): what `peerstack_engine` has, as `interface.SocketEngine` wants it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, Final

import peerstack_engine as native
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from peerstack.stack.errors import StackError
from peerstack.stack.limits import RateLimiter, WindowBudget
from peerstack.stack.net.datagrams import SocketAddress

from . import reasons
from .certificates import CertificateVerifier
from .config import ANSWERS_A_SECOND, CLOSE_COPIES, GROWTH_ROUND_TRIPS, MACOS_LARGEST, QuicConfig
from .interface import (
    Acknowledged,
    Answered,
    Arrived,
    Connected,
    ConnectionStatistics,
    Ended,
    EngineSettings,
    Event,
    Readable,
    ResetReceived,
    StopReceived,
    StreamOpened,
    StreamsAvailable,
    Transmit,
    Writable,
)

AHEAD: Final = 4
"""The part of a window, one in so many, that holds what the engine keeps for a peer that resets a stream."""
_CERTIFICATE_REQUIRED: Final = reasons.CRYPTO_ERROR + 116
_NO_VIABLE_PATH: Final = 0x10
_EVENTS: Final[dict[int, Any]] = {
    native.ANSWERED: Answered,
    native.CONNECTED: Connected,
    native.OPENED: StreamOpened,
    native.READABLE: Readable,
    native.WRITABLE: Writable,
    native.RESET: ResetReceived,
    native.STOPPED: StopReceived,
    native.AVAILABLE: StreamsAvailable,
    native.ACKNOWLEDGED: Acknowledged,
}
"""Events that both sides have, with the same fields."""


class _Connection:
    """What is kept of a connection beside what the engine in Rust knows."""

    __slots__ = ("budget", "connected", "consumed", "looked", "verifier", "window")

    def __init__(self, verifier: CertificateVerifier, budget: WindowBudget, window: int, now: float) -> None:
        self.verifier = verifier
        self.connected = False
        self.budget = budget
        self.window = window
        """What the peer may send on all streams beyond what was read."""
        self.consumed = 0
        """Bytes read since `looked`, when it was last decided whether the window should grow."""
        self.looked = now


class NativeEngine:
    """All connections of one socket; implements `interface.SocketEngine`."""

    name = "native"

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._engine = _engine(settings)
        self._connections: dict[int, _Connection] = {}
        self._arrived: dict[int, SocketAddress] = {}
        self._expected: set[SocketAddress] = set()
        self._now = 0.0
        rate = settings.config.unverified_handshake_rate
        self._unverified = RateLimiter(rate, max(1, int(rate)))

    # ---- datagrams and time

    def receive(self, data: bytes | memoryview, segment: int, address: SocketAddress, now: float) -> None:
        """Take datagrams of one sender."""
        self._engine.receive(data, segment, address, now)

    @property
    def needs_flush(self) -> bool:
        """Whether something waits to be sent or told."""
        return self._engine.needs_flush

    def flush(self, now: float, limit: int) -> tuple[list[Event], list[Transmit], float | None, bool]:
        """Run what is due; return events, datagrams, the next deadline, and whether more waits."""
        self._now = now
        told, transmits, deadline, more = self._engine.flush(now, limit)
        events: list[Event] = []
        for kind, *fields in told:
            self._translate(kind, fields, events)
        return events, transmits, deadline, more

    def too_large(self, size: int, address: SocketAddress) -> None:
        """Do nothing: that datagrams of this size do not arrive shows in what is acknowledged (RFC 8899, 4.3)."""

    def _translate(self, kind: int, fields: list[Any], events: list[Event]) -> None:
        if (event := _EVENTS.get(kind)) is not None:
            if event is Connected:
                self._connections[fields[0]].connected = True
            events.append(event(*fields))
        elif kind == native.ARRIVED:
            arrival, address, _, validated = fields
            if validated or address in self._expected or self._unverified.allow(None, self._now):
                self._arrived[arrival] = address
                events.append(Arrived(arrival, address))
            else:
                self._engine.retry(arrival)
        elif kind == native.LOST:
            connection, *loss = fields
            events.append(Ended(connection, self._failure(self._connections[connection], *loss)))

    def _failure(self, connection: _Connection, cause: int, code: int, reason: str) -> StackError | None:
        connected, verifier = connection.connected, connection.verifier
        if cause == native.CAUSE_BROKEN and not connected:
            if code == _CERTIFICATE_REQUIRED:
                verifier.verify([])
            if verifier.failure is not None:
                return verifier.failure
        return _failure(cause, code, reason, connected=connected)

    # ---- connections

    def listen(self, enabled: bool) -> None:
        """Let new connections arrive, or no more."""
        self._engine.listen(enabled)

    def expect(self, address: SocketAddress, expected: bool) -> None:
        """Let connections from this address arrive, or no more."""
        self._engine.expect(address, expected)
        if expected:
            self._expected.add(address)
        else:
            self._expected.discard(address)

    def connect(self, address: SocketAddress, verifier: CertificateVerifier, now: float) -> int:
        """Begin a connection."""
        size = _datagram_size(self._settings.config, address)
        return self._add(self._engine.connect(address, verifier.verify, size, now), verifier, now)

    def accept(self, arrival: int, verifier: CertificateVerifier, now: float) -> int:
        """Let a connection in that arrived."""
        size = _datagram_size(self._settings.config, self._arrived.pop(arrival))
        try:
            return self._add(self._engine.accept(arrival, verifier.verify, size, now), verifier, now)
        except native.Refused as error:
            failure = _failure(*error.args, connected=False)
            assert failure is not None
            raise failure from None

    def _add(self, connection: int, verifier: CertificateVerifier, now: float) -> int:
        budget, window = self._settings.connection_budget(), _window(self._settings.config.connection_window)
        self._connections[connection] = _Connection(verifier, budget, window, now)
        return connection

    def refuse(self, arrival: int) -> None:
        """Answer CONNECTION_REFUSED."""
        del self._arrived[arrival]
        self._engine.refuse(arrival)

    def ignore(self, arrival: int) -> None:
        """Forget an arrival."""
        del self._arrived[arrival]
        self._engine.ignore(arrival)

    def close(self, connection: int, code: int, reason: str, now: float) -> None:
        """Forget a connection, and tell its peer."""
        self._connections.pop(connection).budget.close()
        with suppress(native.Unknown):  # that a bug ended
            self._engine.close(connection, code, reason.encode(), now)

    def peer_address(self, connection: int) -> SocketAddress:
        """Return where datagrams go now."""
        return self._engine.address(connection)

    def statistics(self, connection: int) -> ConnectionStatistics:
        """Return what is known of the path."""
        engine = self._engine
        with suppress(native.Unknown):
            return ConnectionStatistics(engine.rtt(connection), engine.unanswered_since(connection))
        return ConnectionStatistics(None, None)

    def ping(self, connection: int) -> None:
        """Ask the peer for a sign of life."""
        with suppress(native.Unknown):
            self._engine.ping(connection)

    def mark(self, connection: int) -> int:
        """Ask to be told when all that was written has arrived."""
        with suppress(native.Unknown):
            return self._engine.mark(connection)
        return 0  # which never comes: the connection has ended

    # ---- streams

    def open(self, connection: int) -> int | None:
        """Return a new stream, or None."""
        with suppress(native.Unknown):
            return self._engine.open(connection)
        return None

    def read(self, connection: int, stream: int, size: int) -> tuple[bytes, bool] | None:
        """Take up to `size` bytes, and the end."""
        with suppress(native.Unknown):
            received = self._engine.read(connection, stream, size)
            if received is not None:
                self._count(connection, len(received[0]))
            return received
        return None

    def _count(self, number: int, size: int) -> None:
        """Count what was read; let the window grow if the peer would otherwise wait for it."""
        connection = self._connections[number]
        connection.consumed += size
        if 2 * connection.consumed < connection.window:
            return
        rtt, since = self._engine.rtt(number), self._now - connection.looked
        connection.consumed, connection.looked = 0, self._now
        if rtt is None or since >= GROWTH_ROUND_TRIPS * rtt:
            return
        largest = _window(self._settings.config.max_connection_window)
        more = min(connection.window, largest - connection.window)
        if more > 0 and connection.budget.reserve(more):
            connection.window += more
            self._engine.set_receive_window(number, connection.window)

    def write(self, connection: int, stream: int, data: bytes | memoryview) -> int:
        """Queue what there is room for."""
        with suppress(native.Unknown):
            return self._engine.write(connection, stream, data) or 0
        return 0

    def finish(self, connection: int, stream: int) -> None:
        """End our direction."""
        with suppress(native.Unknown):
            self._engine.write(connection, stream, b"", end=True)

    def reset(self, connection: int, stream: int, code: int) -> None:
        """Give up our direction."""
        with suppress(native.Unknown):
            self._engine.reset(connection, stream, code)

    def stop(self, connection: int, stream: int, code: int) -> None:
        """Drop what was not read and what still comes."""
        with suppress(native.Unknown):
            self._engine.stop(connection, stream, code)


def _engine(settings: EngineSettings) -> native.Engine:
    config, credentials = settings.config, settings.credentials
    # The window of a stream is the same as long as the connection lives: two thirds of the connection's first one, so
    # that one stream that is not read cannot stop the others.
    stream = max(config.stream_window, 2 * config.connection_window // 3)
    return native.Engine(
        credentials.certificate.public_bytes(Encoding.DER),
        credentials.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        settings.reset_key,
        0.0,
        idle_timeout=config.idle_timeout,
        keep_alive=config.keepalive_interval,
        max_streams=config.max_inbound_streams,
        stream_window=_window(stream),
        connection_window=_window(config.connection_window),
        stream_ahead=min(stream, config.stream_window) // AHEAD,
        connection_ahead=config.connection_window // AHEAD,
        send_window=config.connection_send_buffer,
        crypto_buffer=config.max_handshake_bytes,
        backlog=config.accept_backlog,
        answers=ANSWERS_A_SECOND,
        close_copies=CLOSE_COPIES,
    )


def _window(size: int) -> int:
    """Return what is left of a window when a part of it holds what arrived before it is read."""
    return size - size // AHEAD


def _datagram_size(config: QuicConfig, address: SocketAddress) -> int:
    return min(config.datagram_size_to(address), MACOS_LARGEST if sys.platform == "darwin" else sys.maxsize)


def _failure(cause: int, code: int, reason: str, *, connected: bool) -> StackError | None:
    match cause:
        case native.CAUSE_CLOSED:
            return reasons.closed_by_peer(code, reason, application=True, connected=connected)
        case native.CAUSE_ABORTED:
            return reasons.closed_by_peer(code, reason, application=False, connected=connected)
        case native.CAUSE_RESET:
            return reasons.forgotten()
        case native.CAUSE_TIMED_OUT:
            return reasons.timed_out()
        case native.CAUSE_VERSION:
            return reasons.no_common_version()
        case native.CAUSE_BUG:
            return reasons.unreadable(RuntimeError(reason))
    if code == _NO_VIABLE_PATH:
        return reasons.path_lost()
    return reasons.protocol_violation(code, reason, connected=connected)
