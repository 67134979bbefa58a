"""Counters that decay with time, and what is kept of peers that are gone."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")

_SLACK = 1e-6  # intervals; a tick that comes a rounding error early is on time


def decay_factor(duration: float, interval: float = 1.0, to_zero: float = 0.1) -> float:
    """Return what a counter must be multiplied with each `interval` to go from 1 to `to_zero` in `duration` seconds.

    ValueError where the three make no factor between 0 and 1 (gossipsub v1.1, "Parameter Decay").
    """
    if not (math.isfinite(duration) and math.isfinite(interval) and 0 < interval <= duration):
        raise ValueError(f"a counter cannot fade in {duration} s by steps of {interval} s")
    if not 0 < to_zero < 1:
        raise ValueError(f"to_zero must be between 0 and 1, not {to_zero}")
    return float(to_zero ** (interval / duration))


def faded(counter: float, factor: float, steps: int, to_zero: float) -> float:
    """Return `counter` after `steps` decays by `factor`: 0 where that is less than `to_zero`."""
    counter *= factor if steps == 1 else factor**steps
    return counter if counter >= to_zero else 0.0


class DecayClock:
    """Says how many decay steps have fallen due, however irregularly it is asked."""

    __slots__ = ("_interval", "_last")

    def __init__(self, interval: float, now: float) -> None:
        self._interval = interval
        self._last = now

    def due(self, now: float) -> int:
        """Return how many steps to take now, and count them as taken."""
        steps = int((now - self._last) / self._interval + _SLACK)
        if steps <= 0:
            return 0
        self._last += steps * self._interval
        return steps


class Retained(Generic[KeyT, ValueT]):
    """Values kept for a fixed time: no peer gets rid of its score by reconnecting. Bounded; the oldest go first."""

    def __init__(self, seconds: float, capacity: int) -> None:
        self._seconds = seconds
        self._capacity = capacity
        self._items: dict[KeyT, tuple[float, ValueT]] = {}  # by when they expire

    def keep(self, key: KeyT, value: ValueT, now: float) -> None:
        """Keep the value of a key that is not in here."""
        if not self._capacity:
            return
        if len(self._items) >= self._capacity:
            del self._items[next(iter(self._items))]
        self._items[key] = now + self._seconds, value

    def take(self, key: KeyT, now: float) -> ValueT | None:
        """Return the value of a key, which is no longer kept; None if there is none, or it has expired."""
        expires, value = self._items.pop(key, (now, None))
        return value if now < expires else None

    def get(self, key: KeyT) -> ValueT | None:
        """Return the value of a key; None if there is none."""
        item = self._items.get(key)
        return None if item is None else item[1]

    def expire(self, now: float) -> None:
        """Forget what has expired."""
        while self._items:
            key = next(iter(self._items))
            if self._items[key][0] > now:
                return
            del self._items[key]

    def __iter__(self) -> Iterator[ValueT]:
        for _, value in self._items.values():
            yield value

    def __len__(self) -> int:
        return len(self._items)
