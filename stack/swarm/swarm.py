"""The swarm: listeners, dials and connections, each in a task it owns."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio
from multiaddr import Multiaddr

from ..abc import (
    DEFAULT_DIAL,
    ConnectionState,
    DialOptions,
    Direction,
    Gater,
    HasEngines,
    Incoming,
    MuxedConnection,
    Stream,
    StreamHandler,
    Transport,
)
from ..addressing.resolve import Resolver
from ..background import close_at_once, contained
from ..bugs import BugReporter
from ..errors import (
    ConnectionLost,
    DialError,
    LimitExceeded,
    LocalProtocolError,
    Refused,
    SameIdentity,
)
from ..events import (
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    Event,
    InboundRefused,
    PeerConnected,
    PeerDisconnected,
)
from ..identity import PeerId
from ..limits import Limits, Reservation, Scopes, network_key
from ..report import DialReport
from .config import SwarmConfig
from .connections import Connection, ConnectionTable
from .dial.dialer import Dialer
from .gate import Gate
from .hooks import ConnectionHooks, Hooks
from .listeners import Listeners
from .liveness import Liveness
from .pending import PendingLimit
from .streams import Streams
from .trim import Candidate, Trimmer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SwarmStatistics:
    """A snapshot of a swarm."""

    peers: int
    connections: int
    inbound_connections: int
    suspected_connections: int
    """Of which it is in doubt whether the peer is still there."""
    streams: int
    limits: dict[str, dict[str, int]]
    engines: dict[str, str] = field(default_factory=dict)
    """What carries protocols for which there are several engines: `{"quic-v1": "aioquic"}`, once it was needed."""


class Swarm:
    """Knows transports, not how they work; owns every connection and the task that serves it."""

    def __init__(
        self,
        *,
        local_peer: PeerId,
        transports: Sequence[Transport],
        limits: Limits | None = None,
        gater: Gater | None = None,
        resolver: Resolver | None = None,
        trimmer: Trimmer | None = None,
        config: SwarmConfig | None = None,
        notify: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.local_peer = local_peer
        self.config = config or SwarmConfig()
        self.scopes = Scopes(limits or Limits())
        self.trimmer = trimmer or Trimmer()
        self._transports = list(transports)
        self.bugs = BugReporter(raise_bugs=self.config.raise_handler_errors)
        """Reports what plug-ins raise."""
        self.on_connection = ConnectionHooks(self.bugs)
        """Run beside every new connection, each in a task of its own."""
        self.on_connection_opened = Hooks[Connection](self.bugs.reason)
        """Called when a connection is in the table, before anything runs beside it."""
        self.on_connection_gone = Hooks[Connection](self.bugs.reason)
        """Called when a connection has left the table."""
        self.on_disconnected = Hooks[PeerId](self.bugs.reason)
        """Called when the last connection to a peer is gone."""
        self._gate = Gate(gater, self.bugs)
        self._notify = notify
        self._table = ConnectionTable(local_peer)
        self._liveness = Liveness(self._table, self.config, self.bugs, self._start_soon)
        self._streams = Streams(scopes=self.scopes, config=self.config, bugs=self.bugs, notify=notify)
        self._dialer = Dialer(
            local_peer=local_peer,
            transports=self._transports,
            scopes=self.scopes,
            gate=self._gate,
            resolver=resolver or Resolver(),
            config=self.config,
            bugs=self.bugs,
            own=self._start,
            start_soon=self._start_soon,
        )
        self._listeners = Listeners(
            transports=self._transports,
            admit=self._admit,
            refused=self._handshake_failed,
            check_running=self._check_running,
            start_soon=self._start_soon,
            bugs=self.bugs,
            notify=notify,
        )
        self.on_listen_addresses_changed = self._listeners.changed
        """Called when `listen_addresses` have changed other than by the end of the swarm."""
        self._waiting = PendingLimit(self.scopes.transient)
        self._nursery: trio.Nursery | None = None
        self._ending = False

    # ---- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; connections are closed on the way out."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._trim_now_and_then)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._ending = self._streams.ending = self._listeners.ending = True

    async def aclose(self) -> None:
        """Stop listening, close every connection, and end `run`."""
        self._ending = self._streams.ending = True
        await self._listeners.aclose()
        await self._close(list(self._table))
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _check_running(self) -> None:
        if self._nursery is None or self._ending:
            raise LocalProtocolError("the swarm is not running")

    def _start_soon(self, work: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Start a task of the swarm. Raises LocalProtocolError before it runs and when the last of them has ended.

        Tasks that are being cancelled may start others, which are cancelled like them.
        """
        if self._nursery is None or (self._ending and not self._nursery.child_tasks):
            raise LocalProtocolError("the swarm is not running")
        self._nursery.start_soon(work, *args)

    def add_transport(self, transport: Transport) -> None:
        """Dial and listen with one more transport, after those there are."""
        self._transports.append(transport)

    def remove_transport(self, transport: Transport) -> None:
        """Dial and listen with it no more; its connections and listeners stay. Nothing happens if it is not there."""
        if transport in self._transports:
            self._transports.remove(transport)

    # ---- listening

    @property
    def listen_addresses(self) -> list[Multiaddr]:
        """Return the addresses listened on, as bound; those of a listener may change."""
        return self._listeners.addresses

    async def listen(self, address: Multiaddr) -> tuple[Multiaddr, ...]:
        """Listen, and return the addresses as bound: one, unless the transport says otherwise.

        Raises InvalidAddress, OSError.
        """
        return await self._listeners.listen(address)

    async def unlisten(self, address: Multiaddr) -> None:
        """Close the listeners on an address; their connections stay. See `Listeners.unlisten`."""
        await self._listeners.unlisten(address)

    async def _admit(self, incoming: Incoming) -> None:
        """Let an arriving connection begin its handshake, if gater and limits agree."""
        try:
            self._gate.check_accept(incoming.remote_address)
            address, relay, now = incoming.remote_address, incoming.relay, trio.current_time()
            reservation = self._waiting.admit(lambda: self.scopes.accept(address, now, relay=relay))
        except (Refused, LimitExceeded) as error:
            await incoming.refuse()
            self._inbound_failed(incoming, str(error))
            return
        self._start_soon(self._handshake, incoming, reservation)

    async def _handshake(self, incoming: Incoming, reservation: Reservation) -> None:
        """Authenticate an arriving connection and serve it; what goes wrong costs that connection only."""
        with reservation, contained(partial(self._handshake_failed, incoming)):
            muxed = await self._upgrade(incoming, reservation)
            connection = await self._enter(muxed, reservation)
            self._dialer.arrived(connection)
            await self._serve(connection)

    def _handshake_failed(self, incoming: Incoming, error: Exception) -> None:
        self._inbound_failed(incoming, self.bugs.reason(error, f"the handshake with {incoming.remote_address}"))

    async def _upgrade(self, incoming: Incoming, reservation: Reservation) -> MuxedConnection:
        try:
            source = incoming.relay or network_key(incoming.remote_address)
            with self._waiting.wait(reservation, self.config.inbound_timeout, source):
                return await incoming.upgrade()
        except trio.TooSlowError:
            raise ConnectionLost("the peer did not finish the handshake in time") from None

    def _inbound_failed(self, incoming: Incoming, reason: str) -> None:
        _log.debug("connection from %s refused: %s", incoming.remote_address, reason)
        self._notify(InboundRefused(incoming.remote_address, reason))

    # ---- dialing

    async def dial(
        self,
        peer: PeerId | None,
        addresses: Sequence[Multiaddr],
        *,
        direct: bool = False,
        options: DialOptions = DEFAULT_DIAL,
        report: DialReport | None = None,
    ) -> tuple[Connection, DialReport]:
        """Dial and return the connection and what happened; an open connection that is alive is returned as it is.

        Where all are suspected they are probed, and the peer is dialed beside them. `direct` takes neither relayed
        addresses nor relayed connections: the peer is dialed beside those. With a `report`, which is continued, the
        dial is not shared with others, and its failure is no event: that is up to the owner of the report. Raises
        DialError with its report.

        With the direction `INBOUND` in `options` the peer begins the handshakes. It is a dial of ours all the same: the
        gater is asked whether it may be dialed, and limits count it as outbound, since this side chose the address.
        What comes of it says `INBOUND` in its `info`. It also ends with a connection of the peer that arrives at a
        listener meanwhile.
        """
        connected = [] if peer is None else [item for item in self._table.of(peer) if not (direct and item.relayed)]
        if connected and connected[0].muxed.state is ConnectionState.ALIVE:
            await trio.lowlevel.checkpoint()
            return connected[0], report or DialReport(str(peer), notes=["already connected"])
        self._check_running()
        dial = partial(self._dialer.dial, peer, addresses, direct=direct, options=options, report=report)
        try:
            return await (self._liveness.probe_and_dial(connected, dial) if connected else dial())
        except DialError as error:
            if report is None:
                self._notify(DialFailed(error.report))
            raise

    async def _start(self, muxed: MuxedConnection, reservation: Reservation, dialed: Multiaddr) -> Connection:
        """Own a dialed connection from here on."""
        connection = await self._enter(muxed, reservation, dialed)
        self._start_soon(self._serve_dialed, connection, reservation)
        return connection

    async def _serve_dialed(self, connection: Connection, reservation: Reservation) -> None:
        with reservation:
            await self._serve(connection)

    # ---- connections

    def connections(self, peer: PeerId | None = None) -> list[Connection]:
        """Return the connections to one peer that are not closing, the best first; or all, in no order."""
        return list(self._table) if peer is None else self._table.of(peer)

    @property
    def peers(self) -> list[PeerId]:
        """Return the connected peers."""
        return self._table.peers

    async def _enter(
        self, muxed: MuxedConnection, reservation: Reservation, dialed: Multiaddr | None = None
    ) -> Connection:
        """Enter an authenticated connection into the table, or close it if gater or limits refuse."""
        try:
            peer = muxed.info.remote_peer
            if peer == self.local_peer:
                raise SameIdentity("the peer has our own key: it is this host itself, or another one with a copy of it")
            self._gate.check_connection(muxed.info)
            scope = self.scopes.connected(reservation, peer, muxed.info.remote_address, relay=muxed.info.relay)
            connection = Connection(muxed, scope, dialed)
            first = peer not in self._table
            self._table.add(connection)
        except BaseException:
            await muxed.aclose()
            raise
        self.on_connection_opened(connection)
        self._notify(ConnectionOpened(muxed.info))
        if first:
            self._notify(PeerConnected(peer))
        return connection

    async def _serve(self, connection: Connection) -> None:
        """Run a connection and serve its streams until it ends; what goes wrong costs that connection only."""
        failed = partial(self._connection_failed, connection)
        with contained(failed), connection.serving:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._accept_streams, connection, nursery)
                nursery.start_soon(self.on_connection.run, connection)
                try:
                    with contained(failed):
                        self._liveness.entered(connection)
                        # It may have been closed again before this task had its first turn.
                        if not connection.muxed.closed:
                            await connection.muxed.run()
                finally:
                    self._leave(connection)
                    if connection.reason is not None:
                        # A muxer that failed may have left its pipe open.
                        with contained(failed):
                            await close_at_once(connection.muxed)
                # Its streams are broken, but what they received may still be read.
                nursery.cancel_scope.deadline = trio.current_time() + self.config.handler_grace

    def _connection_failed(self, connection: Connection, error: Exception) -> None:
        reason = self.bugs.reason(error, f"the connection to {connection.remote_peer}")
        connection.reason = connection.reason or reason

    async def _accept_streams(self, connection: Connection, nursery: trio.Nursery) -> None:
        with contained(partial(self._connection_failed, connection)):
            await self._streams.accept(connection, nursery)
            return
        # A muxer that cannot say what the peer opens is of no use.
        connection.serving.cancel()

    async def _close(self, connections: Sequence[Connection]) -> None:
        """Close several connections at once."""
        async with trio.open_nursery() as nursery:
            for connection in connections:
                nursery.start_soon(self._close_connection, connection)

    async def _close_connection(self, connection: Connection) -> None:
        with contained(partial(self._connection_failed, connection)):
            await connection.muxed.aclose()
            return
        connection.serving.cancel()

    def _leave(self, connection: Connection) -> None:
        peer = connection.remote_peer
        self._table.remove(connection)
        connection.identified.set()
        connection.gone.set()
        connection.scope.close()
        connection.drop_streams()
        if connection.reason is not None:
            _log.debug("connection to %s lost: %s", peer, connection.reason)
        self._notify(ConnectionClosed(connection.muxed.info, connection.reason))
        self.on_connection_gone(connection)
        if peer not in self._table:
            self.trimmer.forget(peer)
            self.on_disconnected(peer)
            self._notify(PeerDisconnected(peer))

    def statistics(self) -> SwarmStatistics:
        """Return a snapshot."""
        connections = [connection.muxed for connection in self._table]
        return SwarmStatistics(
            peers=len(self._table.peers),
            connections=len(connections),
            inbound_connections=sum(muxed.info.direction is Direction.INBOUND for muxed in connections),
            suspected_connections=sum(muxed.state is ConnectionState.SUSPECTED for muxed in connections),
            streams=sum(muxed.stream_count for muxed in connections),
            limits=self.scopes.statistics(),
            engines=self.engines,
        )

    @property
    def engines(self) -> dict[str, str]:
        """What carries protocols for which there are several engines; see `abc.HasEngines`."""
        found: dict[str, str] = {}
        for transport in self._transports:
            if isinstance(transport, HasEngines):
                found |= transport.engines
        return found

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to a peer, and return when they have left the table."""
        connections = self._table.all_of(peer)
        await self._close(connections)
        for connection in connections:
            await connection.gone.wait()

    async def _trim_now_and_then(self) -> None:
        while True:
            await trio.sleep(self.config.trim_interval)
            with contained(partial(self.bugs.reason, what="trimming connections")):
                if len(self._table) > self.trimmer.config.high:
                    self._trim()

    def _trim(self) -> None:
        candidates = [
            Candidate(
                connection=connection,
                peer=connection.remote_peer,
                opened_at=connection.opened,
                streams=connection.muxed.stream_count,
                inbound=connection.muxed.info.direction is Direction.INBOUND,
            )
            for connection in self._table
        ]
        for connection in self.trimmer.choose_to_trim(candidates, trio.current_time()):
            _log.debug("closing the connection to %s: there are too many", connection.remote_peer)
            self._start_soon(self._close_connection, connection)

    # ---- streams

    @property
    def handlers(self) -> dict[str, StreamHandler]:
        """Protocol id to handler of inbound streams."""
        return self._streams.handlers

    def patience(self, connection: Connection) -> float:
        """Return for how many seconds a stream on a suspected connection is worth waiting for."""
        return self._liveness.patience([connection])

    async def open_stream(
        self,
        connection: Connection,
        protocols: Sequence[str],
        *,
        supported: bool = False,
        allow_limited: bool = False,
    ) -> Stream:
        """Open a stream on a connection; see `Streams.open`."""
        return await self._streams.open(connection, protocols, supported=supported, allow_limited=allow_limited)
