"""A staggered race of dials: each address starts at its time, or as soon as all before it have failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio
from multiaddr import Multiaddr

T = TypeVar("T")

DISCARD_TIMEOUT = 2.0
"""Seconds for closing a connection that came too late."""


class Race(Generic[T]):
    """Runs `dial` over ranked addresses until one succeeds; the others are cancelled.

    `dial` records its own failures and returns None for them. A success that comes too late is given to `discard`,
    with the one that came first.
    """

    def __init__(
        self,
        dial: Callable[[Multiaddr], Awaitable[T | None]],
        discard: Callable[[T, T], Awaitable[None]],
        *,
        concurrency: int,
    ) -> None:
        self._dial = dial
        self._discard = discard
        self._capacity = trio.CapacityLimiter(concurrency)
        self._running = 0
        self._all_failed = trio.Event()
        self._winner: list[T] = []

    async def run(self, ranked: list[tuple[float, Multiaddr]]) -> T | None:
        """Return the first success, or None when all failed."""
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for delay, address in ranked:
                if self._running:
                    with trio.move_on_at(began + delay):
                        await self._all_failed.wait()
                self._running += 1
                self._all_failed = trio.Event()
                nursery.start_soon(self._attempt, address, nursery.cancel_scope)
        return self._winner[0] if self._winner else None

    async def _attempt(self, address: Multiaddr, scope: trio.CancelScope) -> None:
        async with self._capacity:
            result = await self._dial(address)
        if result is None:
            self._running -= 1
            if not self._running:
                self._all_failed.set()
            return
        if self._winner:
            with trio.move_on_after(DISCARD_TIMEOUT, shield=True):
                await self._discard(result, self._winner[0])
            return
        self._winner.append(result)
        scope.cancel()
