"""The yamux session as a machine without I/O: bytes and commands in, events and bytes out, and one deadline.

The driver feeds `receive_data`, and after every call sends what `data_to_send` returns. Time is an argument.
"""

from __future__ import annotations

from enum import Enum

from ...codes import StreamCode
from ...errors import ConnectionLost, LocalProtocolError, RemoteProtocolError
from ...limits import WindowBudget
from ..core import (
    DataReceived,
    Event,
    GoAwayReceived,
    Half,
    MuxerCore,
    StreamAcknowledged,
    StreamClosed,
    StreamFinished,
    StreamOpened,
    StreamWasReset,
    WindowOpened,
)
from .config import Config
from .liveness import Liveness
from .wire import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER_SIZE,
    INITIAL_WINDOW,
    MAX_CREDIT,
    MAX_STREAM_ID,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    GoAwayCode,
    decode_header,
    encode_header,
)

SMALLEST_DISCARD = 1024
"""Bytes that a frame for a stream that this side closed counts as, at least: small frames are work, too."""
MAX_DATA_FRAME = INITIAL_WINDOW
"""Ours: larger sends are split, so that streams take turns; no peer may refuse a frame of its own first window."""


class Session(Enum):
    """The session as a whole."""

    ACTIVE = "active"
    GOING_AWAY = "going away"
    """This side has sent GO_AWAY; nothing new is opened."""
    ENDED = "ended"
    """The peer has sent GO_AWAY, or broke the protocol: input is ignored."""


class StreamState:
    """One stream: its halves, the credit in both directions, and what the application has not read yet."""

    __slots__ = (
        "acknowledged",
        "buffered",
        "consumed",
        "discarded",
        "flags_due",
        "last_update",
        "receive",
        "receive_credit",
        "send",
        "send_credit",
        "stream_id",
        "window",
    )

    def __init__(self, stream_id: int, *, outbound: bool, now: float) -> None:
        self.stream_id = stream_id
        self.flags_due = SYN if outbound else ACK
        """Flag that rides on the next frame we send."""
        self.acknowledged = not outbound
        self.send = Half.OPEN
        self.receive = Half.OPEN
        self.send_credit = INITIAL_WINDOW
        self.receive_credit = INITIAL_WINDOW
        """Bytes the peer may still send."""
        self.window = INITIAL_WINDOW
        """What the credit is filled up to."""
        self.buffered = 0
        """Bytes handed to the driver that the application has not consumed."""
        self.consumed = 0
        """Bytes the application consumed since our last window update."""
        self.discarded = 0
        """Bytes that came, and were dropped, since the application closed the stream."""
        self.last_update = now

    def credit_due(self) -> bool:
        """Return whether the application has read half of the window since the last update."""
        return self.receive is Half.OPEN and self.consumed * 2 >= self.window

    def growth_wanted(self, now: float, rtt: float | None, limit: int) -> int:
        """Return by how much the window should grow: it doubles when an update comes within four round trips.

        Updates that close together mean that the peer is held up by the window, not by the network (go-yamux).
        """
        if rtt is None or now - self.last_update >= 4 * rtt:
            return 0
        return min(self.window, limit - self.window)


