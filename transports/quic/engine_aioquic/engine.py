"""The engine on aioquic: routing, arrivals and timers of all connections of one socket (RFC 9000, 5.2, 8.1, 10)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count, groupby
from math import inf
from operator import itemgetter
from typing import Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import CipherSuite

from peerstack.stack.background import contained
from peerstack.stack.bugs import BugReporter
from peerstack.stack.limits import RateLimiter
from peerstack.stack.net.datagrams import SocketAddress, group

from .. import reasons
from ..certificates import CertificateVerifier
from ..config import ANSWERS_A_SECOND, CLOSE_COPIES
from ..interface import Arrived, ConnectionStatistics, EngineSettings, Event, Transmit
from ..tokens import TOKEN_SIZE, reset_token
from .connection import AioquicConnection
from .overrides import LibP2PConnection
from .packets import (
    ID_SIZE,
    SMALLEST_INITIAL,
    VERSION,
    Header,
    RetryTokens,
    encode_refusal,
    encode_version_negotiation,
    parse_header,
)

ALPN: Final = "libp2p"
MAX_EARLY: Final = 8
"""Datagrams kept of a connection that was not accepted yet."""
SHORTEST_RESET: Final = 22
LONGEST_RESET: Final = 42
"""Bytes of our stateless resets: shorter than what they answer, so that two hosts cannot keep each other busy."""
CLOSING_TIME: Final = 3.0
"""Seconds in which what still comes for a closed connection is answered with its last datagram, not with a stateless
reset, by which an orderly end would look like a restart (RFC 9000, 10.2.1)."""
MAX_CLOSING: Final = 1024
"""Ids of closed connections that are remembered for that, the latest ones."""
SPARE_TIMERS: Final = 64
"""Timers that count no more and are kept, beside one for each connection: to look for them costs time."""
_SMALLEST_FIRST_ID: Final = 8


@dataclass(eq=False, slots=True)
class _Arrival:
    """A connection that arrived and was not accepted: its first datagrams, unread."""

    handle: int
    header: Header
    address: SocketAddress
    original_id: bytes | None
    """To which the client first sent, if it was asked to prove its address."""
    early: list[bytes] = field(default_factory=list)


class AioquicEngine:
    """All connections of one socket; implements `interface.SocketEngine`."""

    name = "aioquic"

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._connections: dict[int, AioquicConnection] = {}
        self._arrivals: dict[int, _Arrival] = {}
        self._handles = count()
        self._routes: dict[bytes, AioquicConnection | _Arrival] = {}
        self._reset_tokens: dict[bytes, AioquicConnection] = {}
        self._closing: dict[bytes, tuple[float, bytes]] = {}
        """Until when, and with what, datagrams for closed connections are answered."""
        self._listening = False
        self._expected: set[SocketAddress] = set()
        rate = settings.config.unverified_handshake_rate
        self._unverified = RateLimiter(rate, max(1, int(rate)))
        self._answers = RateLimiter(ANSWERS_A_SECOND, int(ANSWERS_A_SECOND))
        self._retry_tokens = RetryTokens()
        self._changed: dict[AioquicConnection, None] = {}
        """Connections that may have something to send or to tell."""
        self._timers: list[tuple[float, int]] = []
        """When to look at a connection again, by its handle; only what its `scheduled` says counts."""
        self._events: list[Event] = []
        self._transmits: list[Transmit] = []
        self._serving: AioquicConnection | None = None
        """Which connection a fault belongs to."""
        self._now = 0.0
        self._bugs = BugReporter()
        """Where faults are told that belong to none."""

    # ---- datagrams in

    def receive(self, data: bytes | memoryview, segment: int, address: SocketAddress, now: float) -> None:
        """Take datagrams of one sender."""
        self._now = now
        with contained(self._failed):
            for start in range(0, len(data), segment):
                datagram = bytes(data[start : start + segment])
                self._serving = None
                if datagram[0] & 0x80:
                    target = self._route_long(datagram, address, now)
                else:
                    target = self._routes.get(datagram[1 : 1 + ID_SIZE])
                    if target is None:
                        self._answer_unknown(datagram, address, now)
                if isinstance(target, AioquicConnection):
                    self._serving = target
                    self._changed[target] = None
                    target.receive(datagram, address, now)
                elif target is not None and address == target.address and len(target.early) < MAX_EARLY:
                    target.early.append(datagram)

    def _failed(self, error: Exception) -> None:
        """End the connection whose datagram met a missing check, not the socket that it shares with others."""
        if self._serving is not None:
            self._serving.fail(reasons.unreadable(error), self._events)
        else:
            self._bugs.reason(error, "what a QUIC engine does outside of its connections", now=self._now)

    def _route_long(self, datagram: bytes, address: SocketAddress, now: float) -> AioquicConnection | _Arrival | None:
        header = parse_header(datagram)
        if header is None:
            return None
        target = self._routes.get(header.destination)
        if target is None and (self._listening or address in self._expected):
            return self._arrive(datagram, header, address, now)
        return target

    def _answer_unknown(self, datagram: bytes, address: SocketAddress, now: float) -> None:
        connection = self._reset_tokens.get(datagram[-TOKEN_SIZE:])
        until, last = self._closing.get(datagram[1 : 1 + ID_SIZE], (now, b""))
        if connection is not None:
            connection.was_reset(self._events)
        elif now < until:
            # Only to more than that: the peer may have closed, too, and would answer ours.
            if last and len(datagram) > len(last) and self._answers.allow(None, now):
                self._transmit(last, address)
        elif len(datagram) > SHORTEST_RESET and self._answers.allow(None, now):
            noise = bytearray(os.urandom(min(LONGEST_RESET, len(datagram) - 1) - TOKEN_SIZE))
            noise[0] = noise[0] & 0x3F | 0x40
            self._transmit(bytes(noise) + reset_token(self._settings.reset_key, datagram[1 : 1 + ID_SIZE]), address)

    def _transmit(self, datagram: bytes, address: SocketAddress) -> None:
        self._transmits.append((datagram, len(datagram), address))

    # ---- arrivals

    def _arrive(self, datagram: bytes, header: Header, address: SocketAddress, now: float) -> _Arrival | None:
        """Let a connection arrive, or say why it cannot."""
        if len(datagram) < SMALLEST_INITIAL or not header.version:
            return None
        if header.version != VERSION:
            if self._answers.allow(None, now):
                self._transmit(encode_version_negotiation(header), address)
            return None
        if not header.initial or len(header.destination) < _SMALLEST_FIRST_ID:
            return None
        expected = address in self._expected
        if not expected and len(self._arrivals) >= self._settings.config.accept_backlog:
            return None
        original = self._retry_tokens.original_id(header, address, now) if header.token else None
        if original is None and not expected and not self._unverified.allow(None, now):
            self._transmit(self._retry_tokens.retry(header, address, now), address)
            return None
        arrival = _Arrival(next(self._handles), header, address, original)
        self._arrivals[arrival.handle] = arrival
        self._routes[header.destination] = arrival
        self._events.append(Arrived(arrival.handle, address))
        return arrival

    def listen(self, enabled: bool) -> None:
        """Let new connections arrive, or no more."""
        self._listening = enabled

    def expect(self, address: SocketAddress, expected: bool) -> None:
        """Let connections from this address arrive, or no more."""
        if expected:
            self._expected.add(address)
        else:
            self._expected.discard(address)

    def accept(self, arrival: int, verifier: CertificateVerifier, now: float) -> int:
        """Let a connection in that arrived."""
        arrived = self._take(arrival)
        first_id, original_id = arrived.header.destination, arrived.original_id
        connection = self._add(
            LibP2PConnection(
                _configuration(self._settings, client=False),
                self._settings.config,
                verifier,
                self._settings.reset_key,
                original_id=original_id or first_id,
                retry_id=None if original_id is None else first_id,
            ),
            now,
        )
        connection.add_id(first_id)
        for datagram in arrived.early:
            self.receive(datagram, len(datagram), arrived.address, now)
        return connection.handle

    def refuse(self, arrival: int) -> None:
        """Answer CONNECTION_REFUSED (RFC 9000, 5.2.2), as quic-go does: after silence the peer tries again."""
        arrived = self._take(arrival)
        self._transmit(encode_refusal(arrived.header), arrived.address)

    def ignore(self, arrival: int) -> None:
        """Forget an arrival."""
        self._take(arrival)

    def _take(self, arrival: int) -> _Arrival:
        arrived = self._arrivals.pop(arrival)
        del self._routes[arrived.header.destination]
        return arrived

    # ---- flushing

    @property
    def needs_flush(self) -> bool:
        """Whether something waits to be sent or told."""
        return bool(self._changed or self._transmits or self._events)

    def flush(self, now: float, limit: int) -> tuple[list[Event], list[Transmit], float | None, bool]:
        """Run what is due; return events, datagrams, and the next deadline. aioquic knows no `limit`."""
        self._now = now
        self._run_due(now)
        while self._changed:
            with contained(self._failed):
                while self._changed:
                    self._serving, _ = self._changed.popitem()
                    self._serve(self._serving, now)
        events, self._events = self._events, []
        transmits, self._transmits = self._transmits, []
        return events, transmits, self._timers[0][0] if self._timers else None, False

    def _run_due(self, now: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            when, handle = heappop(timers)
            connection = self._connections.get(handle)
            if connection is None or connection.scheduled != when:
                continue
            connection.scheduled = inf
            self._changed[connection] = None
            self._serving = connection
            with contained(self._failed):
                connection.handle_deadline(now)

    def _serve(self, connection: AioquicConnection, now: float) -> None:
        """Let a connection tell and send, and note when to look at it again."""
        connection.collect(self._events, now)
        if connection.ended:
            return  # what it says last goes out when it is closed
        self._send(connection.send(now))
        connection.translate(self._events, now)
        deadline = connection.deadline()
        if deadline is not None and deadline < connection.scheduled:
            # A later one is left alone: to look in vain costs less than a change each time.
            connection.scheduled = deadline
            heappush(self._timers, (deadline, connection.handle))
            if len(self._timers) > 2 * len(self._connections) + SPARE_TIMERS:
                self._timers = [(c.scheduled, c.handle) for c in self._connections.values() if c.scheduled < inf]
                heapify(self._timers)

    def _send(self, datagrams: Sequence[tuple[bytes, SocketAddress]]) -> None:
        if len(datagrams) == 1:
            self._transmit(*datagrams[0])
            return
        for address, addressed in groupby(datagrams, key=itemgetter(1)):
            for batch in group([datagram for datagram, _ in addressed]):
                self._transmits.append((b"".join(batch), len(batch[0]), address))

    def too_large(self, size: int, address: SocketAddress) -> None:
        """Send smaller datagrams there."""
        for connection in self._connections.values():
            if connection.peer_address == address:
                connection.too_large(size)

    # ---- connections

    def connect(self, address: SocketAddress, verifier: CertificateVerifier, now: float) -> int:
        """Begin a connection."""
        configuration = _configuration(self._settings, client=True)
        connection = LibP2PConnection(configuration, self._settings.config, verifier, self._settings.reset_key)
        connection.connect(address, now)
        return self._add(connection, now).handle

    def _add(self, connection: LibP2PConnection, now: float) -> AioquicConnection:
        handle = next(self._handles)
        added = self._connections[handle] = AioquicConnection(handle, connection, self._settings, self, now)
        self._changed[added] = None
        return added

    def close(self, connection: int, code: int, reason: str, now: float) -> None:
        """Forget a connection, and tell its peer."""
        closed = self._connections.pop(connection)
        self._changed.pop(closed, None)
        last: list[tuple[bytes, SocketAddress]] = []
        self._serving = None
        self._now = now
        with contained(self._failed):
            last = closed.close(code, reason, now)
        self._send(last * (CLOSE_COPIES if closed.connected else 1))
        for connection_id in closed.ids:
            self._routes.pop(connection_id, None)
            if closed.connected:
                self._closing[connection_id] = now + CLOSING_TIME, last[-1][0] if last else b""
        while len(self._closing) > MAX_CLOSING:
            self._closing.pop(next(iter(self._closing)))
        self._reset_tokens.pop(closed.reset_token, None)

    def peer_address(self, connection: int) -> SocketAddress:
        """Return where datagrams go now."""
        address = self._connections[connection].peer_address
        assert address is not None
        return address

    def statistics(self, connection: int) -> ConnectionStatistics:
        """Return what is known of the path."""
        return self._connections[connection].statistics

    def ping(self, connection: int) -> None:
        """Ask the peer for an answer."""
        self._change(connection).ping()

    def mark(self, connection: int) -> int:
        """Ask to be told when all that was written has arrived."""
        return self._change(connection).mark()

    def _change(self, connection: int) -> AioquicConnection:
        changed = self._connections[connection]
        self._changed[changed] = None
        return changed

    # ---- streams

    def open(self, connection: int) -> int | None:
        """Return a new stream, or None."""
        return self._connections[connection].open()

    def read(self, connection: int, stream: int, size: int) -> tuple[bytes, bool] | None:
        """Take up to `size` bytes, and the end."""
        reader = self._connections[connection]
        received = reader.read(stream, size)
        if reader.has_news:
            self._changed[reader] = None
        return received

    def write(self, connection: int, stream: int, data: bytes | memoryview) -> int:
        """Queue what there is room for."""
        taken = self._connections[connection].write(stream, data)
        if taken:
            self._change(connection)
        return taken

    def finish(self, connection: int, stream: int) -> None:
        """End our direction."""
        self._change(connection).finish(stream)

    def reset(self, connection: int, stream: int, code: int) -> None:
        """Give up our direction."""
        self._change(connection).reset(stream, code)

    def stop(self, connection: int, stream: int, code: int) -> None:
        """Drop what was not read and what still comes."""
        self._change(connection).stop(stream, code)

    # ---- called by connections

    def add_route(self, connection_id: bytes, connection: AioquicConnection) -> None:
        """Route datagrams to a connection by one more id."""
        self._routes[connection_id] = connection

    def remove_route(self, connection_id: bytes) -> None:
        """Route nothing by this id any more."""
        self._routes.pop(connection_id, None)

    def expect_reset(self, token: bytes, connection: AioquicConnection) -> None:
        """Know the token by which the peer would say that it has forgotten the connection; the one before is void."""
        self._reset_tokens.pop(connection.reset_token, None)
        self._reset_tokens[token] = connection


def _configuration(settings: EngineSettings, *, client: bool) -> QuicConfiguration:
    config = settings.config
    configuration = QuicConfiguration(
        alpn_protocols=[ALPN],
        cipher_suites=[
            CipherSuite.AES_128_GCM_SHA256,
            CipherSuite.AES_256_GCM_SHA384,
            CipherSuite.CHACHA20_POLY1305_SHA256,
        ],
        connection_id_length=ID_SIZE,
        idle_timeout=config.idle_timeout,
        is_client=client,
        max_data=config.connection_window,
        max_datagram_size=config.datagram_size,
        max_stream_data=config.stream_window,
        supported_versions=[QuicProtocolVersion.VERSION_1],
    )
    configuration.certificate = settings.credentials.certificate
    configuration.private_key = settings.credentials.key
    return configuration
