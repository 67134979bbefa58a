"""A QUIC connection: the engine driven by trio; callers change the engine and go on, one task keeps time."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, assert_never

import trio

from peerstack.stack.abc import ConnectionInfo, Direction
from peerstack.stack.background import Waiter, contained, open_background
from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import ConnectionLost, StackError
from peerstack.stack.muxing.stream_registry import OrderlyClose, StreamRegistry
from peerstack.stack.net.datagrams import SocketAddress

from .address import quic_address
from .config import QuicConfig
from .interface import (
    DataReceived,
    Ended,
    Engine,
    Event,
    HandshakeCompleted,
    ResetReceived,
    RouteAdded,
    RouteRemoved,
    StopReceived,
)
from .send_buffer import SendRoom
from .stream import QuicStream

if TYPE_CHECKING:
    from .endpoint import Endpoint

CLOSE_LINGER = 0.25
"""Seconds given to what finished streams have sent to arrive: the goodbye of QUIC discards what is under way."""
GOODBYES = 3  # copies of the last datagram to whom we know: who misses it waits for the idle timeout
SHORTEST_SLEEP = 0.0005
"""Seconds between two looks at the clock, whatever the engine says."""
LEAST_HEARD = 4096
"""Bytes that a peer may send on a stream that was closed before any were read: enough to agree to a protocol."""
_MANY_CLOSED = 64
_UNREACHABLE = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)


class QuicConnection(StreamRegistry[QuicStream]):
    """Many streams in one QUIC connection."""

    def __init__(self, endpoint: Endpoint, engine: Engine, config: QuicConfig) -> None:
        """The connection belongs to the endpoint from the start; `run`, `aclose` or `abandon` must follow."""
        super().__init__()
        self._endpoint = endpoint
        self._engine = engine
        self._config = config
        self._changed = trio.lowlevel.ParkingLot()
        self._room = SendRoom(engine, config)
        self._closing: set[int] = set()
        """Streams that were closed, and whose last bytes may be under way."""
        self._lingering: deque[tuple[float, int]] = deque()
        """Streams that were closed before anything was read, and when the peer is told to stop sending."""
        self._reset_token = b""
        self._alarm: trio.CancelScope | None = None
        self._not_before = self._heard = self._asked = trio.current_time()
        self._datagrams = 0
        """Received; only that it changes matters."""
        self._unanswered_since: float | None = None
        self._connected = False
        self._ran = False
        self._unreachable: OSError | None = None
        endpoint.add(self, engine.connection_id)

    # ---- handshake

    @asynccontextmanager
    async def driven(self) -> AsyncIterator[None]:
        """Move datagrams while the block runs, for handshakes."""
        async with open_background() as nursery:
            nursery.start_soon(self._drive)
            yield

    async def wait_answered(self) -> None:
        """Wait for the first sign of the peer, good or bad. Raises what ended the connection before, or `OSError`."""
        self._pump()
        while self._failure is None and not self._engine.answered:
            await self._changed.park()
        if self._unreachable is not None:
            raise self._unreachable
        if not self._engine.answered:
            self._check_alive()

    async def wait_connected(self, direction: Direction) -> None:
        """Wait until the peer is authenticated, and know then who it is. Raises what ended the connection."""
        while self._failure is None and not self._connected:
            await self._changed.park()
        self._check_alive()
        key, remote = self._engine.peer_key, self._engine.peer_address
        assert key is not None
        assert remote is not None
        self.info = ConnectionInfo(
            remote_peer=key.peer_id,
            remote_public_key=key,
            local_address=quic_address(self._endpoint.address_towards(remote)),
            remote_address=quic_address(remote),
            direction=direction,
            security="tls",
            muxer="quic",
        )

    def abandon(self) -> None:
        """Give up at once, for handshakes that failed."""
        self._end(ConnectionLost("the connection was given up"))

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise self._failure

    # ---- MuxedConnection

    async def run(self) -> None:
        """Move datagrams until the connection ends; see `abc.MuxedConnection.run`."""
        if self._ran:
            raise trio.ClosedResourceError("this connection has run already")
        self._ran = True
        try:
            await self._drive()
        finally:
            self._end(self._ending or ConnectionLost("the connection was closed"))
        if not isinstance(self._failure, OrderlyClose):
            self._check_alive()

    async def aclose(self) -> None:
        """Send nothing new, let what was sent arrive, for a moment, and say goodbye."""
        try:
            self._stop_sending(OrderlyClose("this side closed the connection"))
            if self._alarm is not None:
                with trio.move_on_after(CLOSE_LINGER):
                    while self._failure is None and self._under_way():
                        await self._changed.park()
        finally:
            self._end(OrderlyClose("this side closed the connection"))
        await trio.lowlevel.checkpoint()

    def _under_way(self) -> bool:
        self._closing = {stream_id for stream_id in self._closing if self._engine.unacknowledged(stream_id)}
        return bool(self._closing) or any(map(self._room.used, self._streams))

    @property
    def closed(self) -> bool:
        """Whether the connection is over, or on its way out."""
        return self._failure is not None or self._ending is not None

    @property
    def _can_open(self) -> bool:
        return self._engine.can_open

    def _begin_stream(self) -> QuicStream:
        stream_id = self._engine.open_stream()
        stream = self._streams[stream_id] = QuicStream(self, stream_id)
        return stream

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time in seconds."""
        return self._engine.rtt

    @property
    def stream_count(self) -> int:
        """Streams open in either direction."""
        return len(self._streams)

    @property
    def unanswered_since(self) -> float | None:
        """When something was first sent that the peer has to acknowledge, after it was last heard of."""
        return self._unanswered_since

    async def probe(self) -> None:
        """Send a PING and wait for anything from the peer; see `abc.MuxedConnection.probe`."""
        heard = self._datagrams
        if self._failure is None:
            self._engine.ping()
            self._pump()
        await self._until(lambda: self._datagrams != heard)

    async def wait_acknowledged(self) -> None:
        """Wait for the acknowledgement of all stream data sent; see `abc.MuxedConnection.wait_acknowledged`."""
        sent = self._engine.sent_marks()
        await self._until(lambda: self._engine.acknowledged(sent))

    async def _until(self, reached: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while True:
            if self._failure is not None:
                raise self._lost()
            if reached():
                return
            await self._changed.park()

    # ---- called by streams

    def can_send(self, stream_id: int, sender: Waiter) -> bool:
        """Say whether the stream may queue something; if not, wake the sender once the peer has acknowledged enough."""
        return self._room.is_there(stream_id, self._streams, sender)

    def send_data(self, stream_id: int, data: memoryview) -> int:
        """Queue what there is room for, send what the network takes, and return how many bytes were queued."""
        room = max(0, self._room.of(stream_id, self._streams))
        if room and not self._engine.write(stream_id, data[:room]):
            self._was_stopped(stream_id)
            return 0
        if room:
            self._pump()
        return min(room, len(data))

    def _was_stopped(self, stream_id: int) -> None:
        """The peer takes nothing more; it said so a moment ago, perhaps in an event that was not looked at."""
        self._dispatch(self._engine.events())
        if (stream := self._streams.get(stream_id)) is not None:
            stream.was_stopped(StreamCode.NONE)

    def send_eof(self, stream_id: int) -> None:
        """End our direction of a stream."""
        self._finish(stream_id)
        self._pump()

    def close_stream(self, stream_id: int) -> None:
        """End our direction of a stream, if that was not done, and stop listening."""
        stream = self._streams.get(stream_id)
        if self._failure is None and stream is not None:
            self._finish(stream_id)
            if stream.unheard:
                # The peer may have to agree to our protocol first: rust-libp2p drops what we sent if it cannot say so.
                self._engine.ignore(stream_id, LEAST_HEARD)
                self._lingering.append((trio.current_time() + self._config.close_timeout, stream_id))
            self._pump()
            # What we sent goes first. For the peer the end of our direction is one thing, and that it may stop another.
            if not stream.unheard and self._engine.stop(stream_id, StreamCode.NONE):
                self._pump()
        self.stream_done(stream_id)

    def nothing_read(self, stream_id: int) -> bool:
        """Whether the application took nothing that the peer sent on a stream."""
        return not self._engine.consumed_of(stream_id)

    def _finish(self, stream_id: int) -> None:
        if self._engine.write(stream_id, b"", end=True):
            self._closing.add(stream_id)

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Abort a stream."""
        if self._failure is None and stream_id in self._streams:
            self._engine.reset(stream_id, code)
            self._engine.stop(stream_id, code)
            self._pump()
        self.stream_done(stream_id)

    def stream_done(self, stream_id: int) -> None:
        """Forget a stream on which nothing more can happen, and tell."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        if self._failure is None:
            self._engine.settle(stream_id)
        if len(self._closing) > _MANY_CLOSED:
            self._under_way()
        self._tell_closed(stream)

    def consumed(self, stream_id: int, size: int) -> None:
        """Note that the application took bytes."""
        if self._engine.consumed(stream_id, size, trio.current_time()) and self._failure is None:
            self._pump()

    # ---- called by the endpoint

    def receive(self, datagram: bytes, address: SocketAddress, now: float) -> None:
        """Take a datagram; `settle` follows."""
        self._heard = now
        self._datagrams += 1
        self._unanswered_since = None
        self._engine.receive(datagram, address, now)

    def settle(self) -> None:
        """Act on what the datagrams received brought."""
        if self._failure is not None:
            return
        self._dispatch(self._engine.events())
        if self._reset_token != self._engine.peer_reset_token:
            self._reset_token = self._engine.peer_reset_token
            self._endpoint.expect_reset(self, self._reset_token)
        self._room.wake(self._streams)
        if self._engine.can_open:
            self._openable.unpark()
        self._changed.unpark_all()
        self._pump()

    def was_unreachable(self, address: SocketAddress, number: int) -> None:
        """The network says, by errno, that a datagram did not get there; who has heard of the peer knows better."""
        if self._engine.peer_address == address and number in _UNREACHABLE:
            self._cannot_reach(OSError(number, os.strerror(number)))

    def _cannot_reach(self, error: OSError) -> None:
        """End a dial that nothing has come of yet; later a route may come back."""
        if not self._engine.answered and self._failure is None:
            self._unreachable = error
            self.abandon()

    def failed(self, reason: str) -> None:
        """Give up: a datagram of this connection met a bug."""
        self._end(ConnectionLost(reason))

    def was_forgotten(self) -> None:
        """The peer sent a stateless reset: it has lost this connection."""
        self._end(ConnectionLost("the peer has forgotten this connection: it was probably restarted"))

    # ---- the tasks

    async def _drive(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            await self._keep_time()
            nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        try:
            await self._endpoint.read()
        except (OSError, trio.ClosedResourceError) as error:
            self._end(ConnectionLost(f"the socket broke: {error}"))

    async def _keep_time(self) -> None:
        try:
            while self._failure is None:
                with trio.CancelScope(deadline=self._next_alarm()) as self._alarm:
                    await trio.sleep_forever()
                self._tick()
        finally:
            self._alarm = None

    def _next_alarm(self) -> float:
        deadline = max(self._heard, self._asked) + self._config.keepalive_interval
        if self._lingering:
            deadline = min(deadline, self._lingering[0][0])
        engine = self._engine.next_deadline()
        return max(self._not_before, deadline if engine is None else min(engine, deadline))

    def _tick(self) -> None:
        if self._failure is not None:
            return
        now = trio.current_time()
        self._not_before = now + SHORTEST_SLEEP
        if now >= max(self._heard, self._asked) + self._config.keepalive_interval:
            self._asked = now
            if self._connected:
                self._engine.ping()
        while self._lingering and now >= self._lingering[0][0]:
            self._engine.stop(self._lingering.popleft()[1], StreamCode.GARBAGE_COLLECTED)
        deadline = self._engine.next_deadline()
        if deadline is not None and now >= deadline:
            self._engine.handle_deadline(now)
        self._dispatch(self._engine.events())
        self._pump()

    # ---- helpers

    def _pump(self) -> None:
        """Send what the engine lets out, and set the alarm anew."""
        if self._failure is not None:
            return
        self._send()
        self._dispatch(self._engine.events())
        if self._alarm is not None:
            deadline = self._next_alarm()
            if deadline < self._alarm.deadline:
                # A later one is left alone: the tick at the old time costs less than a change each time.
                self._alarm.deadline = deadline

    def _send(self, *, copies: int = 1) -> bytes:
        """Send what the engine lets out, and return the last datagram."""
        now = trio.current_time()
        datagrams = self._engine.datagrams_to_send(now) * copies
        if self._unanswered_since is None and datagrams and self._engine.awaits_acknowledgement:
            self._unanswered_since = now
        for address, group in groupby(datagrams, key=itemgetter(1)):
            error = self._endpoint.send([datagram for datagram, _ in group], address)
            if error is not None and error.errno == errno.EMSGSIZE:
                self._engine.was_too_large(max(len(datagram) for datagram, to in datagrams if to == address))
            elif error is not None:
                self._cannot_reach(error)
        return datagrams[-1][0] if datagrams else b""

    def _dispatch(self, events: list[Event]) -> None:  # noqa: C901 - a flat table of events
        for event in events:
            match event:
                case DataReceived(stream_id, data, end):
                    if (stream := self._stream(stream_id)) is not None:
                        if data:
                            stream.feed(data)
                        if end:
                            stream.finish()
                case ResetReceived(stream_id, code):
                    if (stream := self._stream(stream_id)) is not None:
                        stream.was_reset(code)
                case StopReceived(stream_id, code):
                    if (stream := self._stream(stream_id)) is not None:
                        stream.was_stopped(code)
                case RouteAdded(connection_id):
                    self._endpoint.add(self, connection_id)
                case RouteRemoved(connection_id):
                    self._endpoint.remove_route(connection_id)
                case HandshakeCompleted():
                    self._connected = True
                case Ended(failure):
                    self._end(failure or OrderlyClose("the peer closed the connection"))
                case _:
                    assert_never(event)

    def _stream(self, stream_id: int) -> QuicStream | None:
        """Return the stream of an event; the first event of a stream of the peer opens it."""
        if stream_id in self._streams:
            return self._streams[stream_id]
        if not self._engine.is_new(stream_id):
            return None
        if self._ending is not None:
            self._engine.reset(stream_id, StreamCode.SHUTDOWN)
            self._engine.stop(stream_id, StreamCode.SHUTDOWN)
            return None
        stream = self._streams[stream_id] = QuicStream(self, stream_id)
        self._offer(stream)
        return stream

    def _end(self, failure: StackError) -> None:
        """End the connection for the reason given; the first reason stays."""
        if self._failure is not None:
            return
        self._failure = failure
        last = b""
        with contained(partial(self._endpoint.bugs.reason, what="closing a connection")):
            self._engine.close(0, "")
            last = self._send(copies=GOODBYES if self._connected else 1)
        self._endpoint.remove(self, last if self._connected else None)
        self._engine.release()
        self._break_streams()
        self._changed.unpark_all()
        if self._alarm is not None:
            self._alarm.cancel()
