"""Meshes: the peers we exchange full messages with in the topics we joined (gossipsub-v1.0.md, gossipsub-v1.1.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire import IHave, Prune
from .backoff import Backoffs
from .events import Grafted, Pruned, PruneReason, Version
from .peer_exchange import read_suggestions, suggest_peers

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scoring.thresholds import ScoreThresholds
    from .message_cache import MessageCache
    from .state import Peers, PeerState, RouterState, TopicState


class Mesh:
    """Grafts and prunes peers, and handles their GRAFT and PRUNE."""

    def __init__(self, state: RouterState, thresholds: ScoreThresholds, cache: MessageCache) -> None:
        self._state = state
        self._config = state.config
        self._thresholds = thresholds
        self._cache = cache
        self.backoffs = Backoffs(state.config.backoff_slack, state.config.max_backoffs)

    # ---- our topics

    def join(self, topic: TopicState, now: float) -> None:
        """Begin a mesh, with the peers of the fanout first."""
        fanout = topic.fanout or {}
        mesh: Peers = {}
        topic.mesh = mesh
        for peer in fanout:
            if self._graftable(topic, peer, now):
                self._graft(topic, peer, now)
        self._fill(topic, self._config.degree - len(mesh), now)

    def leave(self, topic: TopicState, now: float) -> None:
        """End a mesh."""
        backoff = self._config.unsubscribe_backoff
        for peer in list(topic.mesh or ()):
            self._drop(topic, peer, PruneReason.LEFT)
            self.backoffs.add(topic.name, peer.id, backoff, now)
            self._send_prune(topic, peer, backoff, exchange=self._config.peer_exchange)
        topic.mesh = None

    # ---- received control

    def handle_graft(self, peer: PeerState, topics: list[str], now: float) -> None:
        """Add a peer to our meshes, or refuse with PRUNE."""
        penalty = 0
        exchange = self._config.peer_exchange
        for name in dict.fromkeys(topics):
            topic = self._state.joined.get(name)
            if topic is None or topic.mesh is None:
                if not self._config.hardened:
                    self._state.outgoing(peer).prune.append(Prune(name, [], None))
                continue
            if peer in topic.mesh:
                continue
            breaches = self._breaches(topic, peer, now)
            if not breaches and self._accepts_graft(topic, peer):
                self._enter(topic, peer, now)
                continue
            penalty += breaches
            self._state.counts.grafts_refused += 1
            exchange = exchange and not breaches and not peer.direct and peer.score >= 0
            if not peer.direct:
                self.backoffs.add(name, peer.id, self._config.prune_backoff, now)
            self._send_prune(topic, peer, self._config.prune_backoff, exchange=exchange)
        if penalty:
            self._thresholds.penalise(peer, penalty, "GRAFT before its backoff was over")

    def handle_prune(self, peer: PeerState, prunes: list[Prune], now: float) -> None:
        """Remove a peer that pruned us, and read the peers that it suggests."""
        for prune in prunes:
            topic = self._state.joined.get(prune.topic)
            if topic is None or topic.mesh is None:
                continue
            if peer in topic.mesh:
                self._drop(topic, peer, PruneReason.ASKED)
            seconds = float(prune.backoff) if prune.backoff else self._config.prune_backoff
            self.backoffs.add(prune.topic, peer.id, seconds, now)
            if prune.peers and peer.score >= self._thresholds.accept_px_threshold:
                read_suggestions(self._state, peer, prune)

    def forget(self, topic: TopicState, peer: PeerState, reason: PruneReason) -> None:
        """Remove a peer that left the topic or is gone, without a PRUNE."""
        if topic.mesh is not None and peer in topic.mesh:
            self._drop(topic, peer, reason)

    def _breaches(self, topic: TopicState, peer: PeerState, now: float) -> int:
        """Return how often a GRAFT now breaks the rules: within the backoff, and right after the PRUNE."""
        until = None if peer.direct else self.backoffs.until(topic.name, peer.id)
        if until is None or now >= until:
            return 0
        flood_ends = until + self._config.graft_flood_threshold - self._config.prune_backoff
        return 2 if now < flood_ends else 1

    def _accepts_graft(self, topic: TopicState, peer: PeerState) -> bool:
        if not peer.mesh_capable or peer.score < 0 or topic.mesh is None or peer not in topic.subscribers:
            return False
        # A full mesh takes only peers that we dialed, so that inbound connections cannot fill it.
        return len(topic.mesh) < self._config.degree_high or peer.outbound or not self._config.hardened

    # ---- the heartbeat

    def maintain(self, topic: TopicState, now: float) -> None:
        """Bring one mesh back to its bounds."""
        mesh = topic.mesh
        if mesh is None:
            return
        config = self._config
        if self._thresholds.scores is not None:
            for peer in [peer for peer in mesh if peer.score < 0]:
                self._prune(topic, peer, PruneReason.SCORE, now)
        if len(mesh) < config.degree_low:
            self._fill(topic, config.degree - len(mesh), now)
        elif len(mesh) > config.degree_high:
            for peer in self._excess(list(mesh)):
                self._prune(topic, peer, PruneReason.EXCESS, now)
        if config.degree_out and len(mesh) >= config.degree_low:
            self._keep_outbound(topic, mesh, now)
        ticks = config.opportunistic_graft_ticks
        if ticks and self._state.ticks % ticks == 0 and len(mesh) > 1:
            self._graft_better(topic, mesh, now)

    def _excess(self, peers: list[PeerState]) -> list[PeerState]:
        """Return the peers to prune: all but `degree`, by score, then at random, with enough outbound ones."""
        config = self._config
        self._state.random.shuffle(peers)
        peers.sort(key=lambda peer: -peer.score)
        rest = peers[config.degree_score :]
        self._state.random.shuffle(rest)
        peers[config.degree_score :] = rest
        kept, excess = peers[: config.degree], peers[config.degree :]
        missing = config.degree_out - sum(peer.outbound for peer in kept)
        for peer in [peer for peer in excess if peer.outbound][: max(missing, 0)]:
            # It takes the place of the last one that is not outbound: the best by score come first.
            place = max(index for index, other in enumerate(kept) if not other.outbound)
            excess[excess.index(peer)], kept[place] = kept[place], peer
        return excess

    def _keep_outbound(self, topic: TopicState, mesh: Peers, now: float) -> None:
        missing = self._config.degree_out - sum(peer.outbound for peer in mesh)
        if missing > 0:
            self._fill(topic, missing, now, lambda peer: peer.outbound)

    def _graft_better(self, topic: TopicState, mesh: Peers, now: float) -> None:
        median = sorted(peer.score for peer in mesh)[len(mesh) // 2]
        if median < self._thresholds.opportunistic_graft_threshold:
            self._fill(topic, self._config.opportunistic_graft_peers, now, lambda peer: peer.score > median)

    # ---- one peer

    def _fill(
        self, topic: TopicState, count: int, now: float, suits: Callable[[PeerState], bool] | None = None
    ) -> None:
        if count <= 0 or not topic.subscribers:
            return
        found = [
            peer for peer in topic.subscribers if self._graftable(topic, peer, now) and (suits is None or suits(peer))
        ]
        if len(found) > count:
            found = self._state.random.sample(found, count)
        for peer in found:
            self._graft(topic, peer, now)

    def _graftable(self, topic: TopicState, peer: PeerState, now: float) -> bool:
        return (
            peer.mesh_capable
            and peer.score >= 0
            and (topic.mesh is None or peer not in topic.mesh)
            and self.backoffs.graftable(topic.name, peer.id, now)
        )

    def _graft(self, topic: TopicState, peer: PeerState, now: float) -> None:
        self._enter(topic, peer, now)
        self._state.outgoing(peer).graft.append(topic.name)

    def _enter(self, topic: TopicState, peer: PeerState, now: float) -> None:
        assert topic.mesh is not None
        topic.mesh[peer] = None
        self._state.events.append(Grafted(peer.id, topic.name))
        if self._thresholds.scores is not None:
            self._thresholds.scores.graft(peer.id, topic.name, now)
        self._offer_recent(topic, peer)

    def _offer_recent(self, topic: TopicState, peer: PeerState) -> None:
        # Messages from between its subscription and its entry would reach it neither by the mesh nor by gossip, which
        # heartbeats send only to peers outside the mesh.
        ids = self._cache.gossip_ids(topic.name)
        if ids:
            self._state.outgoing(peer).ihave.append(IHave(topic.name, ids[: self._config.max_ihave_ids]))

    def _prune(self, topic: TopicState, peer: PeerState, reason: PruneReason, now: float) -> None:
        self._drop(topic, peer, reason)
        self.backoffs.add(topic.name, peer.id, self._config.prune_backoff, now)
        exchange = self._config.peer_exchange and reason is not PruneReason.SCORE
        self._send_prune(topic, peer, self._config.prune_backoff, exchange=exchange)

    def _drop(self, topic: TopicState, peer: PeerState, reason: PruneReason) -> None:
        assert topic.mesh is not None
        del topic.mesh[peer]
        self._state.events.append(Pruned(peer.id, topic.name, reason))
        if self._thresholds.scores is not None and reason is not PruneReason.DISCONNECTED:
            self._thresholds.scores.prune(peer.id, topic.name)

    def _send_prune(self, topic: TopicState, peer: PeerState, backoff: float, *, exchange: bool) -> None:
        prune = Prune(topic.name, [], None)
        if peer.version >= Version.V11:
            prune.backoff = round(backoff)
            if exchange:
                prune.peers = suggest_peers(self._state, topic, peer)
        self._state.outgoing(peer).prune.append(prune)
