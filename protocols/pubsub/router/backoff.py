"""Which peers must not be grafted for a while (gossipsub-v1.1.md, "Prune Backoff")."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from .config import MAX_BACKOFF

if TYPE_CHECKING:
    from peerstack.stack.identity import PeerId


class Backoffs:
    """When peers may be grafted again, by topic. Entries outlast connections; their number is bounded."""

    def __init__(self, slack: float, limit: int) -> None:
        self._slack = slack
        """Seconds that we wait longer than agreed: the peer's clock started when the PRUNE arrived or was sent."""
        self._limit = limit
        self._until: dict[str, OrderedDict[PeerId, float]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._until.values()))

    def add(self, topic: str, peer: PeerId, seconds: float, now: float) -> None:
        """Begin or prolong a backoff; it is never shortened, and never longer than an hour from now."""
        until = now + min(max(seconds, 0.0), MAX_BACKOFF)
        peers = self._until.setdefault(topic, OrderedDict())
        if peer not in peers and len(peers) >= self._limit:
            peers.popitem(last=False)
        if until > peers.get(peer, now):
            peers[peer] = until

    def until(self, topic: str, peer: PeerId) -> float | None:
        """Return when the backoff ends or ended; None if there was none lately."""
        peers = self._until.get(topic)
        return peers.get(peer) if peers is not None else None

    def graftable(self, topic: str, peer: PeerId, now: float) -> bool:
        """Return whether we may graft `peer`."""
        peers = self._until.get(topic)
        if peers is None:
            return True
        until = peers.get(peer)
        return until is None or now >= until + self._slack

    def expire(self, now: float) -> None:
        """Forget backoffs that are over."""
        oldest = now - self._slack
        for topic in list(self._until):
            peers = self._until[topic]
            for peer in [peer for peer, until in peers.items() if until <= oldest]:
                del peers[peer]
            if not peers:
                del self._until[topic]
