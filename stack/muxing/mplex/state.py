"""What the mplex core knows of one stream."""

from __future__ import annotations

from ..state import Half


class StreamState:
    """One stream: who opened it, its halves, and what the application has not read yet."""

    __slots__ = ("buffered", "key", "new_due", "number", "ours", "receive", "send")

    def __init__(self, number: int, *, ours: bool) -> None:
        self.number = number
        self.ours = ours
        self.key = key_of(number, ours=ours)
        self.new_due = ours
        """Whether the peer has not heard of it yet; it does with the first message."""
        self.send = Half.OPEN
        self.receive = Half.OPEN
        self.buffered = 0
        """Bytes given out that the application has not consumed; once it closed the stream, those dropped."""


def key_of(number: int, *, ours: bool) -> int:
    """Return one number for a stream of either side; never 0, which is nobody's."""
    return (number << 1 | ours) + 2
