"""Counters that fade: the factor that a decay time amounts to, and when the next step is due."""

from __future__ import annotations

import math

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

    @property
    def next(self) -> float:
        """When the next step is due."""
        return self._last + self._interval

    def due(self, now: float) -> int:
        """Return how many steps to take now, and count them as taken."""
        steps = int((now - self._last) / self._interval + _SLACK)
        if steps <= 0:
            return 0
        self._last += steps * self._interval
        return steps
