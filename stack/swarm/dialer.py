"""Dials peers: names resolved, addresses ranked and raced, simultaneous dials to one peer merged; all recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio
from multiaddr import Multiaddr

from ..abc import Gater, MuxedConnection, Transport
from ..addressing import needs_resolving, split_peer
from ..addressing.resolve import Resolver
from ..errors import DialError, LimitExceeded, LocalProtocolError, Refused, ResolveError, StackError
from ..identity import PeerId
from ..limits import Reservation, Scopes
from ..report import Attempt, DialReport, Outcome, StageName
from .config import SwarmConfig
from .race import Race
from .ranking import rank
from .table import Connection

Own = Callable[[MuxedConnection, Reservation], Awaitable[Connection]]
"""Enters a new connection into the table and starts its tasks."""


class _Dial:
    """A dial under way, and those who wait for it."""

    def __init__(self, report: DialReport) -> None:
        self.report = report
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.connection: Connection | None = None
        self.error: StackError | None = None
        self.waiting = 0


class Dialer:
    """Turns peer ids and addresses into connections."""

    def __init__(
        self,
        *,
        local_peer: PeerId,
        transports: Sequence[Transport],
        scopes: Scopes,
        gater: Gater | None,
        resolver: Resolver,
        config: SwarmConfig,
        own: Own,
    ) -> None:
        self._local_peer = local_peer
        self._transports = transports
        self._scopes = scopes
        self._gater = gater
        self._resolver = resolver
        self._config = config
        self._own = own
        self._pending: dict[PeerId, _Dial] = {}

    async def dial(
        self, nursery: trio.Nursery, peer: PeerId | None, addresses: Sequence[Multiaddr]
    ) -> tuple[Connection, DialReport]:
        """Dial until one address answers as `peer` (anybody when None). Raises DialError with its report.

        Two callers who want one peer share one dial, which is cancelled when the last of them is.
        """
        if peer == self._local_peer:
            raise LocalProtocolError(f"{peer} is this host itself")
        dial = self._pending.get(peer) if peer is not None else None
        if dial is None:
            dial = _Dial(DialReport(None if peer is None else str(peer)))
            if peer is not None:
                self._pending[peer] = dial
            nursery.start_soon(self._run, dial, peer, addresses)
        dial.waiting += 1
        try:
            await dial.done.wait()
        finally:
            dial.waiting -= 1
            if not dial.waiting:
                dial.scope.cancel()
        if dial.error is not None:
            raise dial.error
        if dial.connection is None:
            raise dial.report.error()
        return dial.connection, dial.report

    async def _run(self, dial: _Dial, peer: PeerId | None, addresses: Sequence[Multiaddr]) -> None:
        try:
            with dial.scope:
                dial.connection = await self._dial(dial.report, peer, addresses)
        except DialError as error:
            dial.error = error
        finally:
            if peer is not None:
                del self._pending[peer]
            dial.done.set()

    async def _dial(self, report: DialReport, peer: PeerId | None, addresses: Sequence[Multiaddr]) -> Connection | None:
        resolved = await self._resolve(report, addresses)
        wanted = self._filter(report, peer, resolved)
        ranked = rank(wanted, limit=self._config.addresses_per_dial)
        if len(ranked) < len(set(wanted)):
            report.notes.append(f"only the first {len(ranked)} of {len(set(wanted))} addresses were tried")

        async def dial_one(address: Multiaddr) -> Connection:
            return await self._dial_address(report.attempt(address), peer, address)

        async def discard(connection: Connection) -> None:
            await connection.muxed.aclose()

        race = Race(dial_one, discard, concurrency=self._config.dials_per_peer)
        return await race.run(ranked)

    async def _dial_address(self, attempt: Attempt, peer: PeerId | None, address: Multiaddr) -> Connection:
        transport = self._transport_for(address)
        assert transport is not None, "addresses without a transport were filtered out"
        try:
            reservation = self._scopes.dial()
        except LimitExceeded as error:
            attempt.fail(StageName.CONNECT, error)
            raise
        try:
            muxed = await transport.dial(address, peer, attempt)
            try:
                if muxed.info.remote_peer == self._local_peer:
                    await muxed.aclose()
                    raise LocalProtocolError("the address leads back to this host itself")
                connection = await self._own(muxed, reservation)
            except StackError as error:
                attempt.fail(StageName.SECURITY, error)
                raise
            attempt.outcome = Outcome.OK
            return connection
        except BaseException:
            reservation.release()
            raise

    async def _resolve(self, report: DialReport, addresses: Iterable[Multiaddr]) -> list[Multiaddr]:
        resolved: list[Multiaddr] = []
        for address in addresses:
            if not needs_resolving(address):
                resolved.append(address)
                continue
            record = report.resolution(address)
            try:
                with record.stage(StageName.RESOLVE) as stage:
                    found = await self._resolver.resolve(address)
                    stage.found = ", ".join(map(str, found))
                    resolved += found
            except ResolveError:
                continue
        return resolved

    def _filter(self, report: DialReport, peer: PeerId | None, addresses: Iterable[Multiaddr]) -> list[Multiaddr]:
        """Keep the addresses that can and may be dialed; note the others."""
        kept: list[Multiaddr] = []
        for address in addresses:
            bare, named = split_peer(address)
            if peer is not None and named is not None and named != peer:
                report.notes.append(f"{address} is left out: it names another peer")
            elif self._transport_for(address) is None:
                report.notes.append(f"{address} is left out: no transport of this host can dial it")
            elif self._gater is not None and not self._gater.allow_dial(peer, bare):
                report.notes.append(f"{address} is left out: {Refused('our connection gater refuses it')}")
            else:
                kept.append(bare)
        return kept

    def _transport_for(self, address: Multiaddr) -> Transport | None:
        bare = split_peer(address)[0]
        return next((transport for transport in self._transports if transport.can_dial(bare)), None)
