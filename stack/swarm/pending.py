"""Limits what waits for a remote to authenticate or to propose a protocol: the source with the most loses its oldest.

If new ones were refused instead, a few slow peers could keep out all others. An honest handshake takes well under a
second, and an honest proposal comes together with its stream.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import trio

from ..errors import LimitExceeded
from ..limits import Reservation, Scope


class PendingLimit:
    """Reservations in the transient scope by source, the oldest first, each with a deadline."""

    def __init__(self, transient: Scope) -> None:
        self._transient = transient
        self._sources: dict[Hashable, dict[trio.CancelScope, Reservation]] = {}
        self._evicted: dict[trio.CancelScope, LimitExceeded] = {}

    def admit(self, reserve: Callable[[], Reservation]) -> Reservation:
        """Return what `reserve` returns, evicting one if the transient scope is full. Raises LimitExceeded."""
        try:
            return reserve()
        except LimitExceeded as error:
            if error.scope != self._transient.name or not self._sources:
                raise
            self._evict(error)
            return reserve()

    @contextmanager
    def wait(self, reservation: Reservation, seconds: float, source: Hashable) -> Iterator[None]:
        """Wait in this block for a remote that comes from `source`.

        Raises trio.TooSlowError, and LimitExceeded if it is evicted.
        """
        eviction: LimitExceeded | None = None
        with trio.move_on_after(seconds) as scope:
            self._sources.setdefault(source, {})[scope] = reservation
            try:
                yield
            finally:
                self._remove(source, scope)
                eviction = self._evicted.pop(scope, None)
        if scope.cancelled_caught:
            raise eviction or trio.TooSlowError(f"no answer within {seconds:g} s")

    def _evict(self, error: LimitExceeded) -> None:
        """Evict the oldest of the source with the most: a flood evicts its own, and no other's."""
        source, pending = max(self._sources.items(), key=lambda item: len(item[1]))  # of equal ones, the first to come
        scope, reservation = next(iter(pending.items()))
        self._evicted[scope] = error
        self._remove(source, scope)
        reservation.move()  # out of every scope; it may still succeed, when it was done just now
        scope.cancel()

    def _remove(self, source: Hashable, scope: trio.CancelScope) -> None:
        pending = self._sources.get(source, {})
        pending.pop(scope, None)
        if not pending:
            self._sources.pop(source, None)
