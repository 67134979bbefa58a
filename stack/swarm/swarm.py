"""The swarm: listeners, dials and connections, each in a task it owns."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio
from multiaddr import Multiaddr

from ..abc import Direction, Gater, Incoming, Listener, MuxedConnection, Stream, StreamHandler, Transport
from ..addressing.resolve import Resolver
from ..addressing.usable import why_unlistenable
from ..errors import (
    ConnectionLost,
    DialError,
    InvalidAddress,
    LimitExceeded,
    LocalProtocolError,
    Refused,
    RemoteProtocolError,
    SameIdentity,
    StackError,
)
from ..events import (
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    Event,
    InboundRefused,
    ListenStarted,
    ListenStopped,
)
from ..identity import PeerId
from ..limits import Limits, Reservation, Scopes, network_key
from ..report import DialReport
from .config import SwarmConfig
from .dialer import Dialer
from .gate import Gate
from .streams import Streams
from .table import Connection, ConnectionTable
from .trim import Candidate, Trimmer
from .waiting_room import WaitingRoom

_log = logging.getLogger(__name__)

_EXPECTED = (StackError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)
"""What a peer or the network can cause."""

ConnectionHook = Callable[[Connection], Awaitable[None]]
"""Runs beside every new connection, such as identify; `Connection.identified` is set when it returns."""


@dataclass(frozen=True, slots=True)
class SwarmStatistics:
    """A snapshot of a swarm."""

    peers: int
    connections: int
    inbound_connections: int
    streams: int
    limits: dict[str, dict[str, int]]


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
        self.on_connection: ConnectionHook | None = None
        self.on_disconnected: Callable[[PeerId], None] | None = None
        """Called when the last connection to a peer is gone."""
        self._transports = list(transports)
        self._gate = Gate(gater, raise_errors=self.config.raise_handler_errors)
        self._notify = notify
        self._table = ConnectionTable(local_peer)
        self._streams = Streams(scopes=self.scopes, config=self.config, notify=notify)
        self._dialer = Dialer(
            local_peer=local_peer,
            transports=self._transports,
            scopes=self.scopes,
            gate=self._gate,
            resolver=resolver or Resolver(),
            config=self.config,
            own=self._start,
        )
        self._listeners: list[Listener] = []
        self._waiting = WaitingRoom(self.scopes.transient)
        self._tidying: set[PeerId] = set()
        self._nursery: trio.Nursery | None = None

    # ---- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; connections are said goodbye to on the way out."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._trim_now_and_then)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def aclose(self) -> None:
        """Stop listening, say goodbye to every peer, and end `run`."""
        for listener in list(self._listeners):
            await listener.aclose()
        async with trio.open_nursery() as nursery:
            for connection in self._table:
                nursery.start_soon(connection.muxed.aclose)
        # A cancellation from outside the block has reached `run` already.
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    @property
    def _running(self) -> trio.Nursery:
        if self._nursery is None:
            raise LocalProtocolError("the swarm is not running")
        return self._nursery

    def add_transport(self, transport: Transport) -> None:
        """Dial and listen with one more transport, after those there are."""
        self._transports.append(transport)

    # ---- listening

    @property
    def listen_addresses(self) -> list[Multiaddr]:
        """Return the addresses listened on, as bound."""
        return [listener.address for listener in self._listeners]

    async def listen(self, address: Multiaddr) -> Multiaddr:
        """Listen, and return the address as bound. Raises InvalidAddress, OSError."""
        transport = next((item for item in self._transports if item.can_listen(address)), None)
        if transport is None:
            reason = why_unlistenable(address)
            raise InvalidAddress(
                f"cannot listen on {address}: {reason}"
                if reason
                else f"no transport of this host can listen on {address}"
            )
        nursery = self._running
        listener = await transport.listen(address)
        self._listeners.append(listener)
        nursery.start_soon(self._serve_listener, listener)
        self._notify(ListenStarted(listener.address))
        return listener.address

    async def _serve_listener(self, listener: Listener) -> None:
        error: OSError | None = None
        try:
            while True:
                incoming = await listener.accept()
                await self._admit(incoming)
        except trio.ClosedResourceError:
            pass
        except OSError as caught:
            error = caught
            _log.error("no longer listening on %s: %s", listener.address, error)
        finally:
            self._listeners.remove(listener)
            with trio.CancelScope(shield=True):
                await listener.aclose()
            self._notify(ListenStopped(listener.address, None if error is None else str(error)))

    async def _admit(self, incoming: Incoming) -> None:
        """Let an arriving connection begin its handshake, if gater and limits agree."""
        try:
            self._gate.check_accept(incoming.remote_address)
            address, now = incoming.remote_address, trio.current_time()
            reservation = self._waiting.admit(lambda: self.scopes.accept(address, now))
        except (Refused, LimitExceeded) as error:
            await incoming.refuse()
            self._inbound_failed(incoming, str(error))
            return
        self._running.start_soon(self._handshake, incoming, reservation)

    async def _handshake(self, incoming: Incoming, reservation: Reservation) -> None:
        """Authenticate an arriving connection and serve it; what the peer does wrong ends here."""
        with reservation:
            try:
                muxed = await self._upgrade(incoming, reservation)
            except Exception as error:  # noqa: BLE001 - a supervisor, see `_reason`
                self._inbound_failed(incoming, self._reason(error, f"the handshake with {incoming.remote_address}"))
                return
            try:
                connection = await self._enter(muxed, reservation)
            except StackError as error:
                self._inbound_failed(incoming, str(error))
                return
            await self._serve(connection)

    async def _upgrade(self, incoming: Incoming, reservation: Reservation) -> MuxedConnection:
        try:
            source = network_key(incoming.remote_address)
            with self._waiting.wait(reservation, self.config.inbound_timeout, source):
                return await incoming.upgrade()
        except trio.TooSlowError:
            raise ConnectionLost("the peer did not finish the handshake in time") from None

    def _reason(self, error: Exception, what: str) -> str:
        """Say why a connection ended, and whose fault it was.

        A bug, ours or of a plug-in, is logged, and costs no more than the connection.
        """
        if isinstance(error, RemoteProtocolError):
            return f"the peer broke the protocol: {error}"
        if not isinstance(error, _EXPECTED):
            if self.config.raise_handler_errors:
                raise error
            _log.error("%s failed by a bug", what, exc_info=error)
        return str(error) or type(error).__name__

    def _inbound_failed(self, incoming: Incoming, reason: str) -> None:
        _log.debug("connection from %s refused: %s", incoming.remote_address, reason)
        self._notify(InboundRefused(incoming.remote_address, reason))

    # ---- dialing

    async def dial(self, peer: PeerId | None, addresses: Sequence[Multiaddr]) -> tuple[Connection, DialReport]:
        """Dial and return the connection and what happened; an open connection is returned as it is.

        Raises DialError with its report.
        """
        if peer is not None and (connection := self._table.best(peer)) is not None:
            await trio.lowlevel.checkpoint()
            return connection, DialReport(str(peer), notes=["already connected"])
        try:
            return await self._dialer.dial(self._running, peer, addresses)
        except DialError as error:
            self._notify(DialFailed(error.report))
            raise

    async def _start(self, muxed: MuxedConnection, reservation: Reservation) -> Connection:
        """Own a dialed connection from here on."""
        connection = await self._enter(muxed, reservation)
        self._running.start_soon(self._serve_dialed, connection, reservation)
        return connection

    async def _serve_dialed(self, connection: Connection, reservation: Reservation) -> None:
        with reservation:
            await self._serve(connection)

    # ---- connections

    def connections(self, peer: PeerId | None = None) -> list[Connection]:
        """Return the connections to one peer, the best first, or all."""
        return list(self._table) if peer is None else self._table.of(peer)

    @property
    def peers(self) -> list[PeerId]:
        """Return the connected peers."""
        return self._table.peers

    async def _enter(self, muxed: MuxedConnection, reservation: Reservation) -> Connection:
        """Enter an authenticated connection into the table, or close it if gater or limits refuse."""
        peer = muxed.info.remote_peer
        try:
            if peer == self.local_peer:
                raise SameIdentity("the peer has our own key: it is this host itself, or another one with a copy of it")
            self._gate.check_connection(muxed.info)
            scope = self.scopes.connected(reservation, peer, muxed.info.remote_address)
        except (LocalProtocolError, Refused, LimitExceeded):
            await muxed.aclose()
            raise
        connection = Connection(muxed, scope)
        self._table.add(connection)
        self._notify(ConnectionOpened(muxed.info))
        if self._table.redundant(peer) and peer not in self._tidying:
            self._tidying.add(peer)
            self._running.start_soon(self._close_redundant, peer)
        return connection

    async def _serve(self, connection: Connection) -> None:
        """Run a connection and serve its streams until it ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._streams.accept, connection, nursery)
            nursery.start_soon(self._run_hook, connection)
            try:
                # It may have been closed again before this task had its first turn.
                if not connection.muxed.closed:
                    await connection.muxed.run()
            except Exception as error:  # noqa: BLE001 - a supervisor, see `_reason`
                connection.reason = self._reason(error, f"the connection to {connection.remote_peer}")
            finally:
                self._leave(connection)
            # Its streams are broken, but what they received may still be read.
            nursery.cancel_scope.deadline = trio.current_time() + self.config.handler_grace

    async def _run_hook(self, connection: Connection) -> None:
        if self.on_connection is not None:
            await self.on_connection(connection)
        connection.identified.set()

    async def _close_redundant(self, peer: PeerId) -> None:
        """Close connections of ours that simultaneous dials made superfluous, as soon as they are idle."""
        while redundant := self._table.redundant(peer):
            await trio.sleep(self.config.redundant_interval)
            for connection in redundant:
                if connection.idle and connection in self._table.redundant(peer):
                    _log.debug("closing a connection to %s that a simultaneous dial made superfluous", peer)
                    await connection.muxed.aclose()
        self._tidying.discard(peer)

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
        if peer not in self._table.peers:
            self.trimmer.forget(peer)
            if self.on_disconnected is not None:
                self.on_disconnected(peer)

    def statistics(self) -> SwarmStatistics:
        """Return a snapshot."""
        connections = [connection.muxed for connection in self._table]
        return SwarmStatistics(
            peers=len(self._table.peers),
            connections=len(connections),
            inbound_connections=sum(muxed.info.direction is Direction.INBOUND for muxed in connections),
            streams=sum(muxed.stream_count for muxed in connections),
            limits=self.scopes.statistics(),
        )

    async def disconnect(self, peer: PeerId) -> None:
        """Close every connection to a peer, and return when they have left the table."""
        connections = [connection for connection in self._table if connection.remote_peer == peer]
        async with trio.open_nursery() as nursery:
            for connection in connections:
                nursery.start_soon(connection.muxed.aclose)
        for connection in connections:
            await connection.gone.wait()

    async def _trim_now_and_then(self) -> None:
        while True:
            await trio.sleep(self.config.trim_interval)
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
                self._running.start_soon(connection.muxed.aclose)

    # ---- streams

    @property
    def handlers(self) -> dict[str, StreamHandler]:
        """Protocol id to handler of inbound streams."""
        return self._streams.handlers

    async def open_stream(self, connection: Connection, protocols: Sequence[str], *, supported: bool = False) -> Stream:
        """Open a stream on a connection; see `Streams.open`."""
        return await self._streams.open(connection, protocols, supported=supported)
