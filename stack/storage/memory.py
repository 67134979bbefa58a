"""A datastore in memory: for tests, and for hosts that need not remember."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import AsyncGenerator, Sequence
from itertools import takewhile

import trio

from ..abc import Delete, Put


class MemoryDatastore:
    """Keeps everything in a dict beside a sorted list of its keys; gone when the program ends.

    Times are trio's clock. An entry whose time is over goes when it is met, or when `expire` is called.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[bytes, float]] = {}
        self._keys: list[bytes] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"MemoryDatastore({len(self)} entries)"

    async def get(self, key: bytes) -> bytes | None:
        """Return the value, None when there is none."""
        await trio.lowlevel.checkpoint()
        return self._current(key)

    async def put(self, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        """Store a value in place of an earlier one, for `ttl` seconds or for good (None)."""
        await self.batch([Put(key, value, ttl)])

    async def delete(self, key: bytes) -> None:
        """Remove a value; nothing happens if it is not there."""
        await self.batch([Delete(key)])

    async def query(self, prefix: bytes = b"") -> AsyncGenerator[tuple[bytes, bytes], None]:
        """Yield keys and values whose key begins with `prefix`, in the order of the keys."""
        await trio.lowlevel.checkpoint()
        first = bisect_left(self._keys, prefix)
        for key in list(takewhile(lambda key: key.startswith(prefix), self._keys[first:])):
            if (value := self._current(key)) is not None:
                yield key, value

    async def batch(self, changes: Sequence[Put | Delete]) -> None:
        """Make all changes in order, or none of them."""
        await trio.lowlevel.checkpoint()
        for change in changes:
            if isinstance(change, Delete):
                self._remove(change.key)
            else:
                self._store(change)

    def expire(self) -> int:
        """Remove every entry whose time is over, and return how many there were."""
        now = trio.current_time()
        expired = [key for key, (_, until) in self._entries.items() if until <= now]
        for key in expired:
            self._remove(key)
        return len(expired)

    def _current(self, key: bytes) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, until = entry
        if until <= trio.current_time():
            self._remove(key)
            return None
        return value

    def _store(self, change: Put) -> None:
        if change.key not in self._entries:
            insort(self._keys, change.key)
        until = float("inf") if change.ttl is None else trio.current_time() + change.ttl
        self._entries[change.key] = (change.value, until)

    def _remove(self, key: bytes) -> None:
        if self._entries.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]
