"""The trio driver of muxers: one task reads, one flushes, one runs deadlines; callers change the core and return.

A muxer is a core, which knows the frames and does no I/O, and this driver.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, assert_never

import trio

from ..abc import Channel, ConnectionInfo
from ..background import Waiter, close_at_once, open_background
from ..codes import StreamCode, describe_code
from ..errors import ConnectionLost, LocalProtocolError, ProtocolError, RemoteProtocolError, StackError, StreamReset
from .core import (
    DataReceived,
    Event,
    GoAwayReceived,
    MuxerCore,
    StreamAcknowledged,
    StreamClosed,
    StreamFinished,
    StreamOpened,
    StreamWasReset,
    WindowOpened,
)
from .stream import NO_STREAM, MuxerStream
from .stream_registry import OrderlyClose, StreamRegistry

StreamT = TypeVar("StreamT", bound=MuxerStream)

HIGH_WATER = 512 * 1024
"""Bytes sealed and not yet sent beyond which senders wait."""
BATCH = 512 * 1024
"""Bytes one sender may add before the others, and the flusher, have their turn."""
MAX_QUEUED = HIGH_WATER + 2 * BATCH
"""Senders stop at HIGH_WATER and add at most one batch each turn; what lies beyond is answers to the peer's pings,
opens and reads. A peer that asks for that much and reads nothing is attacking (CVE-2024-32984)."""
CLOSE_LINGER = 0.25
"""Seconds given to the peer to hang up after our go-away: closing first could reset bytes still under way."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of one connection."""

    streams: int
    buffered_bytes: int
    queued_bytes: int
    rtt: float | None


