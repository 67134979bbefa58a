"""What happens when, on a clock that jumps from one event to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVarTuple

ArgsT = TypeVarTuple("ArgsT")


class Schedule:
    """A heap of calls by time; those of the same time are made in the order they were added.

    The `Timeline` of the simulated network does the same on trio's clock. A jump of that clock costs a turn of the
    event loop, and here nearly every event has a moment of its own, a million of them.
    """

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the simulation began."""
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()

    def at(self, when: float, call: Callable[[*ArgsT], None], *args: *ArgsT) -> None:
        """Call at `when`, or now if that is past."""
        heapq.heappush(self._due, (when, next(self._order), call, args))

    def run(self, until: float) -> None:
        """Make all calls due up to `until`, which is the time then."""
        due = self._due
        while due and due[0][0] <= until:
            when, _, call, args = heapq.heappop(due)
            if when > self.now:
                self.now = when
            call(*args)
        self.now = max(self.now, until)
