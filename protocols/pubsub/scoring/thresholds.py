"""Score thresholds: penalties, graylisting, and when a peer should be disconnected."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from ..router.events import Graylisted, Misbehaved, ShouldDisconnect
from .score import PeerScore

if TYPE_CHECKING:
    from ..router.state import PeerState, RouterState
    from .config import ScoreConfig
    from .score import ScoreSnapshot


class ScoreThresholds:
    """Keeps `PeerState.score` current: at heartbeats, and at once after an offence.

    Good behaviour counts from the next heartbeat on, so that messages need no computation of scores.
    """

    def __init__(self, state: RouterState, config: ScoreConfig | None, now: float) -> None:
        self._state = state
        self.scores = PeerScore(config, now) if config is not None else None
        """None: no peer is scored, and all have 0."""
        self.gossip_threshold = config.gossip_threshold if config is not None else 0.0
        self.publish_threshold = config.publish_threshold if config is not None else 0.0
        self._graylist_threshold = config.graylist_threshold if config is not None else 0.0
        # Without scores no peer is trusted with peer exchange.
        self.accept_px_threshold = config.accept_px_threshold if config is not None else inf
        self.opportunistic_graft_threshold = config.opportunistic_graft_threshold if config is not None else 0.0

    def refresh(self, peer: PeerState) -> None:
        """Update the score of a peer, and graylist it if it is too low."""
        if self.scores is None:
            return
        peer.score = score = self.scores.score(peer.id)
        if peer.direct:
            return
        below = score < self._graylist_threshold
        if below and not peer.graylisted:
            peer.strikes_due = True
            self._state.events.append(Graylisted(peer.id, score))
        peer.graylisted = below

    def refresh_all(self) -> None:
        """Update all scores; once for each heartbeat."""
        if self.scores is None:
            return
        for peer in self._state.peers.values():
            self.refresh(peer)
            if peer.graylisted or peer.strikes_due:
                self._strike(peer)
            elif peer.strikes and peer.score >= 0:
                peer.strikes = 0

    def penalise(self, peer: PeerState, penalty: float, reason: str) -> None:
        """Count a breach of the protocol (P7)."""
        self._state.events.append(Misbehaved(peer.id, reason, penalty))
        if self.scores is not None:
            self.scores.penalise(peer.id, penalty)
            if self._state.peers.get(peer.id) is peer:
                self.refresh(peer)

    def _strike(self, peer: PeerState) -> None:
        # A peer that is ignored while it is graylisted recovers, and goes on: so the strikes are held until it is fair.
        peer.strikes += 1
        peer.strikes_due = False
        if peer.strikes < self._state.config.graylist_patience or peer.reported:
            return
        peer.reported = True
        assert self.scores is not None
        snapshot = self.scores.snapshot(peer.id)
        reason = f"its score stayed low for {peer.strikes} heartbeats: {peer.score:.1f}"
        if snapshot is not None:
            reason += f" ({_describe(snapshot)})"
        self._state.events.append(ShouldDisconnect(peer.id, reason))


def _describe(snapshot: ScoreSnapshot) -> str:
    parts = {
        "topics": snapshot.topic_points,
        "application": snapshot.application_points,
        "colocation": snapshot.colocation_points,
        "behaviour": snapshot.behaviour_points,
    }
    return ", ".join(f"{name} {points:+.1f}" for name, points in parts.items() if points) or "nothing now"
