"""How bytes travel between two nodes of a simulated network: latency, jitter, bandwidth and loss, and when."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from math import inf
from random import Random
from typing import Final

import trio

MAX_RETRANSMIT_WAIT: Final = 60.0
"""Seconds; where the doubling of the wait after each loss ends, about as in TCP."""


class OnLoss(StrEnum):
    """What the loss of a segment does to a stream, which cannot lose bytes."""

    RETRANSMIT = "retransmit"
    """The segment, and all that is behind it, arrives later."""
    RESET = "reset"
    """The connection breaks for both ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConditions:
    """How bytes travel from one node to another; the defaults are a perfect link."""

    latency: float = 0.0
    """Seconds that every segment takes."""
    jitter: float = 0.0
    """Seconds that a segment takes on top, at most; drawn evenly for each. Order is kept all the same."""
    bandwidth: float = inf
    """Bytes per second, shared by all connections in the same direction between the same two nodes."""
    loss: float = 0.0
    """Probability that a segment is lost, each time it is sent."""
    on_loss: OnLoss = OnLoss.RETRANSMIT
    """What a loss does to the connection; dials are always retransmitted."""
    retransmit_after: float = 0.2
    """Seconds that the first loss of a segment costs; each further one costs twice as much as the one before."""

    def __post_init__(self) -> None:
        if min(self.latency, self.jitter, self.retransmit_after) < 0:
            raise ValueError("latency, jitter and retransmit_after cannot be negative")
        if self.bandwidth <= 0:
            raise ValueError(f"bandwidth must be above 0, not {self.bandwidth}")
        if not 0 <= self.loss < 1:
            raise ValueError(f"loss must be at least 0 and below 1, not {self.loss}")


class Link:
    """The way from one node to another, in one direction."""

    def __init__(self, conditions: LinkConditions, random: Random) -> None:
        self.conditions = conditions
        self._random = random
        self._free_at = 0.0

    def transmit(self, now: float, size: int) -> tuple[float, int]:
        """Send `size` bytes at `now`; return when they arrive, and how often they were lost before."""
        conditions = self.conditions
        self._free_at = max(now, self._free_at) + size / conditions.bandwidth
        arrival = self._free_at + conditions.latency + conditions.jitter * self._random.random()
        losses, wait = 0, conditions.retransmit_after
        while self._random.random() < conditions.loss:
            losses += 1
            arrival += wait
            wait = min(2 * wait, MAX_RETRANSMIT_WAIT)
        return arrival, losses


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
