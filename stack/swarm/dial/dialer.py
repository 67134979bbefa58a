"""Dials peers: names resolved, addresses ranked and raced, simultaneous dials to one peer merged; all recorded."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import trio
from multiaddr import Multiaddr

from ...abc import DEFAULT_DIAL, DialOptions, Direction, MuxedConnection, Transport
from ...addressing import is_relayed, needs_resolving, split_peer
from ...addressing.resolve import Resolver
from ...addressing.usable import what_it_takes, why_no_single_host, why_undialable
from ...background import contained
from ...bugs import BugReporter
from ...errors import Refused, SameIdentity
from ...identity import PeerId
from ...limits import Reservation, Scopes
from ...report import Attempt, DialReport, Outcome, StageName
from ..config import SwarmConfig
from ..connections import Connection
from ..gate import Gate
from .ranking import rank

Own = Callable[[MuxedConnection, Reservation, Multiaddr], Awaitable[Connection]]
"""Enters a new connection, with the address that was given for it, into the table and starts its tasks."""


_Wanted: TypeAlias = tuple[PeerId, bool, DialOptions]
"""What callers have to have in common to share a dial: the peer, whether only direct connections do, and how."""

DISCARD_TIMEOUT = 2.0
"""Seconds for closing a connection that came too late."""

_T = TypeVar("_T")


class StartSoon(Protocol):
    """Starts a task of the swarm."""

    def __call__(self, work: Callable[..., Awaitable[object]], /, *args: Any) -> None:
        """Raises LocalProtocolError when the swarm is over."""


class _Dial:
    """A dial under way, and those who wait for it."""

    def __init__(
        self,
        peer: PeerId | None,
        addresses: Collection[Multiaddr],
        *,
        direct: bool,
        options: DialOptions,
        report: DialReport | None,
    ) -> None:
        self.peer = peer
        self.direct = direct
        self.options = options
        self.addresses = frozenset(addresses)
        self.shared = peer is not None and report is None
        self.report = report or DialReport(None if peer is None else str(peer))
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.finished = False
        """Whether it ran to its end, rather than being cut short by the end of the host."""
        self.connection: Connection | None = None
        self.arriving = False
        """Whether an attempt failed since the peer's own dial was first, so that it is at a listener."""
        self.waiting = 0

    def met_by(self, connection: Connection) -> bool:
        """Whether a connection that arrived is what the dial was to bring about."""
        wanted = connection.remote_peer == self.peer and not (self.direct and connection.relayed)
        return wanted and self.options.direction is Direction.INBOUND

    async def wait(self) -> Connection | None:
        """Wait for the outcome; when the last of those who wait is cancelled, so is the dial."""
        self.waiting += 1
        try:
            await self.ended.wait()
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.scope.cancel()
        return self.connection


