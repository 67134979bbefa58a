"""Fanouts: the peers we send to in topics that we publish to without having joined (gossipsub-v1.0.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..scoring.thresholds import ScoreThresholds
    from .state import Peers, RouterState, TopicState


class Fanout:
    """Chooses peers for such topics, and forgets them when nothing was published for a while."""

    def __init__(self, state: RouterState, thresholds: ScoreThresholds) -> None:
        self._state = state
        self._thresholds = thresholds

    def peers(self, topic: TopicState, now: float) -> Peers:
        """Return the peers to publish to now."""
        topic.last_published = now
        if topic.fanout is None:
            topic.fanout = {}
            self._state.fanouts[topic.name] = topic
        if not topic.fanout:
            self._fill(topic, topic.fanout)
        return topic.fanout

    def end(self, topic: TopicState) -> None:
        """Forget the fanout of a topic: we joined it."""
        topic.fanout = None
        self._state.fanouts.pop(topic.name, None)

    def maintain(self, now: float) -> None:
        """Let fanouts expire, and refill the others; for each heartbeat."""
        for topic in list(self._state.fanouts.values()):
            fanout = topic.fanout
            if fanout is None or topic.last_published + self._state.config.fanout_ttl < now:
                self.end(topic)
                self._state.forget_if_empty(topic)
                continue
            for peer in [peer for peer in fanout if peer.score < self._thresholds.publish_threshold]:
                del fanout[peer]
            self._fill(topic, fanout)

    def _fill(self, topic: TopicState, fanout: Peers) -> None:
        count = self._state.config.degree - len(fanout)
        if count <= 0:
            return
        threshold = self._thresholds.publish_threshold
        found = [
            peer for peer in topic.subscribers if peer.mesh_capable and peer.score >= threshold and peer not in fanout
        ]
        if len(found) > count:
            found = self._state.random.sample(found, count)
        fanout.update(dict.fromkeys(found))
