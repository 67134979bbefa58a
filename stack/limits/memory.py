"""The memory that one protocol holds for one peer, reserved before it is used."""

from __future__ import annotations

from typing import Final

from ..errors import LimitExceeded
from .scope import Reservation, Resource, Scope

STEP: Final = 16 * 1024
"""Bytes that are reserved at once, so that small messages cost no reservation each."""


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
