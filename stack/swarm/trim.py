"""Which connections are closed when there are too many: tags, protection, and the choice (go-libp2p's connmgr)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..identity import PeerId

C = TypeVar("C", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class TrimConfig:
    """When to trim, and how far. Trimming keeps a host tidy; floods are stopped by `Limits`."""

    low: int = 160
    """Connections left after trimming (go-libp2p: 160)."""
    high: int = 192
    """Connections above which trimming begins (go-libp2p: 192)."""
    grace: float = 60.0
    """Seconds in which a new connection is left alone, to show what it is for (go-libp2p: 1 minute)."""
    silence: float = 10.0
    """Seconds between two rounds of trimming; each costs a pass over all connections (go-libp2p: 10 s)."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise ValueError(f"water marks out of order: 0 <= low {self.low} <= high {self.high} fails")
        if self.grace < 0 or self.silence < 0:
            raise ValueError(f"grace {self.grace} and silence {self.silence} are times and cannot be negative")


@dataclass(frozen=True, slots=True)
class Candidate(Generic[C]):
    """What the choice depends on; `opened_at` is in seconds of the clock that gives `now`."""

    connection: C
    peer: PeerId
    opened_at: float
    streams: int
    inbound: bool


class Trimmer:
    """Knows what peers are worth to this host, and chooses the connections it can best do without."""

    def __init__(self, config: TrimConfig | None = None) -> None:
        self.config = config or TrimConfig()
        self._tags: dict[PeerId, dict[str, int]] = {}
        self._protected: dict[PeerId, set[str]] = {}
        self._last = -math.inf

    def tag(self, peer: PeerId, name: str, value: int) -> None:
        """Give a peer a value under a name, in place of the earlier one; the sum of all is what it is worth."""
        self._tags.setdefault(peer, {})[name] = value

    def untag(self, peer: PeerId, name: str) -> None:
        """Take a named value back; nothing happens if there is none."""
        tags = self._tags.get(peer, {})
        tags.pop(name, None)
        if not tags:
            self._tags.pop(peer, None)

    def value(self, peer: PeerId) -> int:
        """Return what a peer is worth."""
        return sum(self._tags.get(peer, {}).values())

    def protect(self, peer: PeerId, name: str) -> None:
        """Never trim this peer, until the protection of the same name, and every other, is lifted."""
        self._protected.setdefault(peer, set()).add(name)

    def unprotect(self, peer: PeerId, name: str) -> bool:
        """Lift one protection; return whether the peer is still protected by another."""
        names = self._protected.get(peer, set())
        names.discard(name)
        if not names:
            self._protected.pop(peer, None)
        return bool(names)

    def is_protected(self, peer: PeerId) -> bool:
        """Return whether any protection stands."""
        return peer in self._protected

    def forget(self, peer: PeerId) -> None:
        """Drop the tags of a peer that has disconnected. Protections stay: the user gave them for good."""
        self._tags.pop(peer, None)

    def choose_to_trim(self, connections: Iterable[Candidate[C]], now: float) -> list[C]:
        """Return which connections to close at `now`, the least valuable first; empty while there are not too many.

        Protected and new ones are spared. Of peers of the same value those without streams go first, then inbound
        ones, then the younger: a flood of newcomers must not push out those who were here before (eclipse).
        """
        candidates = list(connections)
        if len(candidates) <= self.config.high or now - self._last < self.config.silence:
            return []
        self._last = now
        spare = [
            candidate
            for candidate in candidates
            if not self.is_protected(candidate.peer) and now - candidate.opened_at >= self.config.grace
        ]
        spare.sort(key=self._worth)
        return [candidate.connection for candidate in spare[: len(candidates) - self.config.low]]

    def _worth(self, candidate: Candidate[C]) -> tuple[int, bool, bool, float]:
        return self.value(candidate.peer), candidate.streams > 0, not candidate.inbound, -candidate.opened_at
