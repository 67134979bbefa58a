"""One socket and all connections that share it: who reads, what goes where, and what is said to strangers."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final, Protocol

import trio

from peerstack.stack.abc import Direction, Incoming
from peerstack.stack.background import contained, open_background
from peerstack.stack.bugs import BugReporter
from peerstack.stack.limits import RateLimiter
from peerstack.stack.net.datagrams import DatagramSocket, SocketAddress

from .address import quic_address
from .connection import QuicConnection
from .engine import (
    AioquicEngine,
    EngineSettings,
    Header,
    RetryTokens,
    encode_refusal,
    encode_version_negotiation,
    parse_header,
)
from .engine.packets import SMALLEST_INITIAL, VERSION
from .tokens import TOKEN_SIZE

MAX_READS: Final = 16
"""System calls before the datagrams read are acted upon, and other tasks have their turn."""
ANSWERS_A_SECOND: Final = 100.0
"""To datagrams that belong to nothing: version negotiation and stateless resets, which strangers could make us send."""
MAX_EARLY: Final = 8
"""Datagrams kept of a connection that nobody has accepted."""
MAX_EXPECTED: Final = 8
"""Connections that a dial lets begin when the peer is to be the client."""
SHORTEST_RESET: Final = 22
LONGEST_RESET: Final = 42
"""Bytes of our stateless resets: shorter than what they answer, so that two hosts cannot keep each other busy."""
CLOSING_TIME: Final = 3.0
"""Seconds in which what still comes for a closed connection is answered with its last datagram, not with a stateless
reset, by which an orderly end would look like a restart (RFC 9000, 10.2.1)."""
MAX_CLOSING: Final = 1024
"""Ids of closed connections that are remembered for that, the latest ones."""
_SMALLEST_FIRST_ID: Final = 8


class Receiver(Protocol):
    """What datagrams are routed to."""

    def receive(self, datagram: bytes, address: SocketAddress, now: float) -> None:
        """Take a datagram."""
        ...

    def settle(self) -> None:
        """Act on the datagrams taken."""
        ...

    def failed(self, reason: str) -> None:
        """Give up: taking or acting on a datagram was met by a bug."""
        ...


class Endpoint:
    """A socket and the connections that share it.

    Everybody who waits for datagrams takes part in `read`; one task at a time reads for all, and when it stops the next
    takes over. So no task is needed that belongs to nobody.
    """

    def __init__(self, sock: DatagramSocket, settings: EngineSettings) -> None:
        self.settings = settings
        self._socket = sock
        self._turn = trio.Lock()
        self._routes: dict[bytes, Receiver] = {}
        self._ids: dict[Receiver, set[bytes]] = {}
        self._reset_tokens: dict[bytes, QuicConnection] = {}
        self._expected_tokens: dict[QuicConnection, bytes] = {}
        self._closing: dict[bytes, tuple[float, bytes]] = {}
        """Until when, and with what, datagrams for closed connections are answered."""
        self._listening = False
        self._arrivals: deque[Arrival] = deque()
        self._arrived = trio.lowlevel.ParkingLot()
        self._expected: dict[SocketAddress, Expected] = {}
        """Dials to these addresses whose connection the peer begins."""
        config = settings.config
        rate = config.unverified_handshake_rate
        self._unverified = RateLimiter(rate, max(1, int(rate)))
        self._answers = RateLimiter(ANSWERS_A_SECOND, int(ANSWERS_A_SECOND))
        self._tokens = RetryTokens()
        self.bugs = BugReporter()
        """Where what goes wrong in acting on datagrams is told."""
        self._serving: Receiver | None = None
        """Who a datagram being acted upon belongs to."""

    # ---- life

    @property
    def address(self) -> SocketAddress:
        """As bound."""
        return self._socket.address

    @property
    def listening(self) -> bool:
        """Whether new connections are let in."""
        return self._listening

    @property
    def closed(self) -> bool:
        """Whether nobody needs the socket any more."""
        return not self._listening and not self._ids and not self._expected

    def listen(self) -> None:
        """Let new connections in."""
        self._listening = True

    def stop_listening(self) -> None:
        """Let no new connections in; those there are live on."""
        self._listening = False
        for arrival in list(self._arrivals):
            self.remove(arrival)
        self._arrivals.clear()
        self._arrived.unpark_all()
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self.closed:
            self._socket.close()

    def address_towards(self, remote: SocketAddress) -> SocketAddress:
        """Return our end of a connection to `remote`; where we are bound to all addresses the system says which."""
        bound = self._socket.address
        if not ip_address(bound[0].partition("%")[0]).is_unspecified:
            return bound
        family = socket.AF_INET6 if len(bound) == 4 else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(remote)  # UDP: nothing is sent
                host: str = probe.getsockname()[0]
        except OSError:
            return bound
        return (host, bound[1]) if len(bound) == 2 else (host, *bound[1:])

    # ---- members

    def add(self, member: Receiver, connection_id: bytes) -> None:
        """Route datagrams to a member by one more id."""
        self._routes[connection_id] = member
        self._ids.setdefault(member, set()).add(connection_id)

    def remove_route(self, connection_id: bytes) -> None:
        """Route nothing by this id any more."""
        member = self._routes.pop(connection_id, None)
        if member is not None:
            self._ids[member].discard(connection_id)

    def remove(self, member: Receiver, last: bytes | None = None) -> None:
        """Forget a member; the socket closes with the last one, unless it listens.

        `last` is what an established connection said last: its peer may have missed it. Nothing, if the peer ended it.
        """
        for connection_id in self._ids.pop(member, ()):
            self._routes.pop(connection_id, None)
            if last is not None:
                self._closing[connection_id] = trio.current_time() + CLOSING_TIME, last
        while len(self._closing) > MAX_CLOSING:
            self._closing.pop(next(iter(self._closing)))
        if isinstance(member, QuicConnection):
            self._reset_tokens.pop(self._expected_tokens.pop(member, b""), None)
        self._close_if_unused()

    def expect_reset(self, connection: QuicConnection, token: bytes) -> None:
        """Know the token by which the peer would say that it has forgotten the connection; the one before is void."""
        self._reset_tokens.pop(self._expected_tokens.pop(connection, b""), None)
        if token:
            self._reset_tokens[token] = connection
            self._expected_tokens[connection] = token

    # ---- datagrams

    def send(self, datagrams: list[bytes], address: SocketAddress) -> OSError | None:
        """Send datagrams, as far as they go; return why none can go there, if that is so."""
        return self._socket.send(datagrams, address)

    async def read(self) -> None:
        """Read for everybody while it is our turn, until cancelled. Raises `trio.ClosedResourceError`, `OSError`."""
        async with self._turn, open_background() as nursery:
            nursery.start_soon(self._socket.flush)
            while True:
                await self._socket.wait_readable()
                self._receive(trio.current_time())

    def _receive(self, now: float) -> None:
        touched: dict[Receiver, None] = {}
        for _ in range(MAX_READS):
            datagrams = self._socket.receive_nowait()
            if not datagrams:
                break
            with contained(self._failed):
                self._hand_out(datagrams, touched, now)
        for receiver in touched:
            with contained(self._failed):
                self._serving = receiver
                receiver.settle()
        if not touched:
            self._tell_of_unreachable()

    def _hand_out(
        self, datagrams: list[tuple[bytes, SocketAddress]], touched: dict[Receiver, None], now: float
    ) -> None:
        for datagram, address in datagrams:
            self._serving = None
            receiver = self._serving = self._route(datagram, address, now)
            if receiver is not None:
                receiver.receive(datagram, address, now)
                touched[receiver] = None

    def _failed(self, error: Exception) -> None:
        """End the connection whose datagram met a bug: it is read by a task of another one, or of the listener."""
        reason = self.bugs.reason(error, "reading a datagram")
        if self._serving is not None:
            self._serving.failed(reason)

    def _tell_of_unreachable(self) -> None:
        """End dials to where the network says nobody listens. It could lie, so connections do not believe it."""
        for address, number in self._socket.unreachable():
            for member in list(self._ids):
                if isinstance(member, QuicConnection):
                    member.was_unreachable(address, number)

    def _route(self, datagram: bytes, address: SocketAddress, now: float) -> Receiver | None:
        if not datagram[0] & 0x80:
            receiver = self._routes.get(datagram[1:9])
            if receiver is None:
                self._answer_unknown(datagram, address, now)
            return receiver
        header = parse_header(datagram)
        if header is None:
            return None
        receiver = self._routes.get(header.destination)
        if receiver is None and (self._listening or address in self._expected):
            return self._welcome(datagram, header, address, now)
        return receiver

    def _answer_unknown(self, datagram: bytes, address: SocketAddress, now: float) -> None:
        connection = self._reset_tokens.get(datagram[-TOKEN_SIZE:])
        until, last = self._closing.get(datagram[1:9], (now, b""))
        if connection is not None:
            connection.was_forgotten()
        elif now < until:
            # Only to more than that: the peer may have said its last words, too, and would answer ours.
            if last and len(datagram) > len(last) and self._answers.allow(None, now):
                self.send([last], address)
        elif len(datagram) > SHORTEST_RESET and self._answers.allow(None, now):
            noise = bytearray(os.urandom(min(LONGEST_RESET, len(datagram) - 1) - TOKEN_SIZE))
            noise[0] = noise[0] & 0x3F | 0x40
            self.send([bytes(noise) + self.settings.tokens.token(datagram[1:9])], address)

    def _welcome(self, datagram: bytes, header: Header, address: SocketAddress, now: float) -> Arrival | None:
        """Let a connection begin, or say why it cannot."""
        if len(datagram) < SMALLEST_INITIAL or not header.version:
            return None
        if header.version != VERSION:
            if self._answers.allow(None, now):
                self.send([encode_version_negotiation(header)], address)
            return None
        if not header.initial or len(header.destination) < _SMALLEST_FIRST_ID:
            return None
        expected = self._expected.get(address)
        if expected is None and len(self._arrivals) >= self.settings.config.accept_backlog:
            return None
        original = self._tokens.original_id(header, address, now) if header.token else None
        if original is None and expected is None and not self._unverified.allow(None, now):
            self.send([self._tokens.retry(header, address, now)], address)
            return None
        arrival = Arrival(self, header, address, original)
        if expected is not None:
            return expected.take(arrival, header.destination)
        self.add(arrival, header.destination)
        self._arrivals.append(arrival)
        self._arrived.unpark()
        return arrival

    @contextmanager
    def expecting(self, address: SocketAddress) -> Iterator[Expected]:
        """Give connections from an address to a dial, also without a listener; `accept` does not see them.

        Raises `OSError` if another dial waits for one from there.
        """
        if address in self._expected:
            raise OSError(errno.EADDRINUSE, "another dial waits for a connection from there")
        expected = self._expected[address] = Expected(self)
        try:
            yield expected
        finally:
            del self._expected[address]
            expected.forget()
            self._close_if_unused()

    # ---- listening

    async def wait_arrival(self) -> None:
        """Wait until a connection arrived, or nobody listens any more."""
        while not self._arrivals and self._listening:
            await self._arrived.park()

    def take_arrival(self) -> Arrival | None:
        """Return a connection that arrived, if one did."""
        return self._arrivals.popleft() if self._arrivals else None


class Expected:
    """The connections that come from an address to which a dial is under way.

    There may be several: the first can be what is left of an earlier dial, of which the peer knows no more.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._room = MAX_EXPECTED
        self._arrivals: deque[Arrival] = deque()
        self._arrived = trio.lowlevel.ParkingLot()

    def take(self, arrival: Arrival, connection_id: bytes) -> Arrival | None:
        """Take a connection, unless there were too many."""
        if not self._room:
            return None
        self._room -= 1
        self._endpoint.add(arrival, connection_id)
        self._arrivals.append(arrival)
        self._arrived.unpark()
        return arrival

    async def wait(self) -> Arrival:
        """Wait for the next one."""
        while not self._arrivals:
            await self._arrived.park()
        return self._arrivals.popleft()

    def forget(self) -> None:
        """Forget those that were not waited for."""
        for arrival in self._arrivals:
            self._endpoint.remove(arrival)


