"""The yamux session as a machine without I/O: bytes and commands in, events and bytes out, and one deadline.

The driver feeds `receive_data`, and after every call sends what `data_to_send` returns. Time is an argument.
"""

from __future__ import annotations

from ...codes import StreamCode
from ...errors import RemoteProtocolError
from ...limits import WindowBudget
from ..events import (
    DataReceived,
    Event,
    GoAwayReceived,
    StreamAcknowledged,
    StreamFinished,
    StreamOpened,
    StreamWasReset,
    WindowOpened,
)
from ..state import Half, TokenBucket
from .config import Config
from .session import Session, YamuxSession
from .state import StreamState
from .wire import (
    ACK,
    DATA,
    FIN,
    HEADER_SIZE,
    INITIAL_WINDOW,
    MAX_CREDIT,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    GoAwayCode,
    decode_header,
    encode_header,
)


class YamuxCore(YamuxSession):
    """One side of a yamux session: what the peer says, on top of what we say."""

    def __init__(self, *, client: bool, config: Config, budget: WindowBudget, now: float) -> None:
        super().__init__(client=client, config=config, budget=budget, now=now)
        self._opens = TokenBucket(config.opens_per_second, now)
        self._idle_frames = TokenBucket(config.idle_frames_per_second, now)
        # Parser: the beginning of a header, or the stream and bytes left of a body (no stream: discard them).
        self._header = b""
        self._body: StreamState | None = None
        self._body_left = 0
        self._body_flags = 0
        """FIN and RST of a frame with a body: they count behind it."""

    def receive_data(self, data: bytes, now: float, events: list[Event] | None = None) -> list[Event]:
        """Take bytes from the peer and return what they mean; see `MuxerCore.receive_data`."""
        events = [] if events is None else events
        self._liveness.heard(now)
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
        # A reset without a body is done with here, a body before its flags.
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
        """Say why a body is not taken: the stream is reset for it."""
        if stream.receive is Half.IGNORED:
            return StreamCode.NONE if stream.discarded + length > self._config.max_discarded else None
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

    # ---- what the peer may waste

    def _count_idle(self, now: float) -> None:
        if not self._idle_frames.take(now):
            raise _violation(f"more than {self._config.idle_frames_per_second} frames without content in a second")

    def _discard(self, size: int) -> None:
        self._discardable -= size
        if self._discardable < 0:
            raise _violation("more data for streams that do not exist than any window allowed")


def _violation(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"yamux: {message}", code=GoAwayCode.PROTOCOL_ERROR)
