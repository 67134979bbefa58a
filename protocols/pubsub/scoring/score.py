"""The peer score, P1 to P7 (gossipsub v1.1, "Peer Scoring")."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .colocation import Colocation
from .config import ScoreConfig
from .decay import DecayClock, Retained, faded
from .deliveries import Deliveries, Status
from .topic_counters import TopicCounters

if TYPE_CHECKING:
    from peerstack.stack.identity import PeerId


@dataclass(frozen=True, slots=True)
class TopicScoreSnapshot:
    """A peer's counters in one topic, and the points they amount to before the cap on all topics."""

    in_mesh: bool
    time_in_mesh: float
    first_deliveries: float
    mesh_deliveries: float
    mesh_failures: float
    invalid: float
    points: float


@dataclass(frozen=True, slots=True)
class ScoreSnapshot:
    """A peer's score and the points of each part; `score` is the sum of the other numbers."""

    score: float
    topic_points: float
    application_points: float
    colocation_points: float
    behaviour_points: float
    connected: bool
    topics: Mapping[str, TopicScoreSnapshot]


class _Record:
    """What is known of one peer."""

    __slots__ = ("behaviour", "keys", "points", "stale", "topics")

    def __init__(self) -> None:
        self.topics: dict[str, TopicCounters] = {}
        self.keys: tuple[str, ...] = ()
        """Where the peer counts for colocation."""
        self.behaviour = 0.0
        self.points = 0.0
        """Of topics and behaviour, unless `stale`."""
        self.stale = False


