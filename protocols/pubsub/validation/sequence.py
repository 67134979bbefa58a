"""Follows the numbers that authors give their messages: which were skipped, which came late, and which came before."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_AUTHORS: Final = 4096
"""Authors remembered, the longest silent forgotten first: a peer can make up any number of authors."""
MAX_RUNS: Final = 1024
"""Runs of numbers without a hole that are remembered of one author, the lowest forgotten first."""
MAX_ALL_RUNS: Final = 65536
"""The same for all authors together."""
MAX_GAP: Final = 1_000_000
"""A larger jump is no gap: numbers begin at the clock (nanoseconds) when an author starts anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands among those of its author."""

    gap: int = 0
    """Numbers skipped since the author's highest message so far."""
    late: bool = False
    """Whether a message with a higher number came before."""
    closes: bool = False
    """Whether this number was counted in an earlier gap, which is smaller by one now."""
    repeated: bool = False
    """Whether this very number came before."""


IN_ORDER: Final = Place()
LATE: Final = Place(late=True)
CLOSING: Final = Place(late=True, closes=True)
REPEATED: Final = Place(late=True, repeated=True)


class _Runs:
    """The numbers of one author that came, as runs without a hole, the lowest first."""

    __slots__ = ("ends", "starts")

    def __init__(self, number: int) -> None:
        self.starts = [number]
        self.ends = [number]

    def insert(self, number: int) -> Place:
        """Record a number below the highest, and return its place."""
        starts, ends = self.starts, self.ends
        above = bisect_right(starts, number)
        if above and number <= ends[above - 1]:
            return REPEATED
        place = CLOSING if above and starts[above] - ends[above - 1] <= MAX_GAP else LATE
        joins_below = bool(above) and ends[above - 1] == number - 1
        joins_above = starts[above] == number + 1
        if joins_below and joins_above:
            ends[above - 1] = ends.pop(above)
            del starts[above]
        elif joins_below:
            ends[above - 1] = number
        elif joins_above:
            starts[above] = number
        else:
            starts.insert(above, number)
            ends.insert(above, number)
        return place

    def remove(self, number: int) -> int:
        """Forget that a number came; return by how many the numbers that are skipped below the highest grow."""
        starts, ends = self.starts, self.ends
        at = bisect_right(starts, number) - 1
        if at < 0 or number > ends[at]:
            return 0
        grown = 0 if number == starts[0] else 1
        if number == ends[-1]:
            hole = starts[at] - ends[at - 1] - 1 if at and starts[at] == number else 0
            grown = -hole if hole < MAX_GAP else 0
        if starts[at] == ends[at]:
            del starts[at], ends[at]
        elif number == starts[at]:
            starts[at] += 1
        elif number == ends[at]:
            ends[at] -= 1
        else:
            starts.insert(at + 1, number + 1)
            ends.insert(at, number - 1)
        return grown


class SequenceTracker:
    """Remembers which numbers of each author came."""

    def __init__(
        self, max_authors: int = MAX_AUTHORS, max_runs: int = MAX_RUNS, max_all_runs: int = MAX_ALL_RUNS
    ) -> None:
        self.skipped = 0
        """The sum of all gaps so far."""
        self.closed = 0
        """How many of the numbers that were skipped came after all."""
        self._authors: OrderedDict[bytes, _Runs] = OrderedDict()
        self._max_authors = max_authors
        self._max_runs = max_runs
        self._max_all_runs = max_all_runs
        self._all_runs = 0

    def __len__(self) -> int:
        return len(self._authors)

    @property
    def missing(self) -> int:
        """Numbers that were skipped and did not come yet."""
        return self.skipped - self.closed

    def place(self, author: bytes, seqno: int) -> Place:
        """Record a number, and return its place; the first of an author follows no gap."""
        runs = self._authors.get(author)
        if runs is None:
            self._authors[author] = _Runs(seqno)
            self._all_runs += 1
            self._forget_silent()
            return IN_ORDER
        highest = runs.ends[-1]
        if seqno == highest + 1:
            runs.ends[-1] = seqno
            self._authors.move_to_end(author)
            return IN_ORDER
        before = len(runs.starts)
        if seqno > highest:
            runs.starts.append(seqno)
            runs.ends.append(seqno)
            self._authors.move_to_end(author)
            gap = seqno - highest - 1
            place = Place(gap) if gap < MAX_GAP else IN_ORDER
        else:
            place = runs.insert(seqno)
        self.skipped += place.gap
        self.closed += place.closes
        if len(runs.starts) > self._max_runs:
            del runs.starts[0], runs.ends[0]
        self._all_runs += len(runs.starts) - before
        self._forget_silent()
        return place

    def forget(self, author: bytes, seqno: int) -> None:
        """Forget a number, since its message was dropped and may come again."""
        runs = self._authors.get(author)
        if runs is None:
            return
        before = len(runs.starts)
        self.skipped += runs.remove(seqno)
        if not runs.starts:
            del self._authors[author]
        self._all_runs += len(runs.starts) - before

    def _forget_silent(self) -> None:
        while len(self._authors) > self._max_authors or self._all_runs > self._max_all_runs:
            _, runs = self._authors.popitem(last=False)
            self._all_runs -= len(runs.starts)


class SequenceNumbers:
    """Our own numbers: begin at the clock in nanoseconds, so that they grow across restarts, and go up by one."""

    def __init__(self, now_ns: int) -> None:
        self._next = now_ns

    def take(self) -> int:
        """Return the next number."""
        number = self._next
        self._next += 1
        return number

    def give_back(self, number: int) -> None:
        """Use a number again that was taken for nothing, if it is the last one: readers would see a gap."""
        if number == self._next - 1:
            self._next = number
