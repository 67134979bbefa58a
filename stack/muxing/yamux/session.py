"""Our half of a yamux session as a machine without I/O: streams, credit, commands and deadlines."""

from __future__ import annotations

from collections import deque
from enum import Enum

from ...abc import Buffer
from ...codes import StreamCode
from ...errors import ConnectionLost, LocalProtocolError
from ...limits import WindowBudget
from ..events import Event, StreamClosed
from ..state import Half
from .config import Config
from .liveness import Liveness
from .state import StreamState
from .wire import (
    DATA,
    FIN,
    GO_AWAY,
    INITIAL_WINDOW,
    MAX_STREAM_ID,
    RST,
    SYN,
    WINDOW_UPDATE,
    GoAwayCode,
    encode_header,
)

MAX_DATA_FRAME = INITIAL_WINDOW
"""Ours: larger sends are split, so that streams take turns; no peer may refuse a frame of its own first window."""


class Session(Enum):
    """The session as a whole."""

    ACTIVE = "active"
    LEAVING = "leaving"
    """We said goodbye; nothing new begins."""
    ENDED = "ended"
    """The peer said goodbye, or broke the protocol: input is ignored."""


class YamuxSession:
    """The streams of one side, and what it says of them; `YamuxCore` adds what the peer says."""

    saturated = False
    """Windows hold each sender up by itself."""

    def __init__(self, *, client: bool, config: Config, budget: WindowBudget, now: float) -> None:
        self._config = config
        self._budget = budget
        """Memory for windows beyond their initial size; shared with the host's other connections."""
        self._session = Session.ACTIVE
        self._client = client
        self._next_id = 1 if client else 2
        self._streams: dict[int, StreamState] = {}
        self._inbound = self._outbound = self._unacknowledged = 0
        self._heard_stream = False
        self._buffered = 0
        # Bytes the peer may honestly still have under way for streams that are gone, plus one window of slack.
        self._discardable = INITIAL_WINDOW
        self._out: list[Buffer] = []
        # Round trips and keepalive.
        self._liveness = Liveness(config, now)
        self._lingering: deque[tuple[float, int]] = deque()

    # ---- what there is

    @property
    def rtt(self) -> float | None:
        """The latest round-trip time in seconds."""
        return self._liveness.rtt

    @property
    def leaving(self) -> bool:
        """Whether either side has said goodbye."""
        return self._session is not Session.ACTIVE

    @property
    def stream_count(self) -> int:
        """Streams in either direction that are not done."""
        return len(self._streams)

    @property
    def buffered(self) -> int:
        """Bytes received that the application has not consumed."""
        return self._buffered

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` may be called now; if not, wait for `StreamAcknowledged` or `StreamClosed`."""
        early = not self._heard_stream and self._outbound >= self._config.early_streams
        full = self._outbound >= self._config.max_outbound_streams
        return not early and not full and self._unacknowledged < self._config.ack_backlog

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` would return anything."""
        return bool(self._out)

    def send_credit(self, stream_id: int) -> int:
        """Return how many bytes the stream may send now; 0 for a stream that is gone."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.send_credit

    def data_to_send(self) -> list[Buffer]:
        """Return the buffers to be sent, as one run of bytes, and forget them."""
        out, self._out = self._out, []
        return out

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
        """Begin a stream and return its id; the peer learns of it with the first frame."""
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
        """Frame the first part of `data` and return its size; 0 when the window is empty."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.send is not Half.OPEN:
            raise LocalProtocolError(f"stream {stream_id} is closed for sending")
        size = min(len(data), stream.send_credit, MAX_DATA_FRAME)
        if size:
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
        """End our half and stop listening; the peer has a while to end its half."""
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
        """Count what came for a stream that we closed, and let the peer go on.

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
        if not stream.flags_due & SYN:  # the peer has heard of it
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

    def hold(self, size: int) -> None:
        """Go on counting bytes of a stream that is gone; see `MuxerCore.hold`."""
        self._buffered += size

    def go_away(self, code: GoAwayCode) -> None:
        """Say goodbye, once."""
        if self._session is Session.ACTIVE:
            self._session = Session.LEAVING
            self._out.append(encode_header(GO_AWAY, 0, 0, code))

    def leave(self) -> None:
        """Say goodbye, for no particular reason."""
        self.go_away(GoAwayCode.NORMAL)

    def blame(self, code: int | None) -> None:
        """Say goodbye to a peer that broke the protocol."""
        self.go_away(GoAwayCode(code or GoAwayCode.PROTOCOL_ERROR))

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
        events: list[Event] = []
        self._send(self._liveness.handle_deadline(now))
        while self._lingering and self._lingering[0][0] <= now:
            stream = self._streams.get(self._lingering.popleft()[1])
            if stream is not None and stream.receive is Half.IGNORED:
                events += self.reset(stream.stream_id, StreamCode.GARBAGE_COLLECTED)
        return events

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
