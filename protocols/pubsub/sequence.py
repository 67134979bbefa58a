"""Finds gaps in the numbers that authors give their messages."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_AUTHORS: Final = 4096
"""Authors remembered, the longest silent forgotten first: anybody can make up authors."""
MAX_GAP: Final = 1_000_000
"""A larger jump is no gap: numbers begin at the clock (nanoseconds) when an author starts anew."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands among those of its author."""

    gap: int = 0
    """Numbers skipped since the author's highest message so far."""
    late: bool = False
    """Whether a message with a higher number came before: a gap that was told of may be closing."""


IN_ORDER: Final = Place()
LATE: Final = Place(late=True)


class SequenceTracker:
    """Remembers the highest number of each author."""

    def __init__(self, max_authors: int = MAX_AUTHORS) -> None:
        self._highest: OrderedDict[bytes, int] = OrderedDict()
        self._max_authors = max_authors

    def __len__(self) -> int:
        return len(self._highest)

    def place(self, author: bytes, seqno: int) -> Place:
        """Take note of a number, and tell where it stands; the first of an author follows no gap."""
        highest = self._highest.get(author)
        if highest is not None and seqno <= highest:
            return LATE
        self._highest[author] = seqno
        self._highest.move_to_end(author)
        if highest is None:
            if len(self._highest) > self._max_authors:
                self._highest.popitem(last=False)
            return IN_ORDER
        gap = seqno - highest - 1
        return Place(gap) if 0 < gap < MAX_GAP else IN_ORDER


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