class YamuxCore(MuxerCore[StreamState]):
    """One side of a yamux session."""

    saturated = False
    """Windows stop each sender by itself."""

    def __init__(self, *, client: bool, config: Config, budget: WindowBudget, now: float) -> None:
        super().__init__(
            opens_per_second=config.opens_per_second, idle_frames_per_second=config.idle_frames_per_second, now=now
        )
        self._config = config
        self._budget = budget
        """Memory for windows beyond their initial size; shared with the host's other connections."""
        self._session = Session.ACTIVE
        self._client = client
        self._next_id = 1 if client else 2
        self._unacknowledged = 0
        self._heard_stream = False
        # Bytes the peer may honestly still have under way for streams that are gone, plus one window of slack.
        self._discardable = INITIAL_WINDOW
        self._liveness = Liveness(config, now)
        # Parser: the beginning of a header, or the stream and bytes left of a body (no stream: discard them).
        self._header = b""
        self._body: StreamState | None = None
        self._body_left = 0
        self._body_flags = 0
        """FIN and RST of a frame with a body: they count behind it."""

    # ---- what there is

    @property
    def rtt(self) -> float | None:
        """The latest round-trip time in seconds."""
        return self._liveness.rtt

    @property
    def going_away(self) -> bool:
        """Whether either side has sent GO_AWAY."""
        return self._session is not Session.ACTIVE

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` may be called now; if not, wait for `StreamAcknowledged` or `StreamClosed`."""
        early = not self._heard_stream and self._outbound >= self._config.early_streams
        full = self._outbound >= self._config.max_outbound_streams
        return not early and not full and self._unacknowledged < self._config.ack_backlog

    def send_credit(self, stream_id: int) -> int:
        """Return how many bytes the stream may send now; 0 for a stream that is gone."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.send_credit

    @property
    def answered_pings(self) -> int:
        """The newest ping, of those that `ask` names, that the peer has answered."""
        return self._liveness.answered_pings

    # ---- commands

    def ask(self, now: float) -> int:
        """Ask for an answer, and return the number that `answered_pings` has from then on.

        Frames are read in order: by then the peer has read all that was sent before.
        """
        number, frame = self._liveness.ask(now)
        self._send(frame)
        return number

    def open_stream(self, now: float) -> int:
        """Open a stream and return its id; the peer learns of it with the first frame.

        Raises LocalProtocolError unless `can_open`, ConnectionLost when all ids are used up.
        """
        if self._session is not Session.ACTIVE:
            raise LocalProtocolError("the session is closing")
        if not self.can_open:
            raise LocalProtocolError("no more streams may be opened now")
        stream_id = self._next_id
        if stream_id > MAX_STREAM_ID:
            raise ConnectionLost("all stream ids of this connection are used up")
        self._next_id += 2
        self._streams[stream_id] = StreamState(stream_id, outbound=True, now=now)
        self._outbound += 1
        self._unacknowledged += 1
        return stream_id

    def send_data(self, stream_id: int, data: memoryview, now: float) -> int:
        """Frame the first part of `data` and return its size; 0 when the window is empty.

        Raises LocalProtocolError for a stream that is closed for sending.
        """
        stream = self._streams.get(stream_id)
        if stream is None or stream.send is not Half.OPEN:
            raise LocalProtocolError(f"stream {stream_id} is closed for sending")
        size = min(len(data), stream.send_credit, MAX_DATA_FRAME)
        if size:
            if self._liveness.rtt is None:
                self._send(self._liveness.measure_once(now))
            stream.send_credit -= size
            self._frame(DATA, stream, size)
            self._out.append(data if size == len(data) else data[:size])
        return size

    def send_eof(self, stream_id: int) -> list[Event]:
        """End our half of the stream."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.send is not Half.OPEN:
            return []
        stream.send = Half.DONE
        self._frame(DATA, stream, 0, FIN)
        return self._forget_if_done(stream)

    def close(self, stream_id: int, now: float) -> list[Event]:
        """End our half and stop receiving; the peer has a while to end its half."""
        events = self.send_eof(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None and stream.receive is Half.OPEN:
            stream.receive = Half.IGNORED
            self._lingering.append((now + self._config.close_timeout, stream_id))
            self._buffered -= stream.buffered  # the application drops it
            stream.consumed += stream.buffered
            stream.buffered = 0
            self._discarded(stream, 0)
        return events

    def _discarded(self, stream: StreamState, size: int) -> None:
        """Count what came for a stream that this side closed, and grant the peer more credit.

        A reset could cost the peer our answer, which it may not have read yet, and without credit a peer that sends
        all of its question first would never come to read it.
        """
        stream.discarded += size
        stream.consumed += size
        if stream.consumed * 2 >= stream.window:
            self._grant(stream, 0)

    def reset(self, stream_id: int, code: int = StreamCode.NONE) -> list[Event]:
        """Abort the stream; nothing happens if it is gone already."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return []
        if not stream.flags_due & SYN:  # the peer knows of it
            stream.flags_due = 0
            self._frame(WINDOW_UPDATE, stream, code, RST)
        return self._forget(stream)

    def consumed(self, stream_id: int, size: int, now: float) -> None:
        """Note that the application took `size` received bytes; grants the peer new credit when it is due."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.buffered -= size
        self._buffered -= size
        stream.consumed += size
        if stream.credit_due():
            self._send(self._liveness.measure_once(now))
            growth = stream.growth_wanted(now, self.rtt, self._config.max_window)
            if growth > 0 and self._budget.reserve(growth):
                stream.window += growth
            else:
                growth = 0
            stream.last_update = now
            self._grant(stream, growth)

    def _grant(self, stream: StreamState, growth: int) -> None:
        """Grant credit for what was consumed, and for a window that grew."""
        credit = stream.consumed + growth
        stream.consumed = 0
        stream.receive_credit += credit
        self._frame(WINDOW_UPDATE, stream, credit)

    def go_away(self, failure: RemoteProtocolError | None = None) -> None:
        """Send GO_AWAY, once, with the code of what the peer did wrong if it did."""
        if self._session is not Session.ACTIVE:
            return
        self._session = Session.GOING_AWAY
        code = GoAwayCode.NORMAL if failure is None else GoAwayCode(failure.code or GoAwayCode.PROTOCOL_ERROR)
        self._out.append(encode_header(GO_AWAY, 0, 0, code))

    def release(self) -> None:
        """Give back what all streams have reserved; the session is over."""
        self._session = Session.ENDED
        for stream in list(self._streams.values()):
            self._forget(stream)

    # ---- time

    def next_deadline(self) -> float:
        """Return when `handle_deadline` should be called next."""
        deadline = self._liveness.next_deadline()
        if self._lingering:
            deadline = min(deadline, self._lingering[0][0])
        return deadline

    def handle_deadline(self, now: float) -> list[Event]:
        """Run what is due at `now`. Raises ConnectionLost when the peer is silent for too long."""
        self._send(self._liveness.handle_deadline(now))
        return self._reset_lingering(now, StreamCode.GARBAGE_COLLECTED)

    # ---- input

    def receive_data(self, data: bytes, now: float, events: list[Event] | None = None) -> list[Event]:
        """Take bytes from the peer and return what they mean; see `MuxerCore.receive_data`."""
        events = [] if events is None else events
        self._liveness.received(now)
        position, end = 0, len(data)
        while position < end and self._session is not Session.ENDED:
            if self._body_left:
                size = min(self._body_left, end - position)
                # A whole piece is handed on as it is; only a piece that shares its bytes with others is copied.
                piece = data if size == end else data[position : position + size]
                self._receive_body(piece, size, events)
                position += size
                continue
            if self._header or end - position < HEADER_SIZE:
                missing = HEADER_SIZE - len(self._header)
                self._header += data[position : position + missing]
                position += missing
                if len(self._header) == HEADER_SIZE:
                    header, self._header = self._header, b""
                    self._receive_header(header, 0, now, events)
                continue
            self._receive_header(data, position, now, events)
            position += HEADER_SIZE
        return events

    def _receive_header(self, data: bytes, offset: int, now: float, events: list[Event]) -> None:
        kind, flags, stream_id, length = decode_header(data, offset)
        if kind == DATA:
            self._receive_data(flags, stream_id, length, now, events)
        elif kind == WINDOW_UPDATE:
            self._receive_window_update(flags, stream_id, length, now, events)
        elif stream_id != 0:
            raise _violation(f"frame of type {kind} for stream {stream_id}, not for the session")
        elif kind == PING:
            self._receive_ping(flags, length, now)
        else:
            self._session = Session.ENDED
            events.append(GoAwayReceived(length))

    def _receive_body(self, piece: bytes, size: int, events: list[Event]) -> None:
        self._body_left -= size
        stream = self._body
        if stream is None:
            return
        # A local reset may have come between two pieces of one frame.
        if self._streams.get(stream.stream_id) is stream:
            if stream.receive is Half.OPEN:
                stream.buffered += size
                self._buffered += size
                events.append(DataReceived(stream.stream_id, piece))
            else:
                self._discarded(stream, size)
        if not self._body_left:
            self._body = None
            if self._body_flags & FIN:
                self._receive_fin(stream, events)
            if self._body_flags & RST:
                self._receive_reset(stream, StreamCode.NONE, events)

    def _receive_data(self, flags: int, stream_id: int, length: int, now: float, events: list[Event]) -> None:
        if flags & SYN and length > INITIAL_WINDOW:
            # Checked before the stream exists (CVE-2026-32314).
            raise _violation(f"first frame of stream {stream_id} has {length} bytes, over its window")
        # A reset without a body is handled here; a body comes before its flags.
        stream = self._receive_flags(flags & ~RST if length else flags, stream_id, now, events)
        self._body_left = length
        self._body = None
        if stream is None:
            self._discard(length)
            self._count_idle(now)
            return
        if length > stream.receive_credit:
            raise _violation(f"{length} bytes for stream {stream_id}, whose window is {stream.receive_credit}")
        stream.receive_credit -= length
        if length == 0:
            if flags & FIN and stream.receive is not Half.DONE:
                self._receive_fin(stream, events)
            elif not flags & SYN:
                self._count_idle(now)
            return
        code = self._refused(stream, length)
        if code is not None:
            events.append(StreamWasReset(stream_id, code, remote=False))
            events += self.reset(stream_id, code)
        else:
            self._body = stream
            self._body_flags = flags

    def _refused(self, stream: StreamState, length: int) -> StreamCode | None:
        """Return why a body is not taken: the stream is reset for it."""
        if stream.receive is Half.IGNORED:
            if stream.discarded + length > self._config.max_discarded:
                return StreamCode.NONE
            stream.discarded += max(0, SMALLEST_DISCARD - length)
            return None
        if stream.receive is Half.DONE:
            return StreamCode.NONE  # the peer has sent its end
        return StreamCode.RESOURCE_LIMIT if self._buffered + length > self._config.max_buffered else None

    def _receive_window_update(self, flags: int, stream_id: int, length: int, now: float, events: list[Event]) -> None:
        stream = self._receive_flags(flags, stream_id, now, events, code=length)
        if stream is None:
            self._count_idle(now)
            return
        if not length and not flags & SYN and (not flags & FIN or stream.receive is Half.DONE):
            self._count_idle(now)
        if stream.send_credit + length > MAX_CREDIT:
            raise _violation(f"window of stream {stream_id} grows beyond {MAX_CREDIT}")
        if length and not stream.send_credit:
            events.append(WindowOpened(stream_id))
        stream.send_credit += length
        if flags & FIN:
            self._receive_fin(stream, events)

    def _receive_flags(
        self, flags: int, stream_id: int, now: float, events: list[Event], *, code: int = 0
    ) -> StreamState | None:
        """Handle SYN, ACK and RST; return the stream if it is alive afterwards."""
        if flags & SYN:
            self._receive_syn(stream_id, now, events)
        stream = self._streams.get(stream_id)
        if stream is None:
            return None
        self._heard_stream = True
        if flags & ACK and not stream.acknowledged:
            stream.acknowledged = True
            self._unacknowledged -= 1
            events.append(StreamAcknowledged(stream_id))
        if flags & RST:
            if flags & FIN:
                self._receive_fin(stream, events)
            self._receive_reset(stream, code, events)
            return None
        return stream

    def _receive_reset(self, stream: StreamState, code: int, events: list[Event]) -> None:
        if self._streams.get(stream.stream_id) is stream:
            events.append(StreamWasReset(stream.stream_id, code, remote=True))
            events += self._forget(stream)

    def _receive_syn(self, stream_id: int, now: float, events: list[Event]) -> None:
        if stream_id == 0 or (stream_id % 2 == 1) is self._client:
            raise _violation(f"stream {stream_id} is not the peer's to open")
        if stream_id in self._streams:
            raise _violation(f"stream {stream_id} is open already")
        if not self._opens.take(now):
            raise _violation(f"more than {self._config.opens_per_second} streams opened in a second")
        stream = StreamState(stream_id, outbound=False, now=now)
        self._streams[stream_id] = stream
        self._inbound += 1
        if self._inbound > self._config.max_inbound_streams or self._session is not Session.ACTIVE:
            self.reset(stream_id, StreamCode.RESOURCE_LIMIT)
        else:
            events.append(StreamOpened(stream_id))

    def _receive_fin(self, stream: StreamState, events: list[Event]) -> None:
        if self._streams.get(stream.stream_id) is not stream or stream.receive is Half.DONE:
            return
        if stream.receive is Half.OPEN:
            events.append(StreamFinished(stream.stream_id))
        stream.receive = Half.DONE
        events += self._forget_if_done(stream)

    def _receive_ping(self, flags: int, value: int, now: float) -> None:
        self._count_idle(now)
        if flags & SYN:
            self._out.append(encode_header(PING, ACK, 0, value))
        elif flags & ACK:
            self._send(self._liveness.answered(value, now))

    # ---- limits on what costs the peer nothing

    def _count_idle(self, now: float) -> None:
        if not self._idle_frames.take(now):
            raise _violation(f"more than {self._config.idle_frames_per_second} frames without content in a second")

    def _discard(self, size: int) -> None:
        self._discardable -= size
        if self._discardable < 0:
            raise _violation("more data for streams that do not exist than any window allowed")

    # ---- helpers

    def _frame(self, kind: int, stream: StreamState, length: int, flags: int = 0) -> None:
        flags |= stream.flags_due
        stream.flags_due = 0
        self._out.append(encode_header(kind, flags, stream.stream_id, length))

    def _send(self, frame: bytes | None) -> None:
        if frame is not None:
            self._out.append(frame)

    def _forget_if_done(self, stream: StreamState) -> list[Event]:
        if stream.send is Half.DONE and stream.receive is Half.DONE:
            return self._forget(stream)
        return []

    def _forget(self, stream: StreamState) -> list[Event]:
        del self._streams[stream.stream_id]
        if (stream.stream_id % 2 == 1) is self._client:
            self._outbound -= 1
        else:
            self._inbound -= 1
        if not stream.acknowledged:
            self._unacknowledged -= 1
        if stream.receive is not Half.DONE:
            self._discardable += stream.receive_credit
        self._buffered -= stream.buffered
        self._budget.release(stream.window - INITIAL_WINDOW)
        return [StreamClosed(stream.stream_id)]


def _violation(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"yamux: {message}", code=GoAwayCode.PROTOCOL_ERROR)
