"""Settings of the peer score: weights, counters and thresholds (gossipsub v1.1, "Peer Scoring")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from peerstack.stack.identity import PeerId


def _no_topics() -> Mapping[str, TopicScoreConfig]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicScoreConfig:
    """How peers are scored in one topic. A weight of 0 switches a part off; ValueError for invalid settings.

    Decays are factors applied to a counter each `ScoreConfig.decay_interval`; `decay_factor` computes them.
    """

    weight: float = 0.5
    """Factor of the whole topic in the peer's score, >= 0 (rust, js)."""
    time_in_mesh_weight: float = 0.01
    """P1, >= 0: points for each quantum in our mesh. rust and js give 1 for each millisecond, 3600 at most, which
    pays for 60 invalid messages at a time; ours gives 3 points at most."""
    time_in_mesh_quantum: float = 1.0
    """P1: seconds; whole quanta count."""
    time_in_mesh_cap: float = 300.0
    """P1: quanta at most."""
    first_deliveries_weight: float = 1.0
    """P2, >= 0: points for each valid message the peer was the first to deliver (rust, js)."""
    first_deliveries_decay: float = 0.5
    """P2: factor between 0 and 1 (rust, js)."""
    first_deliveries_cap: float = 40.0
    """P2: messages at most. rust and js allow 2000, worth 44 invalid messages at a time; ours is worth 6."""
    mesh_deliveries_weight: float = 0.0
    """P3, <= 0: for the squared deficit of messages a mesh peer delivered. Off, since it drives every peer out of a
    topic that is merely quiet; rust and js have -1."""
    mesh_deliveries_decay: float = 0.5
    """P3: factor between 0 and 1 (rust, js)."""
    mesh_deliveries_cap: float = 100.0
    """P3: messages at most (rust, js)."""
    mesh_deliveries_threshold: float = 20.0
    """P3: messages below which there is a deficit (rust, js)."""
    mesh_deliveries_window: float = 0.01
    """P3: seconds after validation in which a duplicate still counts as a delivery (rust, js)."""
    mesh_deliveries_activation: float = 5.0
    """P3: seconds in the mesh before a deficit counts, >= 1 (rust, js)."""
    mesh_failure_weight: float = 0.0
    """P3b, <= 0: for the squared deficits with which the peer left the mesh. Off as P3 is; rust and js have -1."""
    mesh_failure_decay: float = 0.5
    """P3b: factor between 0 and 1 (rust, js)."""
    invalid_weight: float = -1.0
    """P4, <= 0: for the squared number of invalid messages (rust, js)."""
    invalid_decay: float = 0.3
    """P4: factor between 0 and 1 (rust, js)."""

    @property
    def counts_mesh_deliveries(self) -> bool:
        """Whether P3 or P3b is on; if neither is, mesh deliveries are not counted, which saves time and memory."""
        return self.mesh_deliveries_weight != 0 or self.mesh_failure_weight != 0

    def __post_init__(self) -> None:
        _check_not_negative(
            weight=self.weight,
            time_in_mesh_weight=self.time_in_mesh_weight,
            first_deliveries_weight=self.first_deliveries_weight,
            mesh_deliveries_window=self.mesh_deliveries_window,
        )
        _check_penalties(
            mesh_deliveries_weight=self.mesh_deliveries_weight,
            mesh_failure_weight=self.mesh_failure_weight,
            invalid_weight=self.invalid_weight,
        )
        _check_positive(
            time_in_mesh_quantum=self.time_in_mesh_quantum,
            time_in_mesh_cap=self.time_in_mesh_cap,
            first_deliveries_cap=self.first_deliveries_cap,
            mesh_deliveries_cap=self.mesh_deliveries_cap,
            mesh_deliveries_threshold=self.mesh_deliveries_threshold,
        )
        _check_fractions(
            first_deliveries_decay=self.first_deliveries_decay,
            mesh_deliveries_decay=self.mesh_deliveries_decay,
            mesh_failure_decay=self.mesh_failure_decay,
            invalid_decay=self.invalid_decay,
        )
        _check_a_second(mesh_deliveries_activation=self.mesh_deliveries_activation)
        if self.mesh_deliveries_threshold > self.mesh_deliveries_cap:
            raise ValueError(f"mesh_deliveries_threshold is beyond mesh_deliveries_cap, {self.mesh_deliveries_cap}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """How peers are scored, and the thresholds; ValueError for invalid settings.

    The defaults are `recommended()`. Only peers of topics with a `TopicScoreConfig` are scored for what they deliver.
    """

    gossip_threshold: float = -10.0
    """Below it no gossip is exchanged with the peer, <= 0 (rust, js)."""
    publish_threshold: float = -50.0
    """Below it the peer gets no messages of ours, <= gossip_threshold (rust, js)."""
    graylist_threshold: float = -80.0
    """Below it what the peer sends is not processed, <= publish_threshold (rust, js)."""
    accept_px_threshold: float = 10.0
    """From it on suggestions of the peer (peer exchange) are used, >= 0 (rust, js)."""
    opportunistic_graft_threshold: float = 20.0
    """While the median of a mesh is below it, better peers are grafted, >= 0 (rust, js)."""
    topics: Mapping[str, TopicScoreConfig] = field(default_factory=_no_topics)
    """Topics with settings of their own."""
    default_topic: TopicScoreConfig | None = field(default_factory=TopicScoreConfig)
    """Settings of all other topics; None: they are not scored, as in go."""
    topic_score_cap: float = 30.0
    """Points that all topics together may give at most; 0 = no cap. js has 10, rust 3600. Three broken promises (P7)
    outweigh it."""
    application_score: Callable[[PeerId], float] | None = None
    """P5: points the application gives a peer, of any sign; it is called whenever a score is needed."""
    application_weight: float = 10.0
    """P5: factor (rust, js)."""
    colocation_weight: float = -5.0
    """P6, <= 0: for the squared number of peers beyond the threshold at one of the peer's addresses (rust, js)."""
    colocation_threshold: int = 64
    """P6: peers that may share an address, >= 1: as many as `Limits` let connect from one. rust and js have 10, and
    graylist all of an office when the fifteenth of it joins."""
    colocation_private_factor: int = 4
    """P6: how many times as many may share a private address, >= 1: `Limits.ips_per_private_ip`."""
    colocation_allowed: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """P6: networks whose peers may share addresses. Loopback, where go counts nothing either, since whole networks
    are tried out on one machine."""
    behaviour_weight: float = -10.0
    """P7, <= 0: for the squared number of penalties beyond the threshold (rust, js)."""
    behaviour_threshold: float = 0.0
    """P7: penalties that are forgiven, >= 0 (rust, js)."""
    behaviour_decay: float = 0.2
    """P7: factor between 0 and 1 (rust, js)."""
    decay_interval: float = 1.0
    """Seconds from one decay of the counters to the next, >= 1 (go, rust, js)."""
    decay_to_zero: float = 0.1
    """Counters below it become 0, between 0 and 1 (rust, js; go 0.01)."""
    retain: float = 3600.0
    """Seconds a score that is not positive outlives the connection; no way out by reconnecting (rust, js)."""
    max_retained: int = 10_000
    """Scores of disconnected peers kept at most; the oldest go first. Ours: peer ids cost an attacker nothing."""
    delivery_ttl: float = 120.0
    """Seconds a message is remembered for charging duplicates, as long as ids are remembered as seen (go)."""
    max_deliveries: int = 100_000
    """Messages remembered at most; the oldest go first. Ours: 800 messages a second for the whole `delivery_ttl`."""

    def __post_init__(self) -> None:
        self._check_thresholds()
        _check_not_negative(
            topic_score_cap=self.topic_score_cap, behaviour_threshold=self.behaviour_threshold, retain=self.retain
        )
        _check_penalties(colocation_weight=self.colocation_weight, behaviour_weight=self.behaviour_weight)
        _check_fractions(behaviour_decay=self.behaviour_decay, decay_to_zero=self.decay_to_zero)
        _check_a_second(decay_interval=self.decay_interval)
        _check_positive(delivery_ttl=self.delivery_ttl)
        if not math.isfinite(self.application_weight):
            raise ValueError(f"application_weight must be a finite number, not {self.application_weight}")
        if self.colocation_private_factor < 1:
            raise ValueError(f"colocation_private_factor must be at least 1, not {self.colocation_private_factor}")
        if self.colocation_threshold < 1 or self.max_deliveries < 1 or self.max_retained < 0:
            raise ValueError("colocation_threshold and max_deliveries must be at least 1, max_retained at least 0")
        for network in self.colocation_allowed:
            ip_network(network)

    def _check_thresholds(self) -> None:
        gossip, publish, graylist = self.gossip_threshold, self.publish_threshold, self.graylist_threshold
        if not 0 >= gossip >= publish >= graylist > -math.inf:
            raise ValueError(f"thresholds must be 0 >= gossip {gossip} >= publish {publish} >= graylist {graylist}")
        _check_not_negative(
            accept_px_threshold=self.accept_px_threshold,
            opportunistic_graft_threshold=self.opportunistic_graft_threshold,
        )

    @classmethod
    def recommended(cls) -> Self:
        """Return settings for topics of any traffic: penalties for harm done, none for silence."""
        return cls()

    @classmethod
    def none(cls) -> Self:
        """Return settings with which every peer scores 0, which no threshold acts on (go without peer scoring)."""
        return cls(
            gossip_threshold=0.0,
            publish_threshold=0.0,
            graylist_threshold=0.0,
            accept_px_threshold=0.0,
            opportunistic_graft_threshold=0.0,
            default_topic=None,
            colocation_weight=0.0,
            behaviour_weight=0.0,
        )

    def topic(self, name: str) -> TopicScoreConfig | None:
        """Return how topic `name` is scored; None: not at all."""
        return self.topics.get(name, self.default_topic)


# Each range is asked for by a comparison that NaN fails.


def _check_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be a finite number that is not negative, not {value}")


def _check_penalties(**weights: float) -> None:
    for name, weight in weights.items():
        if not -math.inf < weight <= 0:
            raise ValueError(f"{name} must be finite and not positive, or it would reward harm; it is {weight}")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite number above 0, not {value}")


def _check_fractions(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, not {value}")


def _check_a_second(**durations: float) -> None:
    for name, duration in durations.items():
        if not 1 <= duration < math.inf:
            raise ValueError(f"{name} must be at least 1 s, not {duration}")
