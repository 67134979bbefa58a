"""The mplex session as a machine without I/O: bytes and commands in, events and bytes out, and one deadline."""

from __future__ import annotations

from math import inf

from ...codes import StreamCode
from ...errors import ConnectionLost, LocalProtocolError, RemoteProtocolError
from ...wire.varint import Incomplete
from ..core import DataReceived, Event, Half, MuxerCore, StreamClosed, StreamFinished, StreamOpened, StreamWasReset
from .config import Config
from .wire import CLOSE, MAX_STREAM_ID, MESSAGE, NEW_STREAM, RESET, decode_header, encode_header


class StreamState:
    """One stream: who opened it, its halves, and what the application has not read yet."""

    __slots__ = ("buffered", "key", "new_due", "number", "ours", "receive", "send")

    def __init__(self, number: int, *, ours: bool) -> None:
        self.number = number
        self.ours = ours
        self.key = key_of(number, ours=ours)
        self.new_due = ours
        """Whether the peer does not know of it yet; the first message opens it."""
        self.send = Half.OPEN
        self.receive = Half.OPEN
        self.buffered = 0
        """Bytes given out that the application has not consumed; once it closed the stream, those dropped."""


def key_of(number: int, *, ours: bool) -> int:
    """Return one number for a stream of either side; never 0, which no stream has."""
    return (number << 1 | ours) + 2


