"""Where work waits for a remote to prove itself; when limits are reached, whoever waits longest makes room.

Else a few peers that dawdle would keep out everybody: an honest handshake takes well under a second, and an honest
proposal comes together with its stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from ..errors import LimitExceeded
from ..limits import Reservation, Scope


class WaitingRoom:
    """Reservations in the transient scope, the oldest first, each with a deadline."""

    def __init__(self, transient: Scope) -> None:
        self._transient = transient
        self._waiting: dict[trio.CancelScope, Reservation] = {}
        self._evicted: dict[trio.CancelScope, LimitExceeded] = {}

    def admit(self, reserve: Callable[[], Reservation]) -> Reservation:
        """Return what `reserve` returns, evicting the oldest if the transient scope is full. Raises LimitExceeded."""
        try:
            return reserve()
        except LimitExceeded as error:
            if error.scope != self._transient.name or not self._waiting:
                raise
            self._evict(error)
            return reserve()

    @contextmanager
    def wait(self, reservation: Reservation, seconds: float) -> Iterator[None]:
        """Wait for a remote in this block. Raises trio.TooSlowError, and LimitExceeded when it has to make room."""
        with trio.move_on_after(seconds) as scope:
            self._waiting[scope] = reservation
            try:
                yield
            finally:
                self._waiting.pop(scope, None)
                eviction = self._evicted.pop(scope, None)
        if scope.cancelled_caught:
            raise eviction or trio.TooSlowError(f"no answer within {seconds:g} s")

    def _evict(self, error: LimitExceeded) -> None:
        scope = next(iter(self._waiting))
        self._evicted[scope] = error
        self._waiting.pop(scope).release()
        scope.cancel()
