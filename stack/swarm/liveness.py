"""Finds out which connections are alive, and closes those that are dead or superfluous beside a better one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

import trio

from ..abc import SILENT_ROUND_TRIPS, ConnectionState, Direction
from ..background import contained, open_background
from ..bugs import BugReporter
from ..errors import ConnectionLost, DialError
from ..identity import PeerId
from ..report import DialReport
from .config import SwarmConfig
from .connections import Connection, ConnectionTable

_log = logging.getLogger(__name__)


StartSoon = Callable[..., None]
"""Starts a task that ends with the swarm."""


class Liveness:
    """Probes connections that are in doubt, and tidies up behind better ones.

    A doubt costs a connection its place before others until it is dispelled, and nothing else: it is closed only
    beside a better one that is alive. Until then its own keep-alive decides.
    """

    def __init__(self, table: ConnectionTable, config: SwarmConfig, bugs: BugReporter, start_soon: StartSoon) -> None:
        self._table = table
        self._config = config
        self._bugs = bugs
        self._start_soon = start_soon
        self._tidying: set[PeerId] = set()

    def entered(self, connection: Connection) -> None:
        """Doubt the other connections to a peer that has just been authenticated on this one.

        It may have been restarted, frozen, or cut off, and the others dead without knowing; after simultaneous dials
        they are not, which takes one round trip to find out.
        """
        peer = connection.remote_peer
        for other in self._table.of(peer):
            if other is not connection:
                self.doubt(other)
        self._tidy(peer)

    def doubt(self, connection: Connection) -> None:
        """Find out whether a connection is alive; it is suspected until then. Does nothing if that is under way."""
        if not connection.muxed.doubted and not connection.muxed.closed:
            connection.muxed.doubted = True
            self._start_soon(self._decide, connection)

    async def _decide(self, connection: Connection) -> None:
        with contained(partial(self._bugs.reason, what=f"probing the connection to {connection.remote_peer}")):
            try:
                with suppress(ConnectionLost):
                    while not connection.muxed.closed:
                        with trio.move_on_after(self._config.probe_timeout):
                            await connection.muxed.probe()
                            break
                        await self._close_if_replaced(connection)
            finally:
                connection.muxed.doubted = False
            self._tidy(connection.remote_peer)

    async def _close_if_replaced(self, connection: Connection) -> None:
        best = self._table.best(connection.remote_peer)
        if best is None or best is connection or best.muxed.state is not ConnectionState.ALIVE:
            return
        if best.relayed and not connection.relayed:
            return  # the relay may be gone sooner: a direct connection is left to its own keep-alive
        timeout = self._config.probe_timeout
        connection.reason = f"the peer did not answer for {timeout:g} s here, but is connected otherwise"
        await connection.muxed.aclose()

    # ---- dialing beside connections that may be dead

    async def probe_and_dial(
        self, suspected: Sequence[Connection], dial: Callable[[], Awaitable[tuple[Connection, DialReport]]]
    ) -> tuple[Connection, DialReport]:
        """Probe suspected connections and, if no answer is as quick as usual, dial beside; return what is alive first.

        Raises DialError when neither is.
        """
        answered: list[Connection] = []
        failure: DialError | None = None
        async with open_background() as nursery:
            with trio.CancelScope() as unanswered:
                for connection in suspected:
                    self.doubt(connection)
                    nursery.start_soon(self._ask, connection, answered, unanswered)
                end = trio.current_time() + self._config.probe_timeout
                await trio.sleep(self.patience(suspected))
                try:
                    return await dial()
                except DialError as error:
                    failure = error
                await trio.sleep_until(end)
        if failure is not None and not answered:
            failure.report.notes.append("the connection that is open does not answer")
            raise failure
        peer = answered[0].remote_peer
        return answered[0], DialReport(str(peer), notes=["already connected, and the peer answered a probe"])

    async def _ask(self, connection: Connection, answered: list[Connection], unanswered: trio.CancelScope) -> None:
        with contained(partial(self._bugs.reason, what=f"probing the connection to {connection.remote_peer}")):
            with suppress(ConnectionLost):
                await connection.muxed.probe()
            if connection.muxed.closed:
                return
            answered.append(connection)
            unanswered.cancel()

    def patience(self, suspected: Sequence[Connection]) -> float:
        """Return for how many seconds an answer on these connections is waited for before others are tried, too."""
        slowest = max((connection.muxed.rtt or 0 for connection in suspected), default=0)
        return max(self._config.redial_delay, SILENT_ROUND_TRIPS * slowest)

    # ---- what is superfluous

    def _tidy(self, peer: PeerId) -> None:
        if self._is_untidy(peer) and peer not in self._tidying:
            self._tidying.add(peer)
            self._start_soon(self._close_redundant, peer)

    def _is_untidy(self, peer: PeerId) -> bool:
        """Return whether connections of ours may turn out to be superfluous."""
        return any(other.muxed.info.direction is Direction.OUTBOUND for other in self._table.of(peer)[1:])

    async def _close_redundant(self, peer: PeerId) -> None:
        """Close connections of ours that a better one made superfluous, as soon as they are idle."""
        with contained(partial(self._bugs.reason, what=f"closing superfluous connections to {peer}")):
            while self._is_untidy(peer):
                await trio.sleep(self._config.redundant_interval)
                for connection in self._table.of(peer):
                    if connection.muxed.state is ConnectionState.SUSPECTED:
                        self.doubt(connection)  # a peer that just had nothing to say: this finds out
                for connection in self._table.redundant(peer):
                    if connection.idle and connection in self._table.redundant(peer):
                        _log.debug("closing a connection to %s that another one made superfluous", peer)
                        await connection.muxed.aclose()
        self._tidying.discard(peer)