class MplexCore(MuxerCore[StreamState]):
    """One side of an mplex session; both sides are alike."""

    rtt = None
    """Mplex has no pings."""

    def __init__(self, *, config: Config, now: float) -> None:
        super().__init__(
            opens_per_second=config.opens_per_second, idle_frames_per_second=config.idle_frames_per_second, now=now
        )
        self._config = config
        self._going_away = False
        self._next_number = 0
        self._stalled: dict[int, float] = {}
        """Streams with a full buffer, and when they are reset."""
        # Parser: the beginning of a header, or the stream and bytes left of a body (no stream: discard them).
        self._header = b""
        self._body: StreamState | None = None
        self._body_left = 0

    # ---- what there is

    @property
    def going_away(self) -> bool:
        """Whether this side closes the session."""
        return self._going_away

    @property
    def saturated(self) -> bool:
        """Whether a stream's buffer is full: its sender can be stopped only together with all others."""
        return bool(self._stalled)

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` may be called now; if not, wait for `StreamClosed`."""
        return self._outbound < self._config.max_outbound_streams

    def send_credit(self, stream_id: int) -> int:
        """Return how many bytes may go into one message; 0 for a stream that is gone."""
        return self._config.max_message_sent if stream_id in self._streams else 0

    # ---- commands

    def open_stream(self, now: float) -> int:
        """Open a stream and return its key; the peer learns of it with the first message.

        Raises LocalProtocolError unless `can_open`, ConnectionLost when all ids are used up.
        """
        if self._going_away:
            raise LocalProtocolError("the session is closing")
        if not self.can_open:
            raise LocalProtocolError("no more streams may be opened now")
        if self._next_number > MAX_STREAM_ID:
            raise ConnectionLost("all stream ids of this connection are used up")
        stream = StreamState(self._next_number, ours=True)
        self._next_number += 1
        self._streams[stream.key] = stream
        self._outbound += 1
        return stream.key

    def send_data(self, stream_id: int, data: memoryview, now: float) -> int:
        """Frame the first part of `data` and return its size. Raises LocalProtocolError after the end was sent."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.send is not Half.OPEN:
            raise LocalProtocolError("the stream is closed for sending")
        size = min(len(data), self._config.max_message_sent)
        if size:
            self._frame(MESSAGE, stream, size)
            self._out.append(data[:size])
        return size

    def send_eof(self, stream_id: int) -> list[Event]:
        """End our half of the stream."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.send is not Half.OPEN:
            return []
        stream.send = Half.DONE
        self._frame(CLOSE, stream)
        return self._forget_if_done(stream)

    def close(self, stream_id: int, now: float) -> list[Event]:
        """End our half and stop receiving; the peer has a while to end its half."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.new_due:
            return self._forget(stream)  # the peer does not know of it
        events = self.send_eof(stream_id)
        if stream is not None and stream_id in self._streams and stream.receive is Half.OPEN:
            stream.receive = Half.IGNORED
            self._lingering.append((now + self._config.close_timeout, stream_id))
            self._buffered -= stream.buffered  # the application drops it
            stream.buffered = 0
            self._stalled.pop(stream_id, None)
        return events

    def reset(self, stream_id: int, code: int = StreamCode.NONE) -> list[Event]:
        """Abort the stream; nothing happens if it is gone already. Mplex cannot send the code."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return []
        if not stream.new_due:
            self._frame(RESET, stream)
        return self._forget(stream)

    def consumed(self, stream_id: int, size: int, now: float) -> None:
        """Note that the application took `size` received bytes."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.buffered -= size
        self._buffered -= size
        if stream.buffered < self._config.max_stream_buffer:
            self._stalled.pop(stream_id, None)

    def go_away(self, failure: RemoteProtocolError | None = None) -> None:
        """Open nothing new; mplex has no message that says so."""
        self._going_away = True

    def release(self) -> None:
        """Forget all streams; the session is over."""
        self._going_away = True
        for stream in list(self._streams.values()):
            self._forget(stream)

    # ---- time

    def next_deadline(self) -> float:
        """Return when `handle_deadline` should be called next."""
        lingering = self._lingering[0][0] if self._lingering else inf
        return min(lingering, *self._stalled.values(), inf)

    def handle_deadline(self, now: float) -> list[Event]:
        """Reset the streams that held up the others, or ours that the peer did not end, for too long."""
        events: list[Event] = []
        for stream_id in [key for key, due in self._stalled.items() if due <= now]:
            events += self._overrun(self._streams[stream_id])
        return events + self._reset_lingering(now, StreamCode.NONE)

    # ---- input

    def receive_data(self, data: bytes, now: float, events: list[Event] | None = None) -> list[Event]:
        """Take bytes from the peer and return what they mean; see `MuxerCore.receive_data`."""
        events = [] if events is None else events
        if self._header:
            data, self._header = self._header + data, b""
        position, end = 0, len(data)
        while position < end:
            if self._body_left:
                size = min(self._body_left, end - position)
                self._body_left -= size
                if self._body is not None:
                    self._receive_body(self._body, data[position : position + size], now, events)
                position += size
                continue
            try:
                number, flag, length, position = decode_header(data, position)
            except Incomplete:
                self._header = data[position:]  # not yet two varints
                break
            self._body, self._body_left = None, length
            self._receive_header(number, flag, length, now, events)
        return events

    def _receive_header(self, number: int, flag: int, length: int, now: float, events: list[Event]) -> None:
        if flag == NEW_STREAM:
            self._receive_new(number, now, events)
            return
        # The receiver's flags are odd, so that an odd one is about a stream of ours.
        ours = bool(flag & 1)
        kind = flag if ours else flag - 1
        stream = self._streams.get(key_of(number, ours=ours))
        if stream is None or stream.new_due:
            self._count_idle(now)
        elif kind == MESSAGE:
            self._receive_message(stream, length, now, events)
        elif kind == CLOSE:
            self._receive_close(stream, now, events)
        else:
            events.append(StreamWasReset(stream.key, StreamCode.NONE, remote=True))
            events += self._forget(stream)

    def _receive_new(self, number: int, now: float, events: list[Event]) -> None:
        if not self._opens.take(now):
            raise _violation(f"more than {self._config.opens_per_second} streams opened in a second")
        stream = StreamState(number, ours=False)
        if stream.key in self._streams:
            raise _violation(f"stream {number} is open already")
        self._streams[stream.key] = stream
        self._inbound += 1
        if self._inbound > self._config.max_inbound_streams or self._going_away:
            self.reset(stream.key)
        else:
            events.append(StreamOpened(stream.key))

    def _receive_message(self, stream: StreamState, length: int, now: float, events: list[Event]) -> None:
        if not length or stream.receive is Half.DONE:
            self._count_idle(now)
        elif stream.receive is Half.IGNORED:
            # What was under way is dropped, up to a limit.
            stream.buffered += length
            if stream.buffered > self._config.max_stream_buffer:
                events += self._overrun(stream)
        elif self._buffered + length > self._config.max_buffered:
            events += self._overrun(stream)
        else:
            self._body = stream

    def _receive_body(self, stream: StreamState, piece: bytes, now: float, events: list[Event]) -> None:
        # A local reset or close may have come between two pieces of one message.
        if self._streams.get(stream.key) is not stream or stream.receive is not Half.OPEN:
            return
        stream.buffered += len(piece)
        self._buffered += len(piece)
        if stream.buffered >= self._config.max_stream_buffer:
            self._stalled.setdefault(stream.key, now + self._config.stall_timeout)
        events.append(DataReceived(stream.key, piece))

    def _receive_close(self, stream: StreamState, now: float, events: list[Event]) -> None:
        if stream.receive is Half.DONE:
            self._count_idle(now)
            return
        if stream.receive is Half.OPEN:
            events.append(StreamFinished(stream.key))
        stream.receive = Half.DONE
        events += self._forget_if_done(stream)

    # ---- helpers

    def _frame(self, flag: int, stream: StreamState, length: int = 0) -> None:
        header = encode_header(stream.number, flag + stream.ours, length)
        if stream.new_due:
            stream.new_due = False
            header = encode_header(stream.number, NEW_STREAM, 0) + header
        self._out.append(header)

    def _count_idle(self, now: float) -> None:
        if not self._idle_frames.take(now):
            raise _violation(f"more than {self._config.idle_frames_per_second} frames without content in a second")

    def _overrun(self, stream: StreamState) -> list[Event]:
        lost = StreamWasReset(stream.key, StreamCode.RESOURCE_LIMIT, remote=False)
        return [lost, *self.reset(stream.key)]

    def _forget_if_done(self, stream: StreamState) -> list[Event]:
        if stream.send is Half.DONE and stream.receive is Half.DONE:
            return self._forget(stream)
        return []

    def _forget(self, stream: StreamState) -> list[Event]:
        del self._streams[stream.key]
        self._stalled.pop(stream.key, None)
        if stream.ours:
            self._outbound -= 1
        else:
            self._inbound -= 1
        if stream.receive is not Half.IGNORED:
            self._buffered -= stream.buffered
        return [StreamClosed(stream.key)]


def _violation(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"mplex: {message}")
