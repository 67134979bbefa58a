"""Token buckets, one for each key, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class RateLimiter:
    """A token bucket for each key; a key unused for as long as its bucket takes to fill is forgotten."""

    def __init__(self, rate: float, burst: int, *, capacity: int = 65536) -> None:
        self.burst = burst
        """What a key may use at once."""
        self._rate = rate
        self._capacity = capacity
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def allow(self, key: Hashable, now: float) -> bool:
        """Take a token at `now` (seconds of any clock that does not go back); say whether there was one."""
        self._forget_full(now)
        tokens, since = self._buckets.pop(key, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - since) * self._rate)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return allowed

    def __len__(self) -> int:
        return len(self._buckets)

    def _forget_full(self, now: float) -> None:
        filled = self.burst / self._rate
        while self._buckets:
            key, (_, since) = next(iter(self._buckets.items()))
            if now - since < filled:
                return
            del self._buckets[key]
