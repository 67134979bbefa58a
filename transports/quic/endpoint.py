"""One socket and the engine of all its connections, driven by trio: who reads, who keeps time, and who is told what."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from heapq import heappop, heappush
from ipaddress import ip_address
from itertools import count
from math import inf
from typing import Final, Protocol

import trio

from peerstack.stack.background import contained, open_background
from peerstack.stack.bugs import BugReporter
from peerstack.stack.net.datagrams import DatagramSocket, SocketAddress

from .config import QuicConfig
from .interface import Arrived, Event, SocketEngine

MAX_READS: Final = 16
"""System calls before the datagrams read are acted upon, and other tasks have their turn."""
MAX_DATAGRAMS: Final = 64
"""Of one connection that are sent before others have their turn."""
MAX_ROUNDS: Final = 16
"""Flushes before other tasks have their turn."""
MAX_EXPECTED: Final = 8
"""Connections that a dial lets begin when the peer is to be the client."""
SHORTEST_SLEEP: Final = 0.0005
"""Seconds between two looks at the clock, whatever the engine says."""
_UNREACHABLE: Final = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)


class Member(Protocol):
    """A connection of the endpoint."""

    def handle(self, event: Event) -> None:
        """Act on an event of the engine."""
        ...

    def failed(self, reason: str) -> None:
        """Give up: acting on an event was met by a bug."""
        ...

    def cannot_reach(self, address: SocketAddress, error: OSError) -> None:
        """The system says that datagrams do not get to this address."""
        ...


class Endpoint:
    """A socket, its engine, and the connections that share them.

    Every task that waits for datagrams takes part in `drive`; one at a time reads and keeps time for all, and when it
    stops the next takes over. So no task is needed that belongs to no connection and no listener.
    """

    def __init__(self, sock: DatagramSocket, engine: SocketEngine, config: QuicConfig) -> None:
        self.engine = engine
        self.config = config
        self.bugs = BugReporter()
        """Where what goes wrong in acting on events is told."""
        self._socket = sock
        self._turn = trio.Lock()
        self._members: dict[int, Member] = {}
        self._serving: Member | None = None
        """Whose event is acted upon."""
        self._flushing = False
        self._deadline = inf
        """When the engine wants to be flushed."""
        self._not_before = -inf
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._call_order = count()
        self._alarm: trio.CancelScope | None = None
        self._listening = False
        self._arrivals: deque[Arrived] = deque()
        """Connections that arrived and were not taken."""
        self._waiting: set[int] = set()
        """Those, and the ones that were taken and are not yet accepted or refused."""
        self._arrived = trio.lowlevel.ParkingLot()
        self._expected: dict[SocketAddress, Expected] = {}
        """Dials to these addresses whose connection the peer begins."""

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
    def driven(self) -> bool:
        """Whether a task reads and keeps time."""
        return self._turn.locked()

    @property
    def closed(self) -> bool:
        """Whether the socket is not needed any more."""
        return not (self._listening or self._members or self._waiting or self._expected)

    def listen(self) -> None:
        """Let new connections in."""
        self._listening = True
        self.engine.listen(True)

    def stop_listening(self) -> None:
        """Let no new connections in; those there are live on."""
        self._listening = False
        self.engine.listen(False)
        while self._arrivals:
            self.ignore(self._arrivals.popleft())
        self._arrived.unpark_all()
        self.close_if_unused()

    def ignore(self, arrived: Arrived) -> None:
        """Forget an arrival without a word."""
        self._waiting.discard(arrived.arrival)
        self.engine.ignore(arrived.arrival)

    def close_if_unused(self) -> None:
        """Close the socket unless it is needed."""
        if self.closed and not self._flushing:
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

    # ---- connections

    def add(self, connection: int, member: Member) -> None:
        """Tell a member the events of a connection from now on."""
        self._members[connection] = member

    def close(self, connection: int) -> None:
        """Forget a connection, and tell its peer; the socket closes with the last one, unless it listens."""
        if self._members.pop(connection, None) is not None:
            with contained(partial(self.bugs.reason, what="closing a connection")):
                self.engine.close(connection, 0, "", trio.current_time())
            self.flush()

    # ---- datagrams of no connection

    def send(self, datagram: bytes, address: SocketAddress) -> OSError | None:
        """Send one that the engine knows nothing of; return why nothing can go there, if that is so."""
        return self._socket.send([datagram], address)

    # ---- arrivals

    async def wait_arrival(self) -> None:
        """Wait until a connection arrived, or none can any more."""
        while not self._arrivals and self._listening:
            await self._arrived.park()

    def take_arrival(self) -> Arrived | None:
        """Return a connection that arrived, if one did; `decided` must follow."""
        return self._arrivals.popleft() if self._arrivals else None

    @contextmanager
    def expecting(self, address: SocketAddress) -> Iterator[Expected]:
        """Give connections from an address to a dial, also without a listener; `take_arrival` does not see them.

        Raises `OSError` if another dial waits for one from there.
        """
        if address in self._expected:
            raise OSError(errno.EADDRINUSE, "another dial waits for a connection from there")
        expected = self._expected[address] = Expected()
        self.engine.expect(address, True)
        try:
            yield expected
        finally:
            self.engine.expect(address, False)
            del self._expected[address]
            for arrived in expected.arrivals:
                self.ignore(arrived)
            self.close_if_unused()

    def decided(self, arrival: int) -> None:
        """Note that an arrival was accepted or refused."""
        self._waiting.discard(arrival)
        self.flush()

    # ---- the tasks

    async def drive(self) -> None:
        """Read and keep time for all while it is our turn, until cancelled.

        Raises `trio.ClosedResourceError`, `OSError`.
        """
        async with self._turn, open_background() as nursery:
            nursery.start_soon(self._socket.flush)
            nursery.start_soon(self._keep_time)
            while True:
                await self._socket.wait_readable()
                self._receive()

    def _receive(self) -> None:
        now, reads = trio.current_time(), 0
        while reads < MAX_READS and (received := self._socket.receive_segments()) is not None:
            data, segment, address = received
            self.engine.receive(data, segment, address, now)
            reads += 1
        if reads:
            self.flush()
        else:
            for address, number in self._socket.unreachable():
                if number in _UNREACHABLE:
                    self._cannot_reach(address, OSError(number, os.strerror(number)))

    async def _keep_time(self) -> None:
        try:
            while True:
                with trio.CancelScope(deadline=self._next_alarm()) as self._alarm:
                    await trio.sleep_forever()
                self._not_before = trio.current_time() + SHORTEST_SLEEP
                self._run_calls()
                self.flush()
        finally:
            self._alarm = None

    def _next_alarm(self) -> float:
        call = self._calls[0][0] if self._calls else inf
        return max(self._not_before, min(self._deadline, call))

    def call_at(self, when: float, function: Callable[[], None]) -> None:
        """Call a function at a time, or later if no task keeps time then."""
        heappush(self._calls, (when, next(self._call_order), function))
        self._set_alarm()

    def _run_calls(self) -> None:
        now = trio.current_time()
        while self._calls and self._calls[0][0] <= now:
            function = heappop(self._calls)[2]
            with contained(self._failed):
                self._serving = None
                function()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            deadline = self._next_alarm()
            if deadline < self._alarm.deadline:
                # A later one is left alone: to look in vain costs less than a change each time.
                self._alarm.deadline = deadline

    # ---- the engine

    def flush(self) -> None:
        """Send what the engine lets out, and act on what it tells."""
        if self._flushing:
            return  # the loop below goes on
        self._flushing = True
        try:
            self._deadline = self._flush(trio.current_time())
        finally:
            self._flushing = False
        self._set_alarm()
        if not self._members:
            self.close_if_unused()

    def flush_if_needed(self) -> None:
        """Flush if there is something to flush."""
        if self.engine.needs_flush:
            self.flush()

    def _flush(self, now: float) -> float:
        """Flush until nothing is left, and return when to do so again."""
        for _ in range(MAX_ROUNDS):
            events, transmits, deadline, more = self.engine.flush(now, MAX_DATAGRAMS)
            for data, segment, address in transmits:
                error = self._socket.send_segments(data, segment, address)
                if error is not None:
                    self._not_sent(error, segment, address)
            if events:
                self._dispatch(events)
            if not (more or self.engine.needs_flush):
                return inf if deadline is None else deadline
        return now

    def _not_sent(self, error: OSError, size: int, address: SocketAddress) -> None:
        if error.errno == errno.EMSGSIZE:
            self.engine.too_large(size, address)
        else:
            self._cannot_reach(address, error)

    def _cannot_reach(self, address: SocketAddress, error: OSError) -> None:
        for member in [*self._members.values()]:
            member.cannot_reach(address, error)

    def _dispatch(self, events: list[Event]) -> None:
        left = iter(events)
        while True:
            with contained(self._failed):
                for event in left:
                    self._serving = None
                    if isinstance(event, Arrived):
                        self._arrive(event)
                    elif (member := self._members.get(event.connection)) is not None:
                        self._serving = member
                        member.handle(event)
                return

    def _arrive(self, arrived: Arrived) -> None:
        self._waiting.add(arrived.arrival)
        if (expected := self._expected.get(arrived.address)) is not None and expected.take(arrived):
            return
        if self._listening and expected is None:
            self._arrivals.append(arrived)
            self._arrived.unpark()
        else:
            self.ignore(arrived)

    def _failed(self, error: Exception) -> None:
        """End the connection whose event met a bug: the socket is driven by a task of another one, or of a listener."""
        reason = self.bugs.reason(error, "acting on a datagram")
        if self._serving is not None:
            self._serving.failed(reason)


class Expected:
    """The connections that come from an address to which a dial is under way.

    There may be several: the first can be what is left of an earlier dial, of which the peer knows no more.
    """

    def __init__(self) -> None:
        self.arrivals: deque[Arrived] = deque()
        """Those that were not waited for."""
        self._left = MAX_EXPECTED
        self._arrived = trio.lowlevel.ParkingLot()

    def take(self, arrived: Arrived) -> bool:
        """Take a connection; False if there were too many."""
        if not self._left:
            return False
        self._left -= 1
        self.arrivals.append(arrived)
        self._arrived.unpark()
        return True

    async def wait(self) -> Arrived:
        """Wait for the next one."""
        while not self.arrivals:
            await self._arrived.park()
        return self.arrivals.popleft()
