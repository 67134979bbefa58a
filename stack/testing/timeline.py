"""Callbacks at given times, all run by one task."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from math import inf

import trio


class Timeline:
    """A heap of callbacks by time on trio's clock; those of the same time run in the order they were added."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._sleep = trio.CancelScope()

    def at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back at `when`, seconds on trio's clock; at once if that is past."""
        heapq.heappush(self._due, (when, next(self._order), callback))
        self._sleep.deadline = min(self._sleep.deadline, when)

    async def run(self) -> None:
        """Run the callbacks, for ever."""
        while True:
            self._run_due()
            with trio.CancelScope(deadline=self._due[0][0] if self._due else inf) as self._sleep:
                await trio.sleep_forever()

    def _run_due(self) -> None:
        while self._due and self._due[0][0] <= trio.current_time():
            heapq.heappop(self._due)[2]()
