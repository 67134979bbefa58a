"""Opens outbound streams and serves inbound ones: negotiation, limits, handlers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import trio

from ..abc import Direction, Stream, StreamHandler
from ..background import contained
from ..bugs import BugReporter
from ..codes import StreamCode
from ..errors import (
    ConnectionLost,
    DialError,
    LimitedConnection,
    LimitExceeded,
    LocalProtocolError,
    NegotiationError,
    StackError,
    describe,
    is_expected,
)
from ..events import Event, HandlerFailed, StreamClosed, StreamOpened
from ..identity import PeerId
from ..limits import RateLimiter, Reservation, Scopes
from ..negotiation import negotiate_inbound, negotiate_outbound
from .config import SwarmConfig
from .connections import Connection
from .optimistic import OptimisticStream
from .pending import PendingLimit

_log = logging.getLogger(__name__)

LINES_PER_SECOND = 0.2
"""Debug lines a second on what one peer does to its streams, in the long run."""
LINES_AT_ONCE = 3
"""Such lines that are written at once before the rate applies."""


class Streams:
    """What is done with the streams of all connections."""

    def __init__(
        self, *, scopes: Scopes, config: SwarmConfig, bugs: BugReporter, notify: Callable[[Event], None]
    ) -> None:
        self._scopes = scopes
        self._bugs = bugs
        self._config = config
        self._notify = notify
        self._waiting = PendingLimit(scopes.transient)
        self._lines = RateLimiter(LINES_PER_SECOND, LINES_AT_ONCE, capacity=4096)
        self.handlers: dict[str, StreamHandler] = {}
        """Protocol id to handler; what is in here is accepted."""
        self.ending = False
        """Whether the host is about to end, so that handlers meet closed connections and a swarm that dials no more."""

    async def open(
        self, connection: Connection, protocols: Sequence[str], *, supported: bool, allow_limited: bool = False
    ) -> Stream:
        """Open a stream and agree on a protocol; `supported` says that the peer is known to have the only one.

        Raises NegotiationError, LimitExceeded, StreamReset, ConnectionLost, and LimitedConnection unless
        `allow_limited` says that a connection will do that a relay limits.
        """
        if connection.limited and not allow_limited:
            raise limited_connection(connection, protocols)
        reservation = self._waiting.admit(lambda: connection.scope.open_stream(inbound=False))
        try:
            stream = await connection.muxed.open_stream()
        except BaseException:
            reservation.release()
            raise
        told = _Outbound(connection.remote_peer, reservation, self._notify)
        connection.when_closed(stream, told.closed)
        early = supported and len(protocols) == 1
        try:
            protocol = protocols[0] if early else await negotiate_outbound(stream, protocols)
            self._scopes.negotiated(reservation, connection.scope, protocol)
        except BaseException as error:
            stream.reset(StreamCode.NEGOTIATION_FAILED if isinstance(error, NegotiationError) else StreamCode.NONE)
            raise
        if early:
            return OptimisticStream(stream, protocol, on_agreed=lambda: told.agreed(protocol))
        stream.protocol = protocol
        told.agreed(protocol)
        return stream

    async def accept(self, connection: Connection, nursery: trio.Nursery) -> None:
        """Serve every stream the peer opens, each in a task of `nursery`, until the connection is gone."""
        while True:
            try:
                stream = await connection.muxed.accept_stream()
            except ConnectionLost:
                return
            try:
                reservation = self._waiting.admit(lambda: connection.scope.open_stream(inbound=True))
            except LimitExceeded as error:
                stream.reset(StreamCode.RESOURCE_LIMIT)
                self._tell(connection.remote_peer, "a stream is refused", str(error))
                continue
            nursery.start_soon(self._serve, connection, stream, reservation)

    def _tell(self, peer: PeerId, what: str, why: str) -> None:
        """Log what a peer did to a stream; a flood of streams must not flood the log, too."""
        if self._lines.allow(peer, trio.current_time()):
            _log.debug("%s: %s: %s", peer, what, why)

    async def _serve(self, connection: Connection, stream: Stream, reservation: Reservation) -> None:
        with reservation, contained(partial(self._stream_failed, stream)):
            try:
                handler = await self._negotiate(connection, stream, reservation)
            except BaseException:
                stream.reset()
                raise
            if handler is not None:
                self._notify(StreamOpened(connection.remote_peer, stream.protocol, Direction.INBOUND))
                try:
                    await self._handle(handler, stream)
                finally:
                    self._notify(StreamClosed(connection.remote_peer, stream.protocol))

    def _stream_failed(self, stream: Stream, error: Exception) -> None:
        """Report what went wrong with a stream outside its handler: a bug, such as of a muxer."""
        stream.reset()
        self._tell(stream.remote_peer, "a stream ended", self._bugs.reason(error, f"a stream of {stream.remote_peer}"))

    async def _negotiate(
        self, connection: Connection, stream: Stream, reservation: Reservation
    ) -> StreamHandler | None:
        """Agree on a protocol; what goes wrong is the peer's affair and costs it the stream."""
        code = StreamCode.NEGOTIATION_FAILED
        try:
            with self._waiting.wait(reservation, self._config.stream_timeout, connection.remote_peer):
                protocol = await negotiate_inbound(stream, self.handlers)
            self._scopes.negotiated(reservation, connection.scope, protocol)
        except LimitExceeded as error:
            code, reason = StreamCode.RESOURCE_LIMIT, str(error)
        except trio.TooSlowError:
            reason = "the peer was too slow to agree on a protocol"
        except (StackError, trio.BrokenResourceError) as error:
            reason = str(error)
        else:
            stream.protocol = protocol
            if (handler := self.handlers.get(protocol)) is not None:
                return handler
            reason = f"{protocol} is no longer served"
        self._tell(connection.remote_peer, "a stream is refused", reason)
        stream.reset(code)
        return None

    async def _handle(self, handler: StreamHandler, stream: Stream) -> None:
        """Run a handler; whatever it raises costs its stream only."""
        try:
            with contained(partial(self._handler_failed, stream)):
                await handler(stream)
                await stream.aclose()
        except BaseException:
            stream.reset(StreamCode.SHUTDOWN)
            raise

    def _handler_failed(self, stream: Stream, error: Exception) -> None:
        peer, protocol = stream.remote_peer, stream.protocol
        if _caused_by_peer(error) or (self.ending and is_expected(error)):
            self._tell(peer, f"{protocol} ended", describe(error))
            stream.reset(_code(error))
            return
        stream.reset()
        self._bugs.report(error, f"the handler of {protocol} raised; its stream with {peer} is reset")
        self._notify(HandlerFailed(peer, protocol, error))


