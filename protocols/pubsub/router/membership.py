"""The subscribers of each topic, from the subscriptions that peers announce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import PeerSubscribed, PeerUnsubscribed, PruneReason, SubscriptionRefused

if TYPE_CHECKING:
    from ..wire import Subscription
    from .mesh import Mesh
    from .state import PeerState, RouterState, TopicState


class Membership:
    """Keeps the subscribers of each topic."""

    def __init__(self, state: RouterState, mesh: Mesh) -> None:
        self._state = state
        self._mesh = mesh

    def update(self, peer: PeerState, subscriptions: list[Subscription]) -> None:
        """Apply the subscriptions that a peer announces."""
        for subscription in subscriptions:
            known = peer.topics.get(subscription.topic)
            if not subscription.subscribe:
                if known is not None:
                    self._leave(peer, known, PruneReason.UNSUBSCRIBED)
            elif known is None:
                self._enter(peer, subscription.topic)

    def imply(self, peer: PeerState, grafts: list[str]) -> None:
        """Treat a GRAFT in a topic of ours as a subscription: it can overtake the announcement."""
        if not peer.mesh_capable:
            return
        for name in grafts:
            if name not in peer.topics and name in self._state.joined:
                self._enter(peer, name)

    def leave_all(self, peer: PeerState) -> None:
        """Take a peer that is gone out of all topics."""
        for topic in list(peer.topics.values()):
            self._leave(peer, topic, PruneReason.DISCONNECTED)

    def reclassify(self, peer: PeerState) -> None:
        """Note in all topics whether the peer can be in meshes now."""
        for topic in peer.topics.values():
            if peer.mesh_capable:
                topic.always.pop(peer, None)
            else:
                topic.always[peer] = None
                if topic.fanout is not None:
                    topic.fanout.pop(peer, None)
                self._mesh.forget(topic, peer, PruneReason.DIRECT)

    def _enter(self, peer: PeerState, name: str) -> None:
        if len(peer.topics) >= self._state.config.max_topics_per_peer:
            self._state.counts.topics_refused += 1
            peer.topics_refused += 1
            if peer.topics_refused == 1:
                self._state.events.append(SubscriptionRefused(peer.id, name, self._state.config.max_topics_per_peer))
            return
        topic = self._state.topic(name)
        peer.topics[name] = topic
        topic.subscribers[peer] = None
        if not peer.mesh_capable:
            topic.always[peer] = None
        self._state.events.append(PeerSubscribed(peer.id, name))

    def _leave(self, peer: PeerState, topic: TopicState, reason: PruneReason) -> None:
        del peer.topics[topic.name]
        del topic.subscribers[peer]
        topic.always.pop(peer, None)
        if topic.fanout is not None:
            topic.fanout.pop(peer, None)
        self._mesh.forget(topic, peer, reason)
        self._state.forget_if_empty(topic)
        self._state.events.append(PeerUnsubscribed(peer.id, topic.name))