class PeerScore:
    """The scores of all peers. Times are seconds from any origin; unknown peers score 0 and cannot be charged."""

    def __init__(self, config: ScoreConfig, now: float) -> None:
        self._config = config
        self._topics = config.topics
        self._colocation = Colocation(
            config.colocation_threshold, config.colocation_allowed, config.colocation_private_factor
        )
        self._deliveries = Deliveries(config.delivery_ttl, config.max_deliveries)
        self._clock = DecayClock(config.decay_interval, now)
        self._connected: dict[PeerId, _Record] = {}
        self._retained: Retained[PeerId, _Record] = Retained(config.retain, config.max_retained)

    @property
    def config(self) -> ScoreConfig:
        """The settings."""
        return self._config

    # ---- peers

    def add_peer(self, peer: PeerId, ips: Iterable[str], now: float) -> None:
        """Begin to score `peer`, or go on with the score retained of it; `ips` as for `set_ips`."""
        if peer not in self._connected:
            self._connected[peer] = self._retained.take(peer, now) or _Record()
        self.set_ips(peer, ips)

    def remove_peer(self, peer: PeerId, now: float) -> None:
        """Forget a peer that is gone, or retain its score unless that is positive.

        A retained score does not fade; P2 is void, and leaving the mesh now counts as being pruned. The peer no
        longer counts for the colocation of others.
        """
        record = self._connected.get(peer)
        if record is None:
            return
        positive = self.score(peer) > 0
        del self._connected[peer]
        self._colocation.remove(record.keys)
        if positive:
            return
        record.keys = ()
        for counters in record.topics.values():
            counters.first = 0.0
            counters.leave_mesh()
        record.stale = True
        self._retained.keep(peer, record, now)

    def set_ips(self, peer: PeerId, ips: Iterable[str]) -> None:
        """Set from which IP addresses `peer` is connected: none for a relayed connection, whose IP is the relay's."""
        record = self._connected.get(peer)
        if record is not None:
            self._colocation.remove(record.keys)
            record.keys = self._colocation.keys(ips)
            self._colocation.add(record.keys)

    # ---- the mesh

    def graft(self, peer: PeerId, topic: str, now: float) -> None:
        """Note that `peer` is in our mesh of `topic` from now on."""
        counters = self._counters(peer, topic)
        if counters is not None:
            counters.enter_mesh(now)

    def prune(self, peer: PeerId, topic: str) -> None:
        """Note that `peer` has left our mesh of `topic`, for whatever reason."""
        counters = self._counters(peer, topic)
        if counters is not None:
            counters.leave_mesh()

    # ---- messages: `validate`, then exactly one result; `duplicate` for each further copy, at any time

    def validate(self, message_id: bytes, topic: str, now: float) -> None:
        """Note that a message goes into validation: from now on other peers that send it are remembered."""
        if self._topics.get(topic, self._config.default_topic) is not None:
            self._deliveries.begin(message_id, now)

    def deliver(self, message_id: bytes, topic: str, source: PeerId | None, now: float) -> None:
        """Credit a valid message to `source` (None: published here) and to all peers that sent it during validation."""
        delivery = self._deliveries.get(message_id)
        if delivery is not None and delivery.status is not Status.PENDING:
            return
        if source is not None:
            counters = self._counters(source, topic)
            if counters is not None:
                counters.count_first()
        if delivery is None:
            return
        config = self._topics.get(topic, self._config.default_topic)
        if config is None or not config.counts_mesh_deliveries:
            self._deliveries.forget(message_id)
            return
        delivery.status = Status.VALID
        delivery.counts_until = now + config.mesh_deliveries_window
        for peer in delivery.peers:
            if peer != source:
                self._count_mesh(peer, topic)
        if source is not None:
            delivery.note(source)

    def duplicate(self, message_id: bytes, topic: str, peer: PeerId, now: float) -> None:
        """Credit or charge `peer` with a message that another peer (or itself) delivered before."""
        delivery = self._deliveries.get(message_id)
        if delivery is None:
            return
        status = delivery.status
        if status is Status.PENDING:
            delivery.note(peer)
        elif status is Status.VALID:
            if now <= delivery.counts_until and delivery.note(peer):
                self._count_mesh(peer, topic)
        elif status is Status.INVALID:
            self._count_invalid(peer, topic)

    def reject(self, message_id: bytes, topic: str, source: PeerId | None, now: float) -> None:
        """Penalise `source` and all that sent or will send an invalid message (a validator's REJECT)."""
        if self._topics.get(topic, self._config.default_topic) is None:
            return
        delivery = self._deliveries.begin(message_id, now)
        if source is not None:
            delivery.note(source)
        delivery.status = Status.INVALID
        for peer in delivery.peers:
            self._count_invalid(peer, topic)
        delivery.forget_peers()

    def refuse(self, message_id: bytes, topic: str, source: PeerId) -> None:
        """Penalise `source` alone for a message whose id cannot be trusted (signature, author, forged origin).

        The id is free again: others may have the true message of that id.
        """
        self._deliveries.forget(message_id)
        self._count_invalid(source, topic)

    def ignore(self, message_id: bytes) -> None:
        """Drop a message without credit or penalty (a validator's IGNORE, a full queue)."""
        delivery = self._deliveries.get(message_id)
        if delivery is not None and delivery.status is Status.PENDING:
            self._deliveries.forget(message_id)

    # ---- scores

    def penalise(self, peer: PeerId, count: float = 1.0) -> None:
        """Count breaches of the protocol by `peer` (P7): grafts within the backoff, broken promises."""
        record = self._record(peer)
        if record is not None:
            record.behaviour += count
            record.stale = True

    def score(self, peer: PeerId) -> float:
        """Return the score of `peer` as of the last event; 0 if unknown. Time in the mesh grows at `decay` only."""
        record = self._connected.get(peer) or self._retained.get(peer)
        if record is None:
            return 0.0
        if record.stale:
            record.points = self._topic_points(record) + self._behaviour_points(record)
            record.stale = False
        score = record.points
        if self._config.application_score is not None:
            score += self._application_points(peer)
        if record.keys:
            score += self._colocation_points(record)
        return score

    def snapshot(self, peer: PeerId) -> ScoreSnapshot | None:
        """Return the parts of the score of `peer`; None if unknown."""
        record = self._record(peer)
        if record is None:
            return None
        return ScoreSnapshot(
            score=self.score(peer),
            topic_points=self._topic_points(record),
            application_points=self._application_points(peer),
            colocation_points=self._colocation_points(record),
            behaviour_points=self._behaviour_points(record),
            connected=peer in self._connected,
            topics={topic: _snapshot_of(counters) for topic, counters in record.topics.items()},
        )

    def decay(self, now: float) -> None:
        """Let the counters fade by the intervals that have passed, if any, and forget what has expired."""
        steps = self._clock.due(now)
        if not steps:
            return
        for record in self._connected.values():
            self._decay(record, steps, now)
        self._retained.expire(now)
        self._deliveries.expire(now)

    @property
    def retained(self) -> int:
        """Scores kept of disconnected peers."""
        return len(self._retained)

    @property
    def deliveries(self) -> int:
        """Messages remembered."""
        return len(self._deliveries)

    # ---- inside

    def _record(self, peer: PeerId) -> _Record | None:
        return self._connected.get(peer) or self._retained.get(peer)

    def _counters(self, peer: PeerId, topic: str) -> TopicCounters | None:
        """Return the counters for the caller to change, or None if peer or topic are not scored."""
        record = self._connected.get(peer) or self._retained.get(peer)
        if record is None:
            return None
        counters = record.topics.get(topic)
        if counters is None:
            config = self._topics.get(topic, self._config.default_topic)
            if config is None:
                return None
            counters = record.topics[topic] = TopicCounters(config)
        record.stale = True
        return counters

    def _count_mesh(self, peer: PeerId, topic: str) -> None:
        counters = self._counters(peer, topic)
        if counters is not None:
            counters.count_mesh()

    def _count_invalid(self, peer: PeerId, topic: str) -> None:
        counters = self._counters(peer, topic)
        if counters is not None:
            counters.invalid += 1

    def _decay(self, record: _Record, steps: int, now: float) -> None:
        to_zero = self._config.decay_to_zero
        if record.behaviour:
            record.behaviour = faded(record.behaviour, self._config.behaviour_decay, steps, to_zero)
            record.stale = True
        idle = False
        for counters in record.topics.values():
            counters.decay(steps, to_zero, now)
            idle = idle or counters.idle
            record.stale = True
        if idle:
            record.topics = {topic: counters for topic, counters in record.topics.items() if not counters.idle}

    def _topic_points(self, record: _Record) -> float:
        points = sum((counters.points() for counters in record.topics.values()), 0.0)
        cap = self._config.topic_score_cap
        return min(points, cap) if cap else points

    def _behaviour_points(self, record: _Record) -> float:
        excess = record.behaviour - self._config.behaviour_threshold
        return excess * excess * self._config.behaviour_weight if excess > 0 else 0.0

    def _colocation_points(self, record: _Record) -> float:
        return self._colocation.surplus(record.keys) * self._config.colocation_weight

    def _application_points(self, peer: PeerId) -> float:
        application_score = self._config.application_score
        if application_score is None:
            return 0.0
        points = application_score(peer)
        if not math.isfinite(points):
            raise ValueError(f"application_score must return finite numbers, but returned {points} for {peer}")
        return points * self._config.application_weight


def _snapshot_of(counters: TopicCounters) -> TopicScoreSnapshot:
    return TopicScoreSnapshot(
        in_mesh=counters.in_mesh,
        time_in_mesh=counters.mesh_time,
        first_deliveries=counters.first,
        mesh_deliveries=counters.mesh,
        mesh_failures=counters.failures,
        invalid=counters.invalid,
        points=counters.points(),
    )
