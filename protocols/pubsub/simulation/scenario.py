"""What is simulated: the nodes, their latencies, the messages, the attack, and the score settings that suit them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from ..router.config import GossipConfig
from ..router.events import Version
from ..scoring.config import ScoreConfig, TopicScoreConfig
from ..scoring.decay import decay_factor

TOPIC = "simulation"

MEMORY = 65.0
"""Messages of the topic that a count of deliveries remembers. With fewer, honest peers would be penalised by chance."""
LEAST_SHARE = 0.1
"""Of the messages of a topic, the share that a mesh peer must deliver. A copy that crosses ours counts too: an honest
peer delivers about half of them or more, and hardly one less than a quarter."""
DEFICIT = 100.0
"""Points that a peer loses if it delivers nothing: far more than the points that a peer can earn."""
SILENCE = 15.0
"""Seconds without any message that a peer may have behind it when its deliveries begin to be counted."""


class Protocol(StrEnum):
    """The version of gossipsub that all honest nodes speak."""

    V10 = "1.0"
    V11 = "1.1"
    V12 = "1.2"

    @property
    def version(self) -> Version:
        """What the routers call it."""
        return {Protocol.V10: Version.V10, Protocol.V11: Version.V11, Protocol.V12: Version.V12}[self]


class Attack(StrEnum):
    """What the sybils do; all but the first are after the GossipSub 1.1 evaluation report (2020)."""

    NONE = "none"
    """There are no sybils."""
    SYBIL = "sybil"
    """They join with all others, graft every peer and forward nothing ("cold boot")."""
    SPAM = "spam"
    """The same, and peers that prune them get a GRAFT every second."""
    ECLIPSE = "eclipse"
    """In the middle of the run they connect to one node only, the victim, and forward nothing."""
    CENSOR = "censor"
    """In the middle of the run they connect to all, and forward everything but the messages of one author."""
    FLASH = "flash"
    """They join with all others and behave; in the middle of the run all stop forwarding at once."""

    @property
    def late(self) -> bool:
        """Whether the sybils come, or turn, in the middle of the run."""
        return self in (Attack.ECLIPSE, Attack.CENSOR, Attack.FLASH)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A simulation; the same scenario always gives the same run. Times are seconds. ValueError if invalid."""

    nodes: int = 1000
    """Honest nodes, all in one topic."""
    seed: int = 1
    """Where all that is random comes from."""
    messages: int = 60
    """Messages published, one after the other."""
    sources: int = 5
    """Nodes that publish; each message comes from a random one of them."""
    interval: float = 1.0
    """From one message to the next."""
    size: int = 256
    """Bytes of payload of a message."""
    warm_up: float = 10.0
    """Before the first message."""
    linger: float = 10.0
    """After the last message."""

    connections: int = 20
    """Other nodes that each node dials, at random; about as many dial it."""
    latency: tuple[float, float] = (0.010, 0.150)
    """The least and the greatest latency of a connection, one way; drawn evenly for each."""
    jitter: float = 0.1
    """What a frame takes on top of the latency at most, as a share of it; drawn evenly for each frame."""
    bandwidth: float = inf
    """Bytes per second of each direction of a connection."""
    loss: float = 0.0
    """Probability that a frame must be sent again, each time; it and all behind it come later."""

    protocol: Protocol = Protocol.V10
    """What the honest nodes speak."""
    scored: bool = True
    """Whether they score their peers, from version 1.1 on."""

    attack: Attack = Attack.NONE
    """What the sybils do."""
    sybils: int = 0
    """How many there are, each with an address of its own."""
    sybil_connections: int = 20
    """Honest nodes that each sybil dials, at random; in an eclipse only the victim."""

    def __post_init__(self) -> None:
        if not 2 <= self.nodes <= 100_000 or not 0 <= self.sybils <= 100_000:
            raise ValueError("there must be 2 to 100000 nodes, and at most 100000 sybils")
        if not 1 <= self.sources <= self.nodes:
            raise ValueError(f"{self.sources} sources cannot be among {self.nodes} nodes")
        if self.messages < 1 or self.size < 0 or self.connections < 1 or self.sybil_connections < 1:
            raise ValueError("there must be at least one message, and one connection of each node")
        if not 0 <= self.latency[0] <= self.latency[1] < inf or not 0 <= self.jitter < inf:
            raise ValueError("latencies go from the least to the greatest, and are not negative, nor is the jitter")
        if not self.bandwidth > 0 or not 0 <= self.loss < 1:
            raise ValueError("bandwidth must be above 0, and loss below 1")
        if not 0 < self.interval < inf or not 0 <= self.warm_up < inf or not 0 <= self.linger < inf:
            raise ValueError("there must be time between messages, and none of the times is negative or endless")
        if (self.attack is Attack.NONE) != (self.sybils == 0):
            raise ValueError("an attack needs sybils, and sybils need an attack")

    @property
    def ends(self) -> float:
        """When it is over."""
        return self.warm_up + self.messages * self.interval + self.linger

    @property
    def attack_at(self) -> float:
        """When the attack begins, as far as it can be felt: messages from then on are the affected ones."""
        if self.attack.late:
            return self.warm_up + self.messages // 3 * self.interval
        return self.warm_up

    @property
    def last_quarter(self) -> float:
        """When the last quarter of the messages begins."""
        return self.warm_up + (self.messages - self.messages // 4) * self.interval

    @property
    def gossip(self) -> GossipConfig:
        """The settings of the routers."""
        return GossipConfig.version_10() if self.protocol is Protocol.V10 else GossipConfig()

    @property
    def score(self) -> ScoreConfig | None:
        """How peers are scored; v1.0 knows no scores."""
        if self.protocol is Protocol.V10 or not self.scored:
            return None
        return score_config(1 / self.interval)


def score_config(rate: float) -> ScoreConfig:
    """Return settings for a topic with `rate` messages per second in all; if it varies, the least there ever are.

    They follow those of the GossipSub 1.1 evaluation report (2020): a peer that delivers too little leaves the mesh
    (P3) and does not return soon (P3b), but loses no more than that: graylisting is for peers that break rules (P4,
    P7). P6 is off, since all sybils have addresses of their own.
    """
    if not rate > 0:
        raise ValueError(f"a topic must have messages to be scored by them, not {rate} a second")
    # A counter that grows by `rate` and is multiplied by `decay` each second comes to rest at MEMORY.
    decay = MEMORY / (MEMORY + rate)
    threshold = LEAST_SHARE * MEMORY
    topic = TopicScoreConfig(
        weight=1.0,
        time_in_mesh_weight=0.01,
        time_in_mesh_quantum=1.0,
        time_in_mesh_cap=300.0,
        first_deliveries_weight=10.0 / MEMORY,
        first_deliveries_decay=decay,
        first_deliveries_cap=MEMORY,
        mesh_deliveries_weight=-DEFICIT / threshold**2,
        mesh_deliveries_decay=decay,
        mesh_deliveries_cap=MEMORY,
        mesh_deliveries_threshold=threshold,
        mesh_deliveries_window=0.5,
        mesh_deliveries_activation=SILENCE + 30 / rate,
        mesh_failure_weight=-DEFICIT / threshold**2,
        mesh_failure_decay=decay_factor(600.0, to_zero=0.01),
        invalid_weight=-99.0,
        invalid_decay=decay_factor(600.0, to_zero=0.01),
    )
    return ScoreConfig(
        gossip_threshold=-1000.0,
        publish_threshold=-1500.0,
        graylist_threshold=-2500.0,
        accept_px_threshold=10.0,
        opportunistic_graft_threshold=1.0,
        default_topic=topic,
        topic_score_cap=0.0,
        colocation_weight=0.0,
        behaviour_weight=-10.0,
        behaviour_threshold=6.0,
        behaviour_decay=decay_factor(120.0, to_zero=0.01),
        decay_to_zero=0.01,
    )
