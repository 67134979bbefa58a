"""What the cores of muxers share: the halves of a stream, and the rates of a peer."""

from __future__ import annotations

from enum import Enum


class Half(Enum):
    """One direction of a stream."""

    OPEN = "open"
    IGNORED = "ignored"
    """Receiving only: closed by us, the peer has not ended it yet; data is dropped, up to a limit."""
    DONE = "done"


class TokenBucket:
    """A rate, with bursts of one second's worth; of two when the bucket was refilled in the middle of one."""

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
