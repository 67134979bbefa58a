"""What every muxer's core has in common: its events, its commands, and the accounts it keeps.

A core is one side of a session as a machine without I/O: bytes and commands in, events and bytes out, one deadline.
The driver sends what `data_to_send` returns after every call. Times are seconds of trio's clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeAlias, TypeVar

from ..abc import Buffer
from ..codes import StreamCode
from ..errors import RemoteProtocolError

# ---- events. Stream ids here are the core's own names for streams, never 0.


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes for a stream; tell the core with `consumed` when the application has taken them."""

    stream_id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The peer will send no more on the stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamWasReset:
    """The stream is gone, by the peer or by a limit of ours (`remote` tells).

    What the peer sent before its own reset may still be read; after a limit of ours nothing may.
    """

    stream_id: int
    code: int
    remote: bool


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """The stream's send window was empty and now has room."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamAcknowledged:
    """The peer accepted a stream of ours; another may be opened (yamux only)."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """Both halves of the stream are done; the core has forgotten it."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer ends the session (yamux only)."""

    code: int


Event: TypeAlias = (
    StreamOpened
    | DataReceived
    | StreamFinished
    | StreamWasReset
    | WindowOpened
    | StreamAcknowledged
    | StreamClosed
    | GoAwayReceived
)


# ---- state


class Half(Enum):
    """One direction of a stream."""

    OPEN = "open"
    IGNORED = "ignored"
    """Receiving only: this side has closed the stream and the peer has not; data is dropped, up to a limit."""
    DONE = "done"


class TokenBucket:
    """A rate, with bursts of one second's worth; of up to two if the bucket is refilled during a burst."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = self._tokens = rate
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token; False when there is none."""
        if self._tokens < 1:
            self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens < 1:
                return False
        self._tokens -= 1
        return True


class StreamState(Protocol):
    """What every core knows of a stream."""

    @property
    def send(self) -> Half:
        """Our direction."""
        ...

    @property
    def receive(self) -> Half:
        """The peer's direction."""
        ...


StateT = TypeVar("StateT", bound=StreamState)


class MuxerCore(ABC, Generic[StateT]):
    """One side of a session; `StateT` is what it knows of each stream."""

    def __init__(self, *, opens_per_second: int, idle_frames_per_second: int, now: float) -> None:
        self._streams: dict[int, StateT] = {}
        self._inbound = self._outbound = 0
        self._buffered = 0
        self._out: list[Buffer] = []
        self._lingering: deque[tuple[float, int]] = deque()
        """Streams that this side closed and the peer has not, and when they are reset."""
        self._opens = TokenBucket(opens_per_second, now)
        self._idle_frames = TokenBucket(idle_frames_per_second, now)

    @property
    @abstractmethod
    def rtt(self) -> float | None:
        """The latest round-trip time in seconds, if it is known."""

    @property
    @abstractmethod
    def going_away(self) -> bool:
        """Whether either side has begun to close the session."""

    @property
    def stream_count(self) -> int:
        """Streams in either direction that are not done."""
        return len(self._streams)

    @property
    def buffered(self) -> int:
        """Bytes received that the application has not consumed."""
        return self._buffered

    @property
    @abstractmethod
    def saturated(self) -> bool:
        """Whether nothing more should be read until the application has consumed some; never with flow control."""

    @property
    @abstractmethod
    def can_open(self) -> bool:
        """Whether `open_stream` may be called now; if not, wait for `StreamAcknowledged` or `StreamClosed`."""

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` would return anything."""
        return bool(self._out)

    @abstractmethod
    def send_credit(self, stream_id: int) -> int:
        """Return how many bytes the stream may send now; 0 for a stream that is gone."""

    def data_to_send(self) -> list[Buffer]:
        """Return the buffers to be sent, as one run of bytes, and forget them."""
        out, self._out = self._out, []
        return out

    # ---- commands

    @abstractmethod
    def open_stream(self, now: float) -> int:
        """Open a stream and return its id; the peer learns of it with the first frame.

        Raises LocalProtocolError unless `can_open`, ConnectionLost when all ids are used up.
        """

    @abstractmethod
    def send_data(self, stream_id: int, data: memoryview, now: float) -> int:
        """Frame the first part of `data` and return its size; 0 when the stream may not send now.

        Raises LocalProtocolError for a stream that is closed for sending.
        """

    @abstractmethod
    def send_eof(self, stream_id: int) -> list[Event]:
        """End our direction of the stream."""

    @abstractmethod
    def close(self, stream_id: int, now: float) -> list[Event]:
        """End our direction and stop listening; the peer has a while to end its own."""

    @abstractmethod
    def reset(self, stream_id: int, code: int = StreamCode.NONE) -> list[Event]:
        """Abort the stream; nothing happens if it is gone already."""

    @abstractmethod
    def consumed(self, stream_id: int, size: int, now: float) -> None:
        """Note that the application took `size` received bytes."""

    def hold(self, size: int) -> None:
        """Count `size` more bytes of streams that are gone and may still be read; negative once they were read."""
        self._buffered += size

    @abstractmethod
    def go_away(self, failure: RemoteProtocolError | None = None) -> None:
        """Open nothing new, and tell the peer so if the protocol can; `failure` is what the peer did wrong."""

    @abstractmethod
    def release(self) -> None:
        """Give back what all streams have reserved; the session is over."""

    # ---- time

    @abstractmethod
    def next_deadline(self) -> float:
        """Return when `handle_deadline` should be called next."""

    @abstractmethod
    def handle_deadline(self, now: float) -> list[Event]:
        """Run what is due at `now`. Raises ConnectionLost when the peer is silent for too long."""

    def _reset_lingering(self, now: float, code: int) -> list[Event]:
        """Reset the streams that the peer was given until now to end."""
        events: list[Event] = []
        while self._lingering and self._lingering[0][0] <= now:
            stream_id = self._lingering.popleft()[1]
            stream = self._streams.get(stream_id)
            if stream is not None and stream.receive is Half.IGNORED:
                events += self.reset(stream_id, code)
        return events

    # ---- input

    @abstractmethod
    def receive_data(self, data: bytes, now: float, events: list[Event] | None = None) -> list[Event]:
        """Take bytes from the peer and return what they mean, in `events` if that is given.

        Raises RemoteProtocolError; `events` then holds what came before.
        """
