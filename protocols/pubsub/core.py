"""The gossipsub router as a machine without I/O: RPCs and verdicts in; recipients, control, events and a deadline out.

The driver decodes and validates. It calls `add_peer`, feeds `receive`, answers each message that returns with exactly
one of `accept`, `reject` and `ignore`, and after every call sends what `take_outgoing` returns. Times are seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cache import SeenCache
from .core_events import Allow, CoreEvent, Outgoing, PeerSubscribed, PeerUnsubscribed, RejectReason, Version
from .state import PeerState, RouterState, TopicState
from .validating import MAX_VARIANTS, Validating

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

    from peerstack.stack.identity import PeerId

    from .config import GossipConfig
    from .gater import GaterConfig
    from .score_config import ScoreConfig
    from .wire import Message, Rpc, Subscription


class GossipCore:
    """One node's router."""

    def __init__(
        self,
        peer_id: PeerId,
        config: GossipConfig,
        *,
        random: Random,
        now: float,
        score: ScoreConfig | None = None,
        gater: GaterConfig | None = None,
        direct: Iterable[PeerId] = (),
    ) -> None:
        self._config = config
        self._state = RouterState(peer_id, config, random)
        self._peers = self._state.peers
        self._topics = self._state.topics
        self._counts = self._state.counts
        self._direct = dict.fromkeys(direct)
        self._seen = SeenCache(config.seen_ttl, config.seen_limit, now)
        self._validating = Validating(config.max_validating)
        self._next_heartbeat = now + config.heartbeat_initial_delay

    # ---- peers

    def add_peer(self, peer: PeerId, version: Version, *, outbound: bool, ips: Sequence[str], now: float) -> None:
        """Begin with a peer that speaks `version`, or learn more of one; `outbound`: we dialed it.

        Call it before the first `receive` of this peer. The driver sends the hello: subscriptions, and extensions.
        """
        state = self._peers.get(peer)
        if state is None:
            state = self._peers[peer] = PeerState(peer, direct=peer in self._direct)
        state.outbound = outbound
        state.version = Version.FLOODSUB if self._config.floodsub_only else version
        state.mesh_capable = state.version > Version.FLOODSUB and not state.direct
        state.supports_idontwant = state.version >= Version.V12

    def remove_peer(self, peer: PeerId, now: float) -> None:
        """End with a peer."""
        state = self._peers.pop(peer, None)
        if state is None:
            return
        for topic in list(state.topics.values()):
            self._unsubscribe(state, topic)
        if state.out is not None:
            state.out = None
            self._state.pending.remove(state)

    # ---- our topics

    def join(self, topic: str, now: float) -> None:
        """Want the messages of a topic."""
        if topic not in self._state.joined:
            joined = self._state.topic(topic)
            joined.mesh = {}
            self._state.joined[topic] = joined

    def leave(self, topic: str, now: float) -> None:
        """Want the messages of a topic no more."""
        left = self._state.joined.pop(topic, None)
        if left is not None:
            left.mesh = None
            self._state.forget_if_empty(left)

    # ---- what peers say

    def allows(self, peer: PeerId, now: float) -> Allow:
        """Return how much of an RPC of `peer` will count, so that the driver need not look at the rest."""
        state = self._peers.get(peer)
        return Allow.NOTHING if state is None or state.graylisted else Allow.ALL

    def receive(self, peer: PeerId, rpc: Rpc, now: float) -> list[Message]:
        """Take an RPC whose messages have their ids; return the messages that must be validated."""
        state = self._peers.get(peer)
        if state is None:
            self._counts.strangers += 1
            return []
        if rpc.subscriptions:
            self._subscriptions(state, rpc.subscriptions)
        state.greeted = True
        if not rpc.messages:
            return []
        return [message for message in rpc.messages if self._is_new(state, message, now)]

    def _subscriptions(self, peer: PeerState, subscriptions: list[Subscription]) -> None:
        for subscription in subscriptions:
            known = peer.topics.get(subscription.topic)
            if not subscription.subscribe:
                if known is not None:
                    self._unsubscribe(peer, known)
            elif known is None:
                self._subscribe(peer, subscription.topic)

    def _subscribe(self, peer: PeerState, name: str) -> None:
        if len(peer.topics) >= self._config.max_topics_per_peer:
            self._counts.topics_refused += 1
            return
        topic = self._state.topic(name)
        peer.topics[name] = topic
        topic.subscribers[peer] = None
        if not peer.mesh_capable:
            topic.always[peer] = None
        self._state.events.append(PeerSubscribed(peer.id, name))

    def _unsubscribe(self, peer: PeerState, topic: TopicState) -> None:
        del peer.topics[topic.name]
        del topic.subscribers[peer]
        topic.always.pop(peer, None)
        self._state.forget_if_empty(topic)
        self._state.events.append(PeerUnsubscribed(peer.id, topic.name))

    def _is_new(self, peer: PeerState, message: Message, now: float) -> bool:
        counts = self._counts
        counts.received += 1
        topic = self._topics.get(message.topic)
        if topic is None or topic.mesh is None:
            counts.not_subscribed += 1
            return False
        message_id = message.id
        if message_id in self._seen.ids:
            counts.duplicates += 1
            return False
        under_way = self._validating.get(message_id)
        if under_way is not None:
            same = under_way.same(message)
            if same is not None or under_way.variants() >= MAX_VARIANTS:
                counts.duplicates += 1
                if same is not None:
                    same.add_source(peer)
                return False
        if self._validating.full:
            counts.throttled += 1
            return False
        message.source = peer.id
        self._validating.add(message, peer)
        return True

    # ---- verdicts

    def accept(self, message: Message, now: float) -> list[PeerId]:
        """Take a valid message; return the peers to forward it to."""
        validation = self._validating.pop(message)
        if validation is None or not self._seen.add(message.id, now):
            return []
        self._counts.accepted += 1
        return self._recipients(message, validation.sources)

    def reject(self, message: Message, reason: RejectReason, now: float) -> None:
        """Take an invalid message: all who sent it are charged. A forgery does not hide the message it imitates."""
        if self._validating.pop(message) is None:
            return
        self._counts.rejected += 1
        if reason is RejectReason.VALIDATION_FAILED:
            self._seen.add(message.id, now)

    def ignore(self, message: Message, reason: RejectReason, now: float) -> None:
        """Drop a message without blame; it may come again unless a validator has decided on it."""
        if self._validating.pop(message) is None:
            return
        self._counts.ignored += 1
        if reason is RejectReason.VALIDATION_IGNORED:
            self._seen.add(message.id, now)

    # ---- ours

    def publish(self, message: Message, now: float) -> list[PeerId]:
        """Take a message of ours; return the peers to send it to; none if its id was seen before."""
        if not self._seen.add(message.id, now):
            return []
        self._counts.published += 1
        return self._recipients(message, [])

    def _recipients(self, message: Message, sources: list[PeerState]) -> list[PeerId]:
        topic = self._topics.get(message.topic)
        if topic is None:
            return []
        author = message.author
        return [peer.id for peer in topic.subscribers if peer not in sources and peer.key != author]

    def dropped(self, message_id: bytes, peer: PeerId, now: float) -> None:
        """Note that a copy found no place in the queue of `peer`, to offer it by IHAVE at the next heartbeat."""
        self._counts.dropped += 1

    # ---- time

    def next_deadline(self) -> float:
        """Return when `handle_deadline` is due."""
        return self._next_heartbeat

    def handle_deadline(self, now: float) -> None:
        """Do what is due: the heartbeat."""
        if now < self._next_heartbeat:
            return
        interval = self._config.heartbeat_interval
        # Missed heartbeats are not made up for: they would all see the same state.
        self._next_heartbeat = max(self._next_heartbeat + interval, now + interval / 2)
        self._seen.expire(now)

    # ---- what comes out

    def take_outgoing(self) -> dict[PeerId, Outgoing]:
        """Return what is to be sent to each peer besides messages, once."""
        return self._state.take_outgoing()

    def take_events(self) -> list[CoreEvent]:
        """Return what happened since the last call, once."""
        return self._state.take_events()

    # ---- what there is

    def mesh(self, topic: str) -> list[PeerId]:
        """Return the peers of our mesh of a topic."""
        found = self._topics.get(topic)
        return [peer.id for peer in (found and found.mesh) or ()]

    def fanout(self, topic: str) -> list[PeerId]:
        """Return the peers we send to in a topic that we have not joined."""
        found = self._topics.get(topic)
        return [peer.id for peer in (found and found.fanout) or ()]

    def topic_peers(self, topic: str) -> list[PeerId]:
        """Return the peers that subscribed to a topic."""
        found = self._topics.get(topic)
        return [peer.id for peer in found.subscribers] if found is not None else []

    def score(self, peer: PeerId) -> float:
        """Return the score of a peer as of the last heartbeat or offence; 0 if unknown."""
        state = self._peers.get(peer)
        return state.score if state is not None else 0.0

    def counts(self) -> dict[str, int]:
        """Return how often things happened since the core began, by name."""
        return self._counts.as_dict()
