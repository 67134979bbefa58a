"""A QUIC connection for trio: callers change the engine and go on; the endpoint brings what the engine tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, assert_never

import trio

from peerstack.stack.abc import ConnectionInfo, Direction
from peerstack.stack.background import Waiter, contained, open_background
from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import ConnectionLost, StackError
from peerstack.stack.muxing.stream_registry import OrderlyClose
from peerstack.stack.net.datagrams import SocketAddress

from .address import quic_address
from .certificates import CertificateVerifier
from .endpoint import Endpoint
from .interface import (
    Acknowledged,
    Answered,
    Arrived,
    Connected,
    ConnectionStatistics,
    Ended,
    Event,
    Readable,
    ResetReceived,
    StopReceived,
    StreamOpened,
    StreamsAvailable,
    Writable,
)
from .stream import READ_SIZE, QuicStream, QuicStreamRegistry

CLOSE_LINGER: Final = 0.25
"""Seconds given to what was sent to arrive: CONNECTION_CLOSE discards what is under way."""
MAX_UNREAD: Final = 4096
"""Bytes that a peer may send on a stream that was closed before any were read: enough to agree to a protocol."""

MAX_ABANDONED: Final = 16
"""Marks that no task waits for any more. With a peer that does not read, each that is given up stays in the engine; a
later one cannot come before them, so it need not be asked for until they have."""


class QuicConnection(QuicStreamRegistry):
    """Many streams in one QUIC connection."""

    def __init__(
        self, endpoint: Endpoint, handle: int, verifier: CertificateVerifier, *, dialing: SocketAddress | None = None
    ) -> None:
        """`handle` is the engine's, `dialing` where a dial goes to; `run`, `aclose` or `abandon` must follow."""
        super().__init__()
        self._endpoint = endpoint
        self._engine = endpoint.engine
        self._handle = handle
        self._verifier = verifier
        self._dialing = dialing
        """Where a dial goes that was not answered yet."""
        self._changed = trio.lowlevel.ParkingLot()
        self._available = True
        """Whether the peer may allow one more stream."""
        self._blocked: set[int] = set()
        """Streams that wait until there is room to send."""
        self._unread: dict[int, int] = {}
        """Streams that were closed before anything was read, and how many bytes may come before the peer is stopped."""
        self._answers = 0
        """Of the peer to pings; only that the number changes matters."""
        self._marks: dict[int, bool] = {}
        """Moments that tasks wait for, and whether all that was sent before has arrived."""
        self._abandoned: set[int] = set()
        """Those for which no task waits any more, and the engine still does."""
        self._statistics = ConnectionStatistics(None, None)
        """The last ones."""
        self._connected = False
        self._ran = False
        self._driving: trio.CancelScope | None = None
        self._unreachable: OSError | None = None
        endpoint.add(handle, self)

    # ---- handshake

    @asynccontextmanager
    async def driven(self) -> AsyncIterator[None]:
        """Move datagrams while the block runs, for handshakes."""
        async with open_background() as nursery:
            nursery.start_soon(self._drive)
            yield

    async def wait_answered(self) -> None:
        """Wait for the first answer of the peer. Raises what ended the connection before, or `OSError`."""
        self._endpoint.flush()
        while self._failure is None and self._dialing is not None:
            await self._changed.park()
        if self._unreachable is not None:
            raise self._unreachable
        if self._dialing is not None:
            self._check_alive()

    async def wait_connected(self, direction: Direction) -> None:
        """Wait until the peer is authenticated, and know then who it is. Raises what ended the connection."""
        while self._failure is None and not self._connected:
            await self._changed.park()
        self._check_alive()
        key, remote = self._verifier.key, self._engine.peer_address(self._handle)
        assert key is not None
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
        """Send nothing new, let what was sent arrive, for a moment, and close."""
        try:
            self._stop_sending(OrderlyClose("this side closed the connection"))
            if self._failure is None and self._endpoint.driven:
                with trio.move_on_after(CLOSE_LINGER):
                    mark = self._mark()
                    while self._failure is None and not self._marks[mark]:
                        await self._changed.park()
        finally:
            self._end(OrderlyClose("this side closed the connection"))
        await trio.lowlevel.checkpoint()

    @property
    def closed(self) -> bool:
        """Whether the connection is over, or on its way out."""
        return self._failure is not None or self._ending is not None

    @property
    def _can_open(self) -> bool:
        return self._available

    def _begin_stream(self) -> QuicStream | None:
        stream_id = self._engine.open(self._handle)
        if stream_id is None:
            self._available = False
            return None
        stream = self._streams[stream_id] = QuicStream(self, stream_id)
        return stream

    @property
    def statistics(self) -> ConnectionStatistics:
        """What the engine knows of the path, or knew last."""
        if self._failure is None:
            self._statistics = self._engine.statistics(self._handle)
        return self._statistics

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time in seconds."""
        return self.statistics.rtt

    @property
    def stream_count(self) -> int:
        """Streams open in either direction."""
        return len(self._streams)

    @property
    def unanswered_since(self) -> float | None:
        """When something was first sent that the peer has to acknowledge, after the last datagram of it."""
        return self.statistics.unanswered_since

    async def probe(self) -> None:
        """Send a PING and wait for anything from the peer; see `abc.MuxedConnection.probe`."""
        before = self._answers
        if self._failure is None:
            self._engine.ping(self._handle)
            self._endpoint.flush()
        await self._until(lambda: self._answers != before)

    async def wait_acknowledged(self) -> None:
        """Wait for the acknowledgement of all stream data sent; see `abc.MuxedConnection.wait_acknowledged`."""
        if self._failure is not None:
            raise self._lost()
        if len(self._abandoned) >= MAX_ABANDONED:
            await self._until(lambda: len(self._abandoned) < MAX_ABANDONED)
        mark = self._mark()
        try:
            await self._until(lambda: self._marks[mark])
        finally:
            if not self._marks.pop(mark):
                self._abandoned.add(mark)

    def _mark(self) -> int:
        mark = self._engine.mark(self._handle)
        self._marks[mark] = False
        self._endpoint.flush()
        return mark

    async def _until(self, reached: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while True:
            if self._failure is not None:
                raise self._lost()
            if reached():
                return
            await self._changed.park()

    # ---- called by streams

    def read(self, stream_id: int, size: int) -> tuple[bytes, bool] | None:
        """Take what arrived; see `SocketEngine.read`."""
        if self._failure is not None:
            return None
        return self._engine.read(self._handle, stream_id, size)

    def after_read(self) -> None:
        """Tell the peer that there is room again. Not in `read`: if the connection ends, what comes later is kept."""
        self._endpoint.flush_if_needed()

    def can_send(self, stream_id: int, sender: Waiter) -> bool:
        """Say whether the stream may queue something; if not, it is woken once there is room."""
        return stream_id not in self._blocked

    def send_data(self, stream_id: int, data: memoryview) -> int:
        """Queue what there is room for, send what the network takes, and return how many bytes were queued."""
        if self._failure is not None:
            return 0
        taken = self._engine.write(self._handle, stream_id, data)
        if not taken:
            self._blocked.add(stream_id)
        self._endpoint.flush_if_needed()
        return taken

    def send_eof(self, stream_id: int) -> None:
        """End our direction of a stream."""
        if self._failure is None:
            self._engine.finish(self._handle, stream_id)
            self._endpoint.flush()

    def close_stream(self, stream_id: int) -> None:
        """End our direction of a stream, if that was not done, and stop reading."""
        stream = self._streams.get(stream_id)
        if self._failure is None and stream is not None:
            self._engine.finish(self._handle, stream_id)
            # What we sent goes first. For the peer the end of our direction is one thing, and that it may stop another.
            self._endpoint.flush()
            self._stop_reading(stream_id, unread=stream.closed_unread)
        self.stream_done(stream_id)

    def _stop_reading(self, stream_id: int, *, unread: bool) -> None:
        """Want nothing more of a stream; one that was not read lets the peer answer first, for a moment.

        The peer may have to agree to our protocol: rust-libp2p drops what we sent if it cannot say so.
        """
        self._unread[stream_id] = MAX_UNREAD
        if not unread:
            self._stop(stream_id, StreamCode.NONE)
            return
        self._discard(stream_id)
        self.after_read()
        if stream_id in self._unread:
            when = trio.current_time() + self._endpoint.config.close_timeout
            self._endpoint.call_at(when, partial(self._stop, stream_id, StreamCode.GARBAGE_COLLECTED))

    def _discard(self, stream_id: int) -> None:
        """Read what came on a stream that was closed unread, and stop the peer if that is too much."""
        while (received := self.read(stream_id, READ_SIZE)) is not None and stream_id in self._unread:
            data, end = received
            self._unread[stream_id] -= len(data)
            if end:
                del self._unread[stream_id]
            elif self._unread[stream_id] < 0:
                self._stop(stream_id, StreamCode.NONE)

    def _stop(self, stream_id: int, code: int) -> None:
        """Stop the peer on a stream that was closed, if it may still send."""
        if self._unread.pop(stream_id, None) is not None and self._failure is None:
            self._engine.stop(self._handle, stream_id, code)
            self._endpoint.flush()

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Abort a stream."""
        if self._failure is None and stream_id in self._streams:
            self._engine.reset(self._handle, stream_id, code)
            self._engine.stop(self._handle, stream_id, code)
            self._endpoint.flush()
        self.stream_done(stream_id)

    def stream_done(self, stream_id: int) -> None:
        """Forget a stream on which nothing more can happen, and tell."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._blocked.discard(stream_id)
            self._tell_closed(stream)

    def consumed(self, stream_id: int, size: int) -> None:
        """Note that the application took bytes; the engine knows when it is read."""
        if (stream := self._streams.get(stream_id)) is not None:
            stream.consumed += size

    # ---- called by the endpoint

    def handle(self, event: Event) -> None:
        """Act on an event of the engine."""
        match event:
            case Readable() | Writable() | ResetReceived() | StopReceived():
                self._handle_stream(event)
            case StreamOpened(_, stream_id):
                self._accept(stream_id)
            case StreamsAvailable():
                self._available = True
                self._openable.unpark()
            case Answered() | Connected() | Acknowledged():
                self._note(event)
            case Ended(_, failure):
                self._end(failure or OrderlyClose("the peer closed the connection"))
            case Arrived():
                raise AssertionError("an arrival belongs to no connection")
            case _:
                assert_never(event)

    def _handle_stream(self, event: Readable | Writable | ResetReceived | StopReceived) -> None:
        stream = self._streams.get(event.stream)
        match event:
            case Readable(_, stream_id):
                if stream is not None:
                    stream.readable()
                elif stream_id in self._unread:
                    self._discard(stream_id)
            case Writable(_, stream_id):
                self._blocked.discard(stream_id)
                if stream is not None:
                    stream.writable()
            case ResetReceived(_, stream_id, code):
                self._unread.pop(stream_id, None)
                if stream is not None:
                    stream.was_reset(code)
            case StopReceived(_, stream_id, code):
                if stream is not None:
                    stream.was_stopped(code)

    def _note(self, event: Answered | Connected | Acknowledged) -> None:
        """Tell the tasks that wait for this."""
        match event:
            case Answered():
                self._answers += 1
            case Connected():
                self._connected = True
            case Acknowledged(_, mark):
                self._abandoned.discard(mark)
                if mark in self._marks:
                    self._marks[mark] = True
        self._dialing = None
        self._changed.unpark_all()

    def _accept(self, stream_id: int) -> None:
        """Let a stream of the peer be accepted."""
        if self._ending is not None:
            self._engine.reset(self._handle, stream_id, StreamCode.SHUTDOWN)
            self._engine.stop(self._handle, stream_id, StreamCode.SHUTDOWN)
            return
        stream = self._streams[stream_id] = QuicStream(self, stream_id)
        self._offer(stream)

    def failed(self, reason: str) -> None:
        """Give up: an event of this connection met a bug."""
        self._end(ConnectionLost(reason))

    def cannot_reach(self, address: SocketAddress, error: OSError) -> None:
        """End a dial to there that was not answered; a peer that has answered is known better, and routes come back."""
        if self._dialing == address and self._failure is None:
            self._unreachable = error
            self.abandon()

    # ---- helpers

    async def _drive(self) -> None:
        if self._failure is not None:
            return
        with trio.CancelScope() as self._driving:
            try:
                await self._endpoint.drive()
            except (OSError, trio.ClosedResourceError) as error:
                self._end(ConnectionLost(f"the socket broke: {error}"))

    def _end(self, failure: StackError) -> None:
        """End the connection for the reason given; the first reason stays."""
        if self._failure is not None:
            return
        with contained(partial(self._endpoint.bugs.reason, what="closing a connection")):
            self._statistics = self._engine.statistics(self._handle)
            self._failure = failure
            self._keep_received()
        self._failure = failure
        self._endpoint.close(self._handle)
        self._break_streams()
        self._changed.unpark_all()
        if self._driving is not None:
            self._driving.cancel()

    def _keep_received(self) -> None:
        """Take what arrived and may still be read, since the engine forgets the connection."""
        for stream_id, stream in self._streams.items():
            while (received := self._engine.read(self._handle, stream_id, READ_SIZE)) is not None:
                stream.keep(*received)
                if received[1]:
                    break