class MuxerDriver(StreamRegistry[StreamT], Generic[StreamT]):
    """Many streams over one channel."""

    def __init__(
        self,
        channel: Channel,
        info: ConnectionInfo,
        core: MuxerCore[Any],
        stream_type: type[StreamT],
        *,
        accept_backlog: int,
        soonest_deadline: float,
    ) -> None:
        """`accept_backlog` streams may wait to be accepted; no deadline comes up that is nearer than the soonest."""
        super().__init__()
        self.info = info
        self._channel = channel
        self._core = core
        self._stream_type = stream_type
        self._accept_backlog = accept_backlog
        self._soonest_deadline = soonest_deadline
        self._flushed = trio.lowlevel.ParkingLot()
        self._stalled: dict[int, Waiter] = {}
        self._drained = Waiter()
        self._flush_wanted = trio.Event()
        self._scope: trio.CancelScope | None = None
        self._closed = trio.Event()
        self._hung_up = False
        self._heard = 0
        """Counts reads; only that it changes matters."""
        self._unanswered_since: float | None = None
        self._signs = trio.lowlevel.ParkingLot()
        """Tasks that wait for something to be received, or for the end."""

    # ---- MuxedConnection

    async def run(self) -> None:
        """Move bytes until the connection ends; see `abc.MuxedConnection.run`."""
        if self._scope is not None or self._failure is not None:
            raise trio.ClosedResourceError("this connection has run already")
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                nursery.start_soon(self._flush_when_wanted)
                nursery.start_soon(self._keep_time)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._break(self._ending or ConnectionLost("the connection was closed"))
            self._closed.set()
            await close_at_once(self._channel)
        failure = self._failure
        if failure is not None and not isinstance(failure, OrderlyClose):
            raise failure

    async def aclose(self) -> None:
        """Send what closes the session, give the peer a moment to hang up, and close."""
        try:
            if self._failure is None:
                self._core.go_away()
                self._stop_sending(OrderlyClose("this side closed the connection"))
                self._pump()
                if self._scope is not None:
                    with trio.move_on_after(CLOSE_LINGER):
                        await self._hang_up()
                        await self._closed.wait()
        finally:
            self._end(OrderlyClose("this side closed the connection"))
            if self._scope is None:
                await self._channel.aclose()
        await trio.lowlevel.checkpoint()

    async def _hang_up(self) -> None:
        """End our direction of the channel once all is sent: js-libp2p does not act on GO_AWAY alone."""
        while self._channel.queued and self._failure is None and not self._hung_up:
            await self._flushed.park()
        if self._failure is None and not self._hung_up:
            self._hung_up = True
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
                await self._channel.send_eof()

    @property
    def closed(self) -> bool:
        """Whether the connection is over, or on its way out."""
        return self._failure is not None or self._ending is not None or self._core.going_away

    @property
    def _can_open(self) -> bool:
        return self._core.can_open

    def _begin_stream(self) -> StreamT:
        stream_id = self._core.open_stream(trio.current_time())
        stream = self._streams[stream_id] = self._stream_type(self, stream_id)
        return stream

    @property
    def rtt(self) -> float | None:
        """The latest round-trip time in seconds."""
        return self._core.rtt

    @property
    def stream_count(self) -> int:
        """Streams open in either direction."""
        return self._core.stream_count

    @property
    def unanswered_since(self) -> float | None:
        """When data or a ping was first sent after the last data from the peer; None if nothing was."""
        return self._unanswered_since

    async def probe(self) -> None:
        """Ask the peer for an answer and wait until anything is received; see `abc.MuxedConnection.probe`."""
        self._check_open()
        heard = self._heard
        async with open_background() as nursery:
            nursery.start_soon(self._ask)
            await self._until(lambda: self._heard != heard)

    async def _ask(self) -> None:
        with suppress(ConnectionLost):
            await self.wait_acknowledged()

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._lost()

    def _question(self) -> float:
        """Note that an answer of the peer is due from now on, and return the time."""
        now = trio.current_time()
        if self._unanswered_since is None:
            self._unanswered_since = now
        return now

    async def _until(self, reached: Callable[[], bool]) -> None:
        """Wait until what was received makes `reached` true. Raises ConnectionLost when the connection ends."""
        await trio.lowlevel.checkpoint()
        while not reached():
            self._check_open()
            await self._signs.park()

    def statistics(self) -> Statistics:
        """Return a snapshot."""
        return Statistics(self._core.stream_count, self._core.buffered, self._channel.queued, self._core.rtt)

    # ---- called by streams

    @property
    def congested(self) -> bool:
        """Whether so much waits to be sent that senders should wait too."""
        return self._channel.queued >= HIGH_WATER

    def can_send(self, stream_id: int, sender: Waiter) -> bool:
        """Return whether window and queue have room; credit wakes the stream, an emptied queue the sender."""
        if not self._core.send_credit(stream_id):
            return False
        if self.congested:
            self._stalled[stream_id] = sender
            return False
        return True

    def send_data(self, stream_id: int, data: memoryview) -> int:
        """Send as much of `data` as window and queue allow and return its size: one write for all its frames."""
        if self.congested or not self._core.send_credit(stream_id):
            return 0
        core, now = self._core, self._question()
        sent = core.send_data(stream_id, data, now)
        size = min(len(data), BATCH)
        while sent < size and (more := core.send_data(stream_id, data[sent:size], now)):
            sent += more
        self._pump()
        return sent

    def send_eof(self, stream_id: int) -> None:
        """End our half of a stream."""
        self._apply(self._core.send_eof(stream_id))

    def close_stream(self, stream_id: int) -> None:
        """End our half of a stream and stop receiving."""
        self._apply(self._core.close(stream_id, trio.current_time()))

    def reset_stream(self, stream_id: int, code: int) -> None:
        """Abort a stream."""
        self._apply(self._core.reset(stream_id, code))

    def consumed(self, stream_id: int, size: int) -> None:
        """Note that the application consumed bytes."""
        core = self._core
        if stream_id == NO_STREAM:
            core.hold(-size)
            return
        core.consumed(stream_id, size, trio.current_time())
        self._drained.wake()
        if core.has_data_to_send:
            self._pump()

    # ---- the tasks

    async def _read(self) -> None:
        """Read until either side ends the connection."""
        try:
            while self._failure is None:
                while self._core.saturated:
                    await self._drained.wait()
                chunks = await self._channel.read()
                if not chunks:
                    self._end(self._ending or self._end_of_input())
                    return
                now = trio.current_time()
                self._heard += 1
                self._unanswered_since = None
                for chunk in chunks:
                    self._receive(chunk, now)
                self._pump()
                if self._signs:
                    self._signs.unpark_all()
        except ProtocolError as error:
            if isinstance(error, RemoteProtocolError):
                self._core.go_away(error)
            self._end(error)
            self._pump()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._end(self._ending or self._broken(error))

    def _receive(self, chunk: bytes, now: float) -> None:
        events: list[Event] = []
        try:
            self._core.receive_data(chunk, now, events)
        finally:
            # What came before the violation counts.
            self._dispatch(events)

    def _end_of_input(self) -> StackError:
        if self._core.stream_count and not self._core.going_away:
            return ConnectionLost("the connection ended while streams were open")
        return OrderlyClose("the peer closed the connection")

    def _broken(self, error: Exception) -> StackError:
        # After our go-away the peer may close at once, and then what is still under way breaks the connection below.
        kind = OrderlyClose if self._core.going_away else ConnectionLost
        return kind(f"the connection broke: {error}")

    def _cannot_send(self, error: Exception) -> None:
        """The channel takes nothing more. What the peer sent before may still arrive: read on for a moment."""
        self._hung_up = True
        self._stop_sending(self._broken(error))
        self._flushed.unpark_all()
        if self._scope is None or isinstance(error, trio.ClosedResourceError):
            self._end(self._ending or self._broken(error))
        else:
            self._scope.deadline = min(self._scope.deadline, trio.current_time() + CLOSE_LINGER)

    async def _flush_when_wanted(self) -> None:
        try:
            while True:
                await self._flush_wanted.wait()
                await self._channel.flush()
                self._flush_wanted = trio.Event()
                self._flushed.unpark_all()
                stalled, self._stalled = self._stalled, {}
                for sender in stalled.values():
                    sender.wake()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._cannot_send(error)

    async def _keep_time(self) -> None:
        try:
            while True:
                # No deadline that is set meanwhile is nearer than this.
                soonest = trio.current_time() + self._soonest_deadline
                await trio.sleep_until(min(soonest, self._core.next_deadline()))
                self._apply(self._core.handle_deadline(trio.current_time()))
        except ConnectionLost as error:
            self._end(error)

    # ---- helpers

    def _pump(self) -> None:
        """Seal what the core wants sent, and send what the channel takes at once."""
        out = self._core.data_to_send()
        if not out or self._hung_up or self._closed.is_set():
            return
        channel = self._channel
        try:
            channel.write(out)
            if self._flush_wanted.is_set():
                # The flusher sends in order; what it cannot send yet is bounded.
                if channel.queued > MAX_QUEUED:
                    self._end(RemoteProtocolError("the peer asks for answers and does not read them"))
                return
            channel.flush_nowait()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._cannot_send(error)
            return
        if channel.queued:
            self._flush_wanted.set()

    def _apply(self, events: list[Event]) -> None:
        self._dispatch(events)
        self._drained.wake()
        self._pump()

    def _dispatch(self, events: list[Event]) -> None:  # noqa: C901 - a flat table of events
        for event in events:
            match event:
                case DataReceived(stream_id, data):
                    if (stream := self._streams.get(stream_id)) is not None:
                        stream.feed(data)
                case StreamOpened(stream_id):
                    self._accept(stream_id)
                case WindowOpened(stream_id):
                    if (stream := self._streams.get(stream_id)) is not None:
                        stream.window_opened()
                case StreamFinished(stream_id):
                    if (stream := self._streams.get(stream_id)) is not None:
                        stream.finish()
                case StreamAcknowledged():
                    self._openable.unpark()
                case StreamWasReset(stream_id, code, remote):
                    self._was_reset(stream_id, code, remote)
                case StreamClosed(stream_id):
                    self._forget(stream_id)
                case GoAwayReceived(code):
                    self._end(self._go_away_reason(code))
                case _:
                    assert_never(event)

    def _accept(self, stream_id: int) -> None:
        if len(self._accepted) >= self._accept_backlog:
            self._core.reset(stream_id, StreamCode.RESOURCE_LIMIT)
            return
        stream = self._streams[stream_id] = self._stream_type(self, stream_id)
        self._offer(stream)
        self._openable.unpark()  # the first stream of the peer shows that it is ready for more than a few of ours

    def _forget(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        self._openable.unpark()
        if stream is not None:
            self._core.hold(stream.forgotten())
            self._tell_closed(stream)

    def _was_reset(self, stream_id: int, code: int, remote: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            whom = "the peer" if remote else "a limit of ours"
            why = f" ({describe_code(code)})" if code else ""
            stream.was_reset(StreamReset(f"this stream was reset by {whom}{why}", remote=remote, code=code))

    def _go_away_reason(self, code: int) -> StackError:
        """Return what the code of the peer's go-away means."""
        return OrderlyClose("the peer closed the connection")

    def _end(self, failure: StackError) -> None:
        """End the connection for the reason given; the first reason stays."""
        self._break(failure)
        if self._scope is not None:
            self._scope.cancel()

    def _break(self, failure: StackError) -> None:
        if self._failure is not None:
            return
        self._failure = failure
        self._core.release()
        for stream in self._streams.values():
            self._core.hold(stream.forgotten())
        self._break_streams()
        self._flushed.unpark_all()
        self._signs.unpark_all()