class Dialer:
    """Turns peer ids and addresses into connections."""

    def __init__(
        self,
        *,
        local_peer: PeerId,
        transports: Sequence[Transport],
        scopes: Scopes,
        gate: Gate,
        resolver: Resolver,
        config: SwarmConfig,
        bugs: BugReporter,
        own: Own,
        start_soon: StartSoon,
    ) -> None:
        self._local_peer = local_peer
        self._transports = transports
        self._scopes = scopes
        self._gate = gate
        self._resolver = resolver
        self._config = config
        self._bugs = bugs
        self._own = own
        self._start_soon = start_soon
        self._pending: dict[_Wanted, _Dial] = {}
        """The dials that are shared."""
        self._running: set[_Dial] = set()

    async def dial(
        self,
        peer: PeerId | None,
        addresses: Sequence[Multiaddr],
        *,
        direct: bool = False,
        options: DialOptions = DEFAULT_DIAL,
        report: DialReport | None = None,
    ) -> tuple[Connection, DialReport]:
        """Dial until one address answers as `peer` (any peer when None); `direct` leaves relayed addresses out.

        Raises DialError with its report.

        Two callers that want one peer in the same way share one dial, which is cancelled when the last of them is. When
        it fails, a caller that knows more addresses dials again. One that continues a `report` has a dial of its own.
        """
        if peer == self._local_peer:
            raise SameIdentity(f"{peer} is this host itself, or another one that runs with a copy of its key")
        while True:
            dial = None if peer is None or report is not None else self._pending.get((peer, direct, options))
            if dial is None or dial.scope.cancel_called:
                dial = _Dial(peer, addresses, direct=direct, options=options, report=report)
                self._begin(dial, addresses)
            connection = await dial.wait()
            if connection is not None:
                return connection, dial.report
            if not dial.finished:
                dial.report.notes.append("the host was closed meanwhile")
            if not dial.finished or dial.addresses.issuperset(addresses):
                raise dial.report.error()

    def _begin(self, dial: _Dial, addresses: Sequence[Multiaddr]) -> None:
        self._start_soon(self._run, dial, addresses)
        self._running.add(dial)
        if dial.peer is not None and dial.shared:
            self._pending[dial.peer, dial.direct, dial.options] = dial

    def arrived(self, connection: Connection) -> None:
        """End dials in which the peer was to be the client: its own dial got to a listener of ours."""
        for dial in self._running:
            if dial.connection is None and dial.met_by(connection):
                dial.report.notes.append("the peer's own dial arrived at a listener of this host")
                dial.connection = connection
                dial.scope.cancel()

    async def _run(self, dial: _Dial, addresses: Sequence[Multiaddr]) -> None:
        try:
            with dial.scope:
                with contained(partial(self._failed, dial.report)):
                    dial.connection = await self._dial(dial, addresses) or dial.connection
                dial.finished = True
        finally:
            self._running.discard(dial)
            if dial.peer is not None and self._pending.get((dial.peer, dial.direct, dial.options)) is dial:
                del self._pending[dial.peer, dial.direct, dial.options]
            dial.ended.set()

    def _failed(self, report: DialReport, error: Exception) -> None:
        report.notes.append(f"the dial failed: {self._bugs.reason(error, 'a dial')}")

    async def _dial(self, dial: _Dial, addresses: Sequence[Multiaddr]) -> Connection | None:
        report = dial.report
        resolved = await self._resolve(report, addresses)
        wanted = self._filter(dial, resolved)
        ranked = rank(list(wanted), limit=self._config.addresses_per_dial, at_once=dial.options.at_once)
        if len(ranked) < len(wanted):
            report.notes.append(f"only the first {len(ranked)} of {len(wanted)} addresses were tried")

        async def dial_one(address: Multiaddr) -> Connection | None:
            return await self._dial_address(dial, address, *wanted[address])

        race = Race(dial_one, self._discard, concurrency=self._config.dials_per_peer)
        connection = await race.run(ranked)
        if connection is None and dial.arriving:
            await trio.sleep(self._config.negotiation_timeout)  # `arrived` ends it
        return connection

    async def _discard(self, connection: Connection, first: Connection) -> None:
        if first.relayed and not connection.relayed:
            return  # late, but better
        with contained(partial(self._bugs.reason, what=f"closing a connection to {connection.remote_peer}")):
            await connection.muxed.aclose()

    async def _dial_address(
        self, dial: _Dial, address: Multiaddr, transport: Transport, given: Multiaddr
    ) -> Connection | None:
        """Dial one address; whatever the transport raises costs this attempt only, and is in its record."""
        attempt, stage = dial.report.attempt(address), StageName.CONNECT

        def failed(error: Exception) -> None:
            if dial.options.direction is Direction.INBOUND and isinstance(error, OSError):
                dial.arriving |= error.errno == errno.EADDRINUSE
            if attempt.failure is None:  # it failed between the stages, as by a limit of ours
                attempt.fail(stage, error)
            self._bugs.reason(error, f"dialing {attempt.address}")

        with contained(failed):
            reservation = self._scopes.dial()
            try:
                muxed = await transport.dial(address, dial.peer, attempt, dial.options)
                stage = StageName.SECURITY  # where the peer became known
                connection = await self._own(muxed, reservation, given)
            except BaseException:
                reservation.release()
                raise
            attempt.outcome = Outcome.OK
            return connection
        return None

    async def _resolve(self, report: DialReport, addresses: Sequence[Multiaddr]) -> dict[Multiaddr, Multiaddr]:
        """Put what names stand for in their places, and return what each was given as.

        All names are looked up at once, since any of them may be slow.
        """
        names = [address for address in dict.fromkeys(addresses) if needs_resolving(address)]
        limit = self._config.addresses_per_dial
        if len(names) > limit:
            report.notes.append(f"only the first {limit} of {len(names)} names were looked up")
        found: dict[Multiaddr, list[Multiaddr]] = {name: [] for name in names}
        async with trio.open_nursery() as nursery:
            for name in names[:limit]:
                nursery.start_soon(self._look_up, report.resolution(name), name, found[name])
        given_as: dict[Multiaddr, Multiaddr] = {}
        for given in addresses:
            for each in found.get(given, [given]):
                given_as.setdefault(each, given)
        return given_as

    async def _look_up(self, record: Attempt, name: Multiaddr, found: list[Multiaddr]) -> None:
        failed = partial(self._bugs.reason, what=f"resolving {record.address}")
        with contained(failed), record.stage(StageName.RESOLVE) as stage:
            found += await self._resolver.resolve(name)
            stage.found = ", ".join(map(str, found))
            record.outcome = Outcome.OK

    def _filter(
        self, dial: _Dial, addresses: Mapping[Multiaddr, Multiaddr]
    ) -> dict[Multiaddr, tuple[Transport, Multiaddr]]:
        """Keep the addresses that can and may be dialed, each with its transport and what it was given as."""
        report, peer = dial.report, dial.peer
        kept: dict[Multiaddr, tuple[Transport, Multiaddr]] = {}
        for address, given in addresses.items():
            bare, named = split_peer(address)
            if peer is not None and named is not None and named != peer:
                report.notes.append(f"{address} is left out: it names another peer")
            elif dial.direct and is_relayed(address):
                report.notes.append(f"{address} is left out: it is relayed, and a direct connection is asked for")
            elif (reason := why_no_single_host(bare)) is not None:
                report.notes.append(f"{address} is left out: {reason}")
            elif (transport := self._transport_for(report, bare)) is None:
                reason = why_undialable(address) or f"no transport of this host can dial it{what_it_takes(bare)}"
                report.notes.append(f"{address} is left out: {reason}")
            elif self._may_dial(report, peer, bare):
                kept.setdefault(bare, (transport, split_peer(given)[0]))
        return kept

    def _may_dial(self, report: DialReport, peer: PeerId | None, address: Multiaddr) -> bool:
        try:
            self._gate.check_dial(peer, address)
        except Refused as error:
            report.notes.append(f"{address} is left out: {error}")
            return False
        return True

    def _transport_for(self, report: DialReport, address: Multiaddr) -> Transport | None:
        for transport in self._transports:
            what = f"{transport} asked whether it can dial {address}"

            def failed(error: Exception, what: str = what) -> None:
                report.notes.append(f"{what}: {self._bugs.reason(error, what)}")

            with contained(failed):
                if transport.can_dial(address):
                    return transport
        return None


