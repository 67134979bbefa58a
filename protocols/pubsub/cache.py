"""The ids we have seen, and the recent messages with which IWANTs are answered (gossipsub-v1.0.md, "Message Cache")."""

from __future__ import annotations

from collections import deque

GENERATIONS = 16
"""Steps in which ids expire: each costs one set operation, and an id lives up to one step longer than its time."""


class SeenCache:
    """The ids of messages that were decided on: first seen counts, a repeat does not prolong."""

    def __init__(self, ttl: float, limit: int, now: float) -> None:
        self._ttl = ttl
        self._span = ttl / GENERATIONS
        self._generation_limit = max(1, limit // GENERATIONS)
        self._limit = limit
        self.ids: set[bytes] = set()
        """For `in` only; an id is here from `add` until it expires."""
        self._generation: list[bytes] = []
        self._generation_ends = now + self._span
        self._old: deque[tuple[float, list[bytes]]] = deque()

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self.ids

    def add(self, message_id: bytes, now: float) -> bool:
        """Remember an id; False if it was known."""
        if message_id in self.ids:
            return False
        if now >= self._generation_ends or len(self._generation) >= self._generation_limit:
            self._turn(now)
        self.ids.add(message_id)
        self._generation.append(message_id)
        return True

    def expire(self, now: float) -> None:
        """Forget ids first seen more than the time to live ago, up to one generation late."""
        if now >= self._generation_ends:
            self._turn(now)

    def _turn(self, now: float) -> None:
        self._old.append((now + self._ttl, self._generation))
        self._generation = []
        self._generation_ends = now + self._span
        # A generation ends no earlier than its youngest id, so nothing is forgotten before its time.
        while self._old and (self._old[0][0] <= now or self._too_many()):
            _, ids = self._old.popleft()
            self.ids.difference_update(ids)

    def _too_many(self) -> bool:
        return len(self.ids) + self._generation_limit > self._limit
