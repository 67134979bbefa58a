"""The memory that receive windows may grow by, shared between connections."""

from __future__ import annotations

from abc import ABC, abstractmethod


class WindowBudget:
    """A number of bytes to share; a plain no instead of an error, since a window that can not grow still works."""

    __slots__ = ("_closed", "_parent", "limit", "used")

    def __init__(self, limit: int, parent: WindowBudget | None = None) -> None:
        self.limit = limit
        self.used = 0
        self._parent = parent
        self._closed = False

    def reserve(self, amount: int) -> bool:
        """Take `amount` bytes here and from the parents, all or nothing; say whether there was room."""
        if self._closed or self.used + amount > self.limit:
            return False
        if self._parent is not None and not self._parent.reserve(amount):
            return False
        self.used += amount
        return True

    def release(self, amount: int) -> None:
        """Give back bytes reserved before. Does nothing after `close`, which gave everything back."""
        if self._closed:
            return
        if amount > self.used:
            raise ValueError(f"{amount} bytes given back, but only {self.used} are reserved")
        self.used -= amount
        if self._parent is not None:
            self._parent.release(amount)

    def close(self) -> None:
        """Give everything back to the parents and refuse from now on; idempotent."""
        self.release(self.used)
        self._closed = True


class GrowsWindows(ABC):
    """A part of a host whose receive windows grow; `open_host` tells it within what."""

    @abstractmethod
    def grow_within(self, budget: WindowBudget, per_connection: int) -> None:
        """Take from `budget` from now on, for one connection at most `per_connection` bytes, unless told otherwise."""
