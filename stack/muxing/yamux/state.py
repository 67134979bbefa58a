"""What the yamux core knows of one stream, and the flow control of its receiving half."""

from __future__ import annotations

from ..state import Half
from .wire import ACK, INITIAL_WINDOW, SYN


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
        """Say whether the application has read half of the window since the last update."""
        return self.receive is Half.OPEN and self.consumed * 2 >= self.window

    def growth_wanted(self, now: float, rtt: float | None, limit: int) -> int:
        """Return by how much the window should grow: it doubles when an update comes within four round trips.

        Updates that close together mean that the peer is held up by the window, not by the network (go-yamux).
        """
        if rtt is None or now - self.last_update >= 4 * rtt:
            return 0
        return min(self.window, limit - self.window)
