"""Scopes and reservations count what is in use, all or nothing through every ancestor; rate limiters what comes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping
from enum import StrEnum
from typing import Self

from ..errors import LimitExceeded


class Resource(StrEnum):
    """What is counted. An inbound or outbound one counts towards the total of its kind as well."""

    CONNECTIONS = "connections"
    INBOUND_CONNECTIONS = "inbound connections"
    OUTBOUND_CONNECTIONS = "outbound connections"
    STREAMS = "streams"
    INBOUND_STREAMS = "inbound streams"
    OUTBOUND_STREAMS = "outbound streams"
    MEMORY = "bytes of memory"


_COUNTED = {
    Resource.INBOUND_CONNECTIONS: (Resource.INBOUND_CONNECTIONS, Resource.CONNECTIONS),
    Resource.OUTBOUND_CONNECTIONS: (Resource.OUTBOUND_CONNECTIONS, Resource.CONNECTIONS),
    Resource.INBOUND_STREAMS: (Resource.INBOUND_STREAMS, Resource.STREAMS),
    Resource.OUTBOUND_STREAMS: (Resource.OUTBOUND_STREAMS, Resource.STREAMS),
}


class Scope:
    """A place where things are counted; what is reserved here is counted in every ancestor too."""

    __slots__ = ("__weakref__", "_kind", "_limits", "_of", "_used", "ancestors")

    def __init__(self, kind: str, limits: Mapping[Resource, int], *parents: Scope, of: object = "") -> None:
        self._kind = kind
        self._of = of
        self._limits = limits
        self.ancestors = _with_ancestors(parents)
        self._used: dict[Resource, int] = {}

    @property
    def name(self) -> str:
        """Which scope this is, for errors: the kind, and whose it is."""
        return f"{self._kind} {self._of}".rstrip()

    def reserve(self, resource: Resource, amount: int = 1) -> Reservation:
        """Count `amount` here and in every ancestor, until the reservation is released or its block ends.

        Raises LimitExceeded, with nothing changed anywhere, if any of them has no room.
        """
        return Reservation(resource, amount, self)

    def used(self, resource: Resource) -> int:
        """Return how much is reserved now."""
        return self._used.get(resource, 0)

    def statistics(self) -> dict[str, int]:
        """Return what is reserved now, by resource; nothing for what is at zero."""
        return {str(resource): amount for resource, amount in self._used.items()}

    def check_room(self, counted: Iterable[Resource], amount: int) -> None:
        """Raise LimitExceeded if `amount` more does not fit here. For reservations only."""
        for resource in counted:
            limit = self._limits.get(resource)
            if limit is not None and self._used.get(resource, 0) + amount > limit:
                raise LimitExceeded(self.name, resource, limit)

    def count(self, counted: Iterable[Resource], amount: int) -> None:
        """Add `amount`, negative to give back, here alone. For reservations only."""
        for resource in counted:
            total = self._used.get(resource, 0) + amount
            if total:
                self._used[resource] = total
            else:
                del self._used[resource]


class Reservation:
    """Something counted in scopes. Release it once it is over; releasing again does nothing."""

    __slots__ = ("_counted", "_released", "_scopes", "amount", "resource")

    def __init__(self, resource: Resource, amount: int, *scopes: Scope) -> None:
        if amount <= 0:
            raise ValueError(f"a reservation is of something: {amount} {resource} is not")
        self.resource = resource
        self.amount = amount
        self._counted = _COUNTED.get(resource, (resource,))
        self._scopes: tuple[Scope, ...] = ()
        self._released = False
        self.move(*scopes)

    def move(self, *scopes: Scope) -> None:
        """Count in these scopes and their ancestors, and no longer elsewhere. LimitExceeded leaves it where it was.

        What was released stays so: a stream may be over before the task that opened it has agreed on a protocol.
        """
        if self._released:
            return
        target = _with_ancestors(scopes)
        entered = [scope for scope in target if scope not in self._scopes]
        for scope in entered:
            scope.check_room(self._counted, self.amount)
        for scope in entered:
            scope.count(self._counted, self.amount)
        for scope in self._scopes:
            if scope not in target:
                scope.count(self._counted, -self.amount)
        self._scopes = target

    def resize(self, amount: int) -> None:
        """Count `amount`, more than 0, from now on. LimitExceeded leaves it as it was."""
        more = amount - self.amount
        if more > 0:
            for scope in self._scopes:
                scope.check_room(self._counted, more)
        for scope in self._scopes:
            scope.count(self._counted, more)
        self.amount = amount

    def release(self) -> None:
        """Give back what is reserved; idempotent."""
        self.move()
        self._released = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _with_ancestors(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    unique: dict[Scope, None] = {}
    for scope in scopes:
        unique[scope] = None
        unique.update(dict.fromkeys(scope.ancestors))
    return tuple(unique)


class RateLimiter:
    """A token bucket for each key; a key unused for as long as its bucket takes to fill is forgotten."""

    def __init__(self, rate: float, burst: int, *, capacity: int = 65536) -> None:
        self.burst = burst
        """Tokens of a full bucket."""
        self._rate = rate
        self._capacity = capacity
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def allow(self, key: Hashable, now: float) -> bool:
        """Take a token at `now` (seconds of any clock that does not go back); return whether there was one."""
        self._forget_full(now)
        tokens, since = self._buckets.pop(key, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - since) * self._rate)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return allowed

    def __len__(self) -> int:
        return len(self._buckets)

    def _forget_full(self, now: float) -> None:
        filled = self.burst / self._rate
        while self._buckets:
            key, (_, since) = next(iter(self._buckets.items()))
            if now - since < filled:
                return
            del self._buckets[key]