class Race(Generic[_T]):
    """Runs `dial` over ranked addresses until one succeeds; the others are cancelled.

    `dial` records its own failures and returns None for them. A success that comes too late is given to `discard`,
    with the one that came first.
    """

    def __init__(
        self,
        dial: Callable[[Multiaddr], Awaitable[_T | None]],
        discard: Callable[[_T, _T], Awaitable[None]],
        *,
        concurrency: int,
    ) -> None:
        self._dial = dial
        self._discard = discard
        self._capacity = trio.CapacityLimiter(concurrency)
        self._running = 0
        self._all_failed = trio.Event()
        self._winner: list[_T] = []

    async def run(self, ranked: list[tuple[float, Multiaddr]]) -> _T | None:
        """Return the first success, or None when all failed."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for delay, address in ranked:
                if self._running:
                    with trio.move_on_at(began + delay):
                        await self._all_failed.wait()
                self._running += 1
                self._all_failed = trio.Event()
                nursery.start_soon(self._attempt, address, nursery.cancel_scope)
        return self._winner[0] if self._winner else None

    async def _attempt(self, address: Multiaddr, scope: trio.CancelScope) -> None:
        async with self._capacity:
            result = await self._dial(address)
        if result is None:
            self._running -= 1
            if not self._running:
                self._all_failed.set()
            return
        if self._winner:
            with trio.move_on_after(DISCARD_TIMEOUT, shield=True):
                await self._discard(result, self._winner[0])
            return
        self._winner.append(result)
        scope.cancel()
