"""Finding the addresses of a peer with the routers of a host, and dialing them while the search goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeAlias

import trio
from multiaddr import Multiaddr

from ..abc import PeerRouting
from ..addressing import parse_addresses
from ..background import contained
from ..bugs import BugReporter
from ..errors import DialError, StackError
from ..identity import PeerId
from ..report import Attempt, DialReport, Outcome, StageName
from ..swarm import Connection, SwarmConfig
from .arguments import check_part, type_name

DIALS_AT_ONCE = 4
"""Answers of routers that are dialed at once for one peer."""

Dial: TypeAlias = Callable[[Sequence[Multiaddr], DialReport], Awaitable[Connection]]
"""Dials addresses, and records it in a report that was begun. Raises DialError."""


def check_router(router: PeerRouting) -> None:
    """Raise TypeError for what cannot search for peers, or has no name for reports."""
    check_part(router, "a router", "find_peer")
    if not isinstance(getattr(router, "name", None), str):
        raise TypeError(f"a router: {type_name(router)} has no name, which reports need")


class Search:
    """One search for a peer: every router is asked at once, and what comes first is dialed first."""

    def __init__(self, peer: PeerId, report: DialReport, dial: Dial, *, config: SwarmConfig, bugs: BugReporter) -> None:
        self._peer = peer
        self._report = report
        self._dial = dial
        self._config = config
        self._bugs = bugs
        self._known: set[Multiaddr] = set()
        self._connected: list[Connection] = []
        self._failure: StackError | None = None
        self._dials = trio.CapacityLimiter(DIALS_AT_ONCE)

    async def run(self, routers: Iterable[PeerRouting], dialed: Iterable[Multiaddr]) -> Connection:
        """Ask, dial, and leave the searches once connected; `dialed` are addresses that have failed already.

        Raises DialError when all searches are over and nothing found has answered.
        """
        self._known.update(dialed)
        async with trio.open_nursery() as nursery:
            for router in routers:
                nursery.start_soon(self._ask, router, self._report.routing(router.name), nursery)
        if self._connected:
            return self._connected[0]
        raise self._failure or self._report.error()

    async def _ask(self, router: PeerRouting, record: Attempt, nursery: trio.Nursery) -> None:
        """Ask one router; whatever it raises costs its answer only, and is in its record."""
        with (
            contained(partial(self._bugs.reason, what=f"{record.address} asked for {self._peer}")),
            record.stage(StageName.ROUTING) as stage,
        ):
            limit = self._config.routing_timeout
            answers: dict[Multiaddr, None] = {}
            stage.found = "no address"
            try:
                with trio.fail_after(limit):
                    async with aclosing(router.find_peer(self._peer)) as search:
                        async for found in search:
                            answers.update(dict.fromkeys(parse_addresses(found)))
                            few = list(answers)[: self._config.addresses_per_dial]
                            stage.found = ", ".join(map(str, few))
                            self._found([address for address in few if address not in self._known], nursery)
                            if len(few) < len(answers):
                                break
            except trio.TooSlowError:
                raise trio.TooSlowError(f"the search was not over after {limit:g} s") from None
            record.outcome = Outcome.OK

    def _found(self, addresses: Sequence[Multiaddr], nursery: trio.Nursery) -> None:
        self._known.update(addresses)
        if addresses:
            nursery.start_soon(self._try, addresses, nursery.cancel_scope)

    async def _try(self, addresses: Sequence[Multiaddr], search: trio.CancelScope) -> None:
        async with self._dials:
            try:
                self._connected.append(await self._dial(addresses, self._report))
            except DialError:
                return  # the report tells
            except StackError as error:  # of ours, such as that the host has been closed
                self._failure = error
        search.cancel()
