"""What peers advertised and we asked them for (gossipsub-v1.1.md, "Spam Protection Measures")."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from .state import PeerState


class Promises:
    """One random id of each IWANT, and until when the peer must have sent it.

    They are bounded by what may be asked of a peer between two heartbeats, and by the follow-up time.
    """

    def __init__(self, followup: float, random: Random) -> None:
        self._followup = followup
        self._random = random
        self._by_id: dict[bytes, dict[PeerState, float]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def any(self) -> bool:
        """Whether anything is expected."""
        return bool(self._by_id)

    def add(self, peer: PeerState, ids: Sequence[bytes], now: float) -> None:
        """Expect one of `ids` from `peer`; which one it can not know."""
        expected = self._random.choice(ids)
        self._by_id.setdefault(expected, {}).setdefault(peer, now + self._followup)

    def fulfil(self, message_id: bytes) -> None:
        """Void all promises of a message, since it came, from whomever and in whatever state."""
        self._by_id.pop(message_id, None)

    def broken(self, now: float) -> dict[PeerState, int]:
        """Return how many promises each peer broke, and forget those."""
        counts: dict[PeerState, int] = {}
        for message_id in list(self._by_id):
            peers = self._by_id[message_id]
            for peer in [peer for peer, until in peers.items() if until < now]:
                del peers[peer]
                counts[peer] = counts.get(peer, 0) + 1
            if not peers:
                del self._by_id[message_id]
        return counts
