"""Receive windows that follow what the application reads, and grow when the peer would otherwise wait for them."""

from __future__ import annotations

from peerstack.stack.limits import WindowBudget

GROWTH_ROUND_TRIPS = 4
"""Updates closer together than this mean that the window, not the network, holds up the peer (quic-go, go-yamux)."""


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
        self._streams: dict[int, Window] = {}

    def stream(self, stream_id: int, now: float) -> Window:
        """Return the window of a stream, a new one if need be."""
        window = self._streams.get(stream_id)
        if window is None:
            window = self._streams[stream_id] = Window(self._stream_sizes[0], now)
        return window

    def find(self, stream_id: int) -> Window | None:
        """Return the window of a stream that is still being received."""
        return self._streams.get(stream_id)

    def forget(self, stream_id: int) -> None:
        """Nothing more will be received on the stream."""
        self._streams.pop(stream_id, None)

    def grow_stream(self, window: Window, now: float, rtt: float | None) -> None:
        """Double a stream's window if it is cramped and the connection can make room for it."""
        wanted = min(2 * window.size, self._stream_sizes[1])
        # Two thirds, so that one stream that nobody reads cannot stop the others.
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
