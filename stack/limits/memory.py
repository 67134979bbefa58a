"""Memory, counted before it is used: what receive windows may grow by, and what a protocol holds for a peer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from ..errors import LimitExceeded
from .scope import Reservation, Resource, Scope

STEP: Final = 16 * 1024
"""Bytes that are reserved at once, so that small messages cost no reservation each."""


class WindowBudget:
    """A number of bytes to share; `reserve` returns False and raises nothing: a window that cannot grow still works."""

    __slots__ = ("_closed", "_parent", "limit", "used")

    def __init__(self, limit: int, parent: WindowBudget | None = None) -> None:
        self.limit = limit
        self.used = 0
        self._parent = parent
        self._closed = False

    def reserve(self, amount: int) -> bool:
        """Take `amount` bytes here and from the parents, all or nothing; return whether there was room."""
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
    """A part of a host whose receive windows grow; `open_host` gives it the budget."""

    @abstractmethod
    def grow_within(self, budget: WindowBudget, per_connection: int) -> None:
        """Take from `budget` from now on, for one connection at most `per_connection` bytes, unless told otherwise."""


class MemoryAccount:
    """Bytes held in a scope and its ancestors: `hold` before they are read or copied, `free` once they are gone.

    Nothing stays reserved while nothing is held.
    """

    __slots__ = ("_reservation", "_scope", "held")

    def __init__(self, scope: Scope) -> None:
        self.held = 0
        """Bytes held now."""
        self._scope = scope
        self._reservation: Reservation | None = None

    def hold(self, amount: int) -> None:
        """Count `amount` bytes more. Raises LimitExceeded, with nothing changed, if `Limits` do not allow them."""
        held = self.held + amount
        if self._reservation is None or held > self._reservation.amount:
            try:
                self._reserve(-(-held // STEP) * STEP)
            except LimitExceeded:
                self._reserve(held)  # the last ones may fit without being rounded up
        self.held = held

    def free(self, amount: int) -> None:
        """Count `amount` bytes less, which were held before."""
        if amount > self.held:
            raise ValueError(f"{amount} bytes given back, but only {self.held} are held")
        self.held -= amount
        if self._reservation is None:
            return
        if not self.held:
            self._reservation.release()
            self._reservation = None
        elif self._reservation.amount - self.held >= 4 * STEP:
            self._reserve(-(-self.held // STEP) * STEP)

    def _reserve(self, amount: int) -> None:
        if self._reservation is None:
            self._reservation = self._scope.reserve(Resource.MEMORY, amount)
        else:
            self._reservation.resize(amount)
