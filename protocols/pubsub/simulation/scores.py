"""A peer score for one topic whose rate of messages is known, so that silence can be charged too."""

from __future__ import annotations

from ..scoring.config import ScoreConfig, TopicScoreConfig
from ..scoring.decay import decay_factor

MEMORY = 65.0
"""Messages of the topic that a count of deliveries remembers. With fewer, chance alone would convict the innocent."""
LEAST_SHARE = 0.1
"""Of the messages of a topic, the share that a mesh peer must deliver. A copy that crosses ours counts too: an honest
peer delivers about half of them or more, and hardly one less than a quarter."""
DEFICIT = 100.0
"""Points that a peer loses if it delivers nothing: far more than the points anybody can earn."""
SILENCE = 15.0
"""Seconds without any message that a peer may have behind it when its deliveries begin to be counted."""


def score_config(rate: float) -> ScoreConfig:
    """Return settings for a topic with `rate` messages per second in all; if it varies, the least there ever are.

    They follow those of the GossipSub 1.1 evaluation report (2020): who delivers too little leaves the mesh (P3), is
    not soon back (P3b), and loses no more than that: the thresholds below which a peer is not heard are for those who
    break rules (P4, P7). P6 is off, since all sybils have addresses of their own.
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