def limited_connection(connection: Connection, protocols: Sequence[str]) -> LimitedConnection:
    """Build the error that names the relay, what it allows, and what to do."""
    info = connection.muxed.info
    return LimitedConnection(
        f"the connection to {info.remote_peer} goes through relay {info.relay}, which allows {info.limited}; "
        f"{' or '.join(protocols)} is not opened there: connect directly (host.connect(peer, direct=True)), or say "
        "that this protocol can use it (open_stream(..., allow_limited=True))"
    )


class _Outbound:
    """What observers are told of an outbound stream, and what it counts as.

    It may be over before its task has read that the peer supports the protocol, or without ever reading it.
    """

    __slots__ = ("_notify", "_over", "_peer", "_protocol", "_reservation")

    def __init__(self, peer: PeerId, reservation: Reservation, notify: Callable[[Event], None]) -> None:
        self._peer = peer
        self._reservation = reservation
        self._notify = notify
        self._protocol: str | None = None
        self._over = False

    def agreed(self, protocol: str) -> None:
        self._protocol = protocol
        self._notify(StreamOpened(self._peer, protocol, Direction.OUTBOUND))
        if self._over:
            self._notify(StreamClosed(self._peer, protocol))

    def closed(self) -> None:
        self._reservation.release()
        self._over = True
        if self._protocol is not None:
            self._notify(StreamClosed(self._peer, self._protocol))


def _caused_by_peer(error: BaseException) -> bool:
    """Return whether a handler ended since the peer reset the stream, vanished, was too slow, or broke the protocol."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_caused_by_peer, error.exceptions))
    if isinstance(error, (LocalProtocolError, DialError)):
        return False
    return isinstance(error, (StackError, trio.BrokenResourceError, trio.TooSlowError))


def _code(error: BaseException) -> StreamCode:
    return StreamCode.RESOURCE_LIMIT if isinstance(error, LimitExceeded) else StreamCode.PROTOCOL_VIOLATION
