"""What arrived and was not read, and receive windows that follow the reader and grow when the peer would wait."""

from __future__ import annotations

from collections import deque

from peerstack.stack.limits import WindowBudget

from ..config import GROWTH_ROUND_TRIPS


class Window:
    """What may be received beyond what was consumed: of one stream, or of all streams of a connection together."""

    __slots__ = ("_granted", "_updated", "consumed", "size")

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self.consumed = 0
        """Bytes that take up no memory any more."""
        self._granted = size
        self._updated = now

    def take(self, size: int) -> bool:
        """Count bytes as consumed; say whether half of the window is free, which is worth an update."""
        self.consumed += size
        return 2 * (self.consumed + self.size - self._granted) >= self.size

    def grant(self, now: float) -> int:
        """Return the offset up to which the peer may send from now on."""
        self._updated = now
        self._granted = max(self._granted, self.consumed + self.size)
        return self._granted

    def cramped(self, now: float, rtt: float | None) -> bool:
        """Say whether an update now comes so soon after the last that the window should grow."""
        return rtt is not None and now - self._updated < GROWTH_ROUND_TRIPS * rtt


class ReceiveStream:
    """The receiving direction of a stream: its window, and what arrived in order and was not read."""

    __slots__ = ("_chunks", "announced", "dropped", "ended", "reset_code", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self.announced = False
        """Whether the reader was told that there is something, and has not read all of it since."""
        self.dropped = False
        """Whether what still comes is not wanted; the peer was told to stop."""
        self.ended = False
        """Whether the peer sent all there will be."""
        self.reset_code: int | None = None
        """By which the peer gave up sending."""
        self._chunks: deque[bytes | memoryview] = deque()

    @property
    def empty(self) -> bool:
        """Whether all that arrived was read."""
        return not self._chunks

    def append(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._chunks.append(data)

    def take(self, size: int) -> bytes:
        """Return up to `size` bytes, and forget them."""
        chunks, pieces = self._chunks, []
        while chunks and size > 0:
            piece = chunks.popleft()
            if len(piece) > size:
                # A view: small reads of a large piece must not copy the rest of it each time.
                chunks.appendleft(memoryview(piece)[size:])
                piece = piece[:size]
            size -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def drop(self) -> int:
        """Forget what was not read; return how many bytes that were."""
        size = sum(map(len, self._chunks))
        self._chunks.clear()
        return size


class ReceiveFlow:
    """The windows of one connection; all memory that peers can fill is counted in the connection's window."""

    def __init__(
        self, *, stream: tuple[int, int], connection: tuple[int, int], budget: WindowBudget, now: float = 0.0
    ) -> None:
        """`stream` and `connection` are the size of the window to start with, and the size it may grow to."""
        self._stream_sizes = stream
        self._largest = connection[1]
        self._budget = budget
        self.connection = Window(connection[0], now)
        self._streams: dict[int, ReceiveStream] = {}

    def add(self, stream_id: int, now: float) -> ReceiveStream:
        """Begin to receive on a stream."""
        stream = self._streams[stream_id] = ReceiveStream(Window(self._stream_sizes[0], now))
        return stream

    def find(self, stream_id: int) -> ReceiveStream | None:
        """Return a stream that is still being received, or of which not all was read."""
        return self._streams.get(stream_id)

    def forget(self, stream_id: int) -> None:
        """Nothing more will be received on the stream, nor read."""
        self._streams.pop(stream_id, None)

    def grow_stream(self, window: Window, now: float, rtt: float | None) -> None:
        """Double a stream's window if it is cramped and the connection can make room for it."""
        wanted = min(2 * window.size, self._stream_sizes[1])
        # Two thirds, so that one stream that is not read cannot stop the others.
        if window.cramped(now, rtt) and self._reach(3 * wanted // 2):
            window.size = wanted

    def grow_connection(self, now: float, rtt: float | None) -> None:
        """Double the connection's window if it is cramped and the budget allows."""
        if self.connection.cramped(now, rtt):
            self._reach(2 * self.connection.size)

    def _reach(self, size: int) -> bool:
        more = min(size, self._largest) - self.connection.size
        if more > 0:
            if not self._budget.reserve(more):
                return False
            self.connection.size += more
        return True

    def release(self) -> None:
        """Give back what the windows grew by."""
        self._budget.close()
