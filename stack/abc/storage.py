"""Where things are kept: one small interface for key-value stores, in memory or on disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Put:
    """A change of a batch: store `value` under `key`, for `ttl` seconds or for good (None)."""

    key: bytes
    value: bytes
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """A change of a batch: remove `key`; nothing happens if it is not there."""

    key: bytes


class Datastore(Protocol):
    """Keeps values by key, both bytes. Keys are ordered, so that a prefix names a range.

    What is read is a copy: changing the store while a query runs is allowed, and the query may or may not see it.
    Entries whose time is over are not returned, and are removed at the store's leisure. Raises `StorageError` when the
    medium fails.
    """

    async def get(self, key: bytes) -> bytes | None:
        """Return the value, None when there is none."""
        ...

    async def put(self, key: bytes, value: bytes, *, ttl: float | None = None) -> None:
        """Store a value in place of an earlier one, for `ttl` seconds or for good (None)."""
        ...

    async def delete(self, key: bytes) -> None:
        """Remove a value; nothing happens if it is not there."""
        ...

    def query(self, prefix: bytes = b"") -> AsyncGenerator[tuple[bytes, bytes], None]:
        """Yield keys and values whose key begins with `prefix`, in the order of the keys."""
        ...

    async def batch(self, changes: Sequence[Put | Delete]) -> None:
        """Make all changes in order, or none of them."""
        ...
