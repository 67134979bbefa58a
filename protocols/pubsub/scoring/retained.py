"""What is kept of peers that are gone, so that nobody gets rid of a bad name by coming back."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Retained(Generic[KeyT, ValueT]):
    """Values that are kept for equally many seconds, and so many at most; the oldest make room."""

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
