"""The gossipsub router without I/O: RPCs and validation results in; recipients, control, events and a deadline out.

The driver decodes and validates. It calls `add_peer`, feeds `receive`, answers each message that returns with exactly
one of `accept`, `reject` and `ignore`, and after every call sends what `take_outgoing` returns. Times are seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scoring.gater import PeerGater
from ..scoring.thresholds import ScoreThresholds
from ..validation.outcomes import ValidationOutcomes
from ..validation.pending import PendingValidations
from .events import AcceptStatus, Outgoing, RouterEvent, RouterStatistics, Version
from .fanout import Fanout
from .gossip import Gossip
from .membership import Membership
from .mesh import Mesh
from .message_cache import MessageCache, SeenCache
from .state import PeerState, RouterState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

    from peerstack.stack.identity import PeerId

    from ..scoring.config import ScoreConfig
    from ..scoring.gater import GaterConfig
    from ..scoring.score import ScoreSnapshot
    from ..validation.outcomes import RejectReason
    from ..wire import Extensions, Message, Rpc
    from .config import GossipConfig

BACKOFF_TICKS = 15
"""Heartbeats from one clean-up of backoffs to the next (as in go): there are many, and none is urgent."""


class GossipsubRouter:
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
        self._state = state = RouterState(peer_id, config, random)
        self._direct = dict.fromkeys(direct)
        self._seen = SeenCache(config.seen_ttl, config.seen_limit, now)
        self._pending = PendingValidations(config.max_validating)
        self._cache = MessageCache(
            config.history_length, config.history_gossip, config.cache_messages, config.cache_bytes
        )
        self._thresholds = ScoreThresholds(state, score, now)
        self._gater = PeerGater(gater, random, now) if gater is not None else None
        self._mesh = Mesh(state, self._thresholds, self._cache)
        self._fanout = Fanout(state, self._thresholds)
        self._membership = Membership(state, self._mesh)
        self._gossip = Gossip(state, self._thresholds, self._cache, self._seen, self._pending)
        self._outcomes = ValidationOutcomes(
            state, self._thresholds, self._gater, self._seen, self._pending, self._gossip
        )
        self._next_heartbeat = now + config.heartbeat_initial_delay

    # ---- peers

    def add_peer(self, peer: PeerId, version: Version, *, outbound: bool, ips: Sequence[str], now: float) -> None:
        """Add a peer that speaks `version`, or update it; `outbound`: we dialed it.

        Call it before the first `receive` of this peer. The driver sends the hello: subscriptions, and extensions.
        """
        state = self._state.peers.get(peer)
        if state is None:
            state = self._state.peers[peer] = PeerState(peer, direct=peer in self._direct)
            if self._thresholds.scores is not None:
                self._thresholds.scores.add_peer(peer, ips, now)
            if self._gater is not None:
                self._gater.add_peer(peer, ips, now)
        elif self._thresholds.scores is not None:
            self._thresholds.scores.set_ips(peer, ips)
        state.outbound = outbound
        state.version = Version.FLOODSUB if self._config.floodsub_only else version
        self._classify(state)
        self._thresholds.refresh(state)

    def remove_peer(self, peer: PeerId, now: float) -> None:
        """Remove a peer. Its backoffs and, unless it is positive, its score are kept for a while."""
        if (state := self._state.peers.pop(peer, None)) is None:
            return
        self._membership.leave_all(state)
        self._state.cancel_outgoing(state)
        if self._thresholds.scores is not None:
            self._thresholds.scores.remove_peer(peer, now)
        if self._gater is not None:
            self._gater.remove_peer(peer, now)

    def stream_reopened(self, peer: PeerId) -> None:
        """Note that a peer began a new stream to us, whose first RPC may carry extensions again."""
        if (state := self._state.peers.get(peer)) is not None:
            state.greeted = False
            state.extensions = None

    def set_record(self, peer: PeerId, record: bytes | None) -> None:
        """Keep the signed peer record of a peer, to be suggested with it where peer exchange is on."""
        if (state := self._state.peers.get(peer)) is not None:
            state.record = record

    def _classify(self, peer: PeerState) -> None:
        peer.supports_idontwant = peer.version >= Version.V12
        peer.mesh_capable = peer.version > Version.FLOODSUB and not peer.direct
        self._membership.reclassify(peer)

    # ---- our topics

    def join(self, topic: str, now: float) -> None:
        """Join a topic."""
        if topic in self._state.joined:
            return
        joined = self._state.topic(topic)
        self._state.joined[topic] = joined
        self._mesh.join(joined, now)
        self._fanout.end(joined)

    def leave(self, topic: str, now: float) -> None:
        """Leave a topic."""
        if (left := self._state.joined.pop(topic, None)) is not None:
            self._mesh.leave(left, now)
            self._state.forget_if_empty(left)

    # ---- received RPCs

    def accept_from(self, peer: PeerId, now: float) -> AcceptStatus:
        """Return how much of an RPC of `peer` will count, so that the driver need not look at the rest.

        The driver drops the messages itself unless it is ALL; call it once for each RPC: the gater is random.
        """
        state = self._state.peers.get(peer)
        if state is None or state.graylisted:
            return AcceptStatus.NONE
        if self._gater is not None and not state.direct and not self._gater.accepts(peer, now):
            self._state.counts.throttled += 1
            return AcceptStatus.CONTROL
        return AcceptStatus.ALL

    def receive(self, peer: PeerId, rpc: Rpc, now: float) -> list[Message]:
        """Handle an RPC whose messages have their ids; return the messages that must be validated."""
        state = self._state.peers.get(peer)
        if state is None:
            self._state.counts.unknown_peers += 1
            return []
        if rpc.subscriptions:
            self._membership.update(state, rpc.subscriptions)
        if rpc.extensions is not None or not state.greeted:
            self._handle_first_rpc(state, rpc.extensions)
        if state.graylisted:
            self._state.counts.graylisted += 1
            return []
        has_control = rpc.idontwant or rpc.ihave or rpc.iwant or rpc.graft or rpc.prune
        if has_control and state.version is not Version.FLOODSUB:
            self._handle_control(state, rpc, now)
        if not rpc.messages:
            return []
        is_new = self._outcomes.is_new
        return [message for message in rpc.messages if is_new(state, message, now)]

    def _handle_first_rpc(self, peer: PeerState, extensions: Extensions | None) -> None:
        if extensions is not None and peer.version >= Version.V13:
            if peer.greeted:
                self._thresholds.penalise(peer, 1, "extensions outside the first RPC")
            else:
                peer.extensions = extensions
        peer.greeted = True

    def _handle_control(self, peer: PeerState, rpc: Rpc, now: float) -> None:
        fair = peer.score >= self._thresholds.gossip_threshold or peer.direct
        if rpc.idontwant:
            self._gossip.handle_idontwant(peer, rpc.idontwant)
        if rpc.ihave and fair:
            self._gossip.handle_ihave(peer, rpc.ihave, now)
        if rpc.iwant and fair:
            self._gossip.handle_iwant(peer, rpc.iwant, now)
        if rpc.graft:
            self._membership.imply(peer, rpc.graft)
            self._mesh.handle_graft(peer, rpc.graft, now)
        if rpc.prune:
            self._mesh.handle_prune(peer, rpc.prune, now)

    def set_lag(self, lag: float) -> None:
        """Set how old what the driver has not read yet may be, in seconds: ids are remembered that much longer."""
        self._seen.lag = lag

    # ---- validation results

    def accept(self, message: Message, now: float, *, stale: bool = False) -> list[PeerId]:
        """Take a valid message; return the peers to forward it to.

        One that is `stale` is neither forwarded nor offered: others may have forgotten that they know it.
        """
        sources = self._outcomes.accept(message, now)
        if sources is None:
            return []
        if stale:
            self._state.counts.stale += 1
            return []
        self._cache.put(message)
        topic = self._state.joined.get(message.topic)
        if topic is None or topic.mesh is None:
            return []
        recipients = self._choose(message, topic.mesh, sources)
        if topic.always:
            recipients += self._choose(message, self._fair(topic.always), sources)
        self._state.counts.forwarded += len(recipients)
        return recipients

    def reject(self, message: Message, reason: RejectReason, now: float) -> None:
        """Take an invalid message: all peers that sent it are charged. A forgery does not hide the message it imitates.

        A message that was never given to `receive`, since it is not even well formed, charges its `source`.
        """
        self._outcomes.reject(message, reason, now)

    def misbehaved(self, peer: PeerId, reason: str) -> None:
        """Charge a peer with a breach of the protocol that the driver found (P7)."""
        if (state := self._state.peers.get(peer)) is not None:
            self._thresholds.penalise(state, 1, reason)

    def ignore(self, message: Message, reason: RejectReason, now: float) -> None:
        """Drop a message without a penalty; it may come again unless a validator has decided."""
        self._outcomes.ignore(message, reason, now)

    # ---- ours

    def publish(self, message: Message, now: float) -> list[PeerId] | None:
        """Take a message of ours; return the peers to send it to, or None if its id was seen before.

        While it goes to no peer its id is not seen: the same content may be published again. It can be fetched by
        gossip, and is seen as soon as a peer does.
        """
        if not self._outcomes.is_unpublished(message.id):
            return None
        self._cache.put(message)
        recipients = self._recipients(message, now)
        self._outcomes.publish(message, now, reaches=bool(recipients))
        self._state.counts.forwarded += len(recipients)
        return recipients

    def unpublish(self, message_id: bytes) -> None:
        """Note that a message of ours was dropped for every peer after all: it may be published again."""
        self._outcomes.unpublish(message_id)

    def _recipients(self, message: Message, now: float) -> list[PeerId]:
        if (topic := self._state.topics.get(message.topic)) is None:
            return []
        if self._config.flood_publish:
            return self._choose(message, self._fair(topic.subscribers), [])
        peers = topic.mesh if topic.mesh is not None else self._fanout.peers(topic, now)
        return self._choose(message, peers, []) + self._choose(message, self._fair(topic.always), [])

    def _fair(self, peers: Iterable[PeerState]) -> list[PeerState]:
        threshold = self._thresholds.publish_threshold
        return [peer for peer in peers if peer.score >= threshold or peer.direct]

    def _choose(self, message: Message, peers: Iterable[PeerState], sources: list[PeerState]) -> list[PeerId]:
        author, message_id = message.author, message.id
        chosen = []
        for peer in peers:
            if peer in sources or peer.key == author:
                continue
            if message_id in peer.dontwant:
                self._state.counts.saved += 1
                continue
            chosen.append(peer.id)
        return chosen

    def knows(self, message_id: bytes) -> bool:
        """Return whether a message with this id was decided."""
        return message_id in self._seen

    def was_asked(self, message_id: bytes) -> bool:
        """Return whether a message was asked for by IWANT; call it once for each message."""
        return self._gossip.was_asked(message_id)

    def wants(self, peer: PeerId, message_id: bytes) -> bool:
        """Return whether a copy that still waits in the queue of `peer` is worth sending."""
        state = self._state.peers.get(peer)
        return state is None or message_id not in state.dontwant

    def dropped(self, message_id: bytes, peer: PeerId, now: float) -> None:
        """Note that a copy did not fit into the queue of `peer`, to offer it by IHAVE at the next heartbeat."""
        self._state.counts.dropped += 1
        state = self._state.peers.get(peer)
        message = self._cache.get(message_id)
        if state is not None and message is not None and len(state.dropped) < self._config.max_dropped_ids:
            state.dropped[message_id] = message.topic

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
        self._heartbeat(now)

    def _heartbeat(self, now: float) -> None:
        state = self._state
        state.ticks += 1
        if state.ticks % BACKOFF_TICKS == 0:
            self._mesh.backoffs.expire(now)
        for peer in state.peers.values():
            self._gossip.next_tick(peer)
        self._gossip.punish_broken_promises(now)
        self._thresholds.refresh_all()
        for topic in state.joined.values():
            if topic.mesh is not None:
                self._mesh.maintain(topic, now)
                self._gossip.emit(topic, topic.mesh)
        self._fanout.maintain(now)
        for topic in state.fanouts.values():
            if topic.fanout is not None:
                self._gossip.emit(topic, topic.fanout)
        self._cache.shift()
        self._seen.expire(now)
        if self._thresholds.scores is not None:
            self._thresholds.scores.decay(now)
        if self._gater is not None:
            self._gater.decay(now)

    # ---- output

    def take_outgoing(self) -> dict[PeerId, Outgoing]:
        """Return what is to be sent to each peer besides messages, once."""
        return self._state.take_outgoing()

    def take_events(self) -> list[RouterEvent]:
        """Return what happened since the last call, once."""
        return self._state.take_events()

    # ---- inspection

    def mesh(self, topic: str) -> list[PeerId]:
        """Return the peers of our mesh of a topic."""
        found = self._state.topics.get(topic)
        return [peer.id for peer in (found and found.mesh) or ()]

    def fanout(self, topic: str) -> list[PeerId]:
        """Return the peers we send to in a topic that we have not joined."""
        found = self._state.topics.get(topic)
        return [peer.id for peer in (found and found.fanout) or ()]

    def topic_peers(self, topic: str) -> list[PeerId]:
        """Return the peers that subscribed to a topic."""
        found = self._state.topics.get(topic)
        return [peer.id for peer in found.subscribers] if found is not None else []

    def topics_of(self, peer: PeerId) -> list[str]:
        """Return the topics a peer subscribed to."""
        state = self._state.peers.get(peer)
        return list(state.topics) if state is not None else []

    def topics_refused(self, peer: PeerId) -> int:
        """Return how many subscriptions of a peer were ignored, since it has too many."""
        state = self._state.peers.get(peer)
        return state.topics_refused if state is not None else 0

    def extensions(self, peer: PeerId) -> Extensions | None:
        """Return what a peer said of its extensions (v1.3); None if nothing."""
        state = self._state.peers.get(peer)
        return state.extensions if state is not None else None

    def score(self, peer: PeerId) -> float:
        """Return the score of a peer as of the last heartbeat or offence; 0 if unknown."""
        state = self._state.peers.get(peer)
        if state is not None:
            return state.score
        return self._thresholds.scores.score(peer) if self._thresholds.scores is not None else 0.0

    def score_snapshot(self, peer: PeerId) -> ScoreSnapshot | None:
        """Return what the score of a peer is made of; None if it is not scored."""
        return self._thresholds.scores.snapshot(peer) if self._thresholds.scores is not None else None

    def counts(self) -> dict[str, int]:
        """Return the router's counters by name."""
        return self._state.counts.as_dict()

    def statistics(self) -> RouterStatistics:
        """Return how much the router remembers, and how often things happened."""
        return RouterStatistics(
            peers=len(self._state.peers),
            topics=len(self._state.topics),
            meshes={name: len(topic.mesh or ()) for name, topic in self._state.joined.items()},
            fanouts={name: len(topic.fanout or ()) for name, topic in self._state.fanouts.items()},
            seen=len(self._seen),
            validating=len(self._pending),
            cached=len(self._cache),
            cached_bytes=self._cache.size,
            promises=len(self._gossip.promises),
            backoffs=len(self._mesh.backoffs),
            counts=self.counts(),
        )