class Arrival(Incoming):
    """A connection that arrived: its first datagrams, unread."""

    def __init__(self, endpoint: Endpoint, header: Header, address: SocketAddress, original_id: bytes | None) -> None:
        self.local_address = quic_address(endpoint.address)
        self.remote_address = quic_address(address)
        self._endpoint = endpoint
        self._header = header
        self._address = address
        self._original_id = original_id
        self._early: list[bytes] = []

    def receive(self, datagram: bytes, address: SocketAddress, now: float) -> None:
        """Keep a datagram for later."""
        if address == self._address and len(self._early) < MAX_EARLY:
            self._early.append(datagram)

    def settle(self) -> None:
        """Nothing is done before somebody accepts."""

    def failed(self, reason: str) -> None:
        """Be refused in silence, when a peer that is not heard yet met a bug."""
        self._endpoint.remove(self)

    async def upgrade(self) -> QuicConnection:
        """Shake hands; see `abc.Incoming.upgrade`."""
        endpoint, first_id = self._endpoint, self._header.destination
        retried = self._original_id is not None
        engine = AioquicEngine.server(endpoint.settings, self._original_id or first_id, first_id if retried else None)
        connection = QuicConnection(endpoint, engine, endpoint.settings.config)
        endpoint.remove(self)
        endpoint.add(connection, first_id)
        try:
            async with connection.driven():
                for datagram in self._early:
                    connection.receive(datagram, self._address, trio.current_time())
                connection.settle()
                await connection.wait_connected(Direction.INBOUND)
        except BaseException:
            connection.abandon()
            raise
        return connection

    async def refuse(self) -> None:
        """Answer CONNECTION_REFUSED, as RFC 9000 5.2.2 has it and quic-go does: after silence the peer tries again."""
        self._endpoint.send([encode_refusal(self._header)], self._address)
        self._endpoint.remove(self)
        await trio.lowlevel.checkpoint()
