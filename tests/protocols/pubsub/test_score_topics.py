"""What peers earn and lose in a topic: time in the mesh, deliveries, deficits, invalid messages (P1 to P4)."""

from __future__ import annotations

import pytest

from peerstack.protocols.pubsub.scoring.config import ScoreConfig, TopicScoreConfig
from peerstack.protocols.pubsub.scoring.score import PeerScore
from peerstack.stack.identity import PeerId

from .names import A, B, C

TOPIC = "topic"

ONLY_TIME = TopicScoreConfig(
    weight=0.5,
    time_in_mesh_weight=2.0,
    time_in_mesh_quantum=0.5,
    time_in_mesh_cap=100.0,
    first_deliveries_weight=0.0,
    invalid_weight=0.0,
)
ONLY_FIRST = TopicScoreConfig(
    weight=1.0,
    time_in_mesh_weight=0.0,
    first_deliveries_weight=1.0,
    first_deliveries_decay=0.9,
    first_deliveries_cap=50.0,
    invalid_weight=0.0,
)
ONLY_MESH = TopicScoreConfig(
    weight=1.0,
    time_in_mesh_weight=0.0,
    first_deliveries_weight=0.0,
    mesh_deliveries_weight=-1.0,
    mesh_deliveries_decay=0.9,
    mesh_deliveries_cap=100.0,
    mesh_deliveries_threshold=20.0,
    mesh_deliveries_window=0.01,
    mesh_deliveries_activation=1.0,
    invalid_weight=0.0,
)
ONLY_FAILURE = TopicScoreConfig(
    weight=1.0,
    time_in_mesh_weight=0.0,
    first_deliveries_weight=0.0,
    mesh_deliveries_threshold=20.0,
    mesh_deliveries_activation=1.0,
    mesh_failure_weight=-1.0,
    mesh_failure_decay=0.5,
    invalid_weight=0.0,
)
ONLY_INVALID = TopicScoreConfig(
    weight=1.0, time_in_mesh_weight=0.0, first_deliveries_weight=0.0, invalid_weight=-1.0, invalid_decay=0.9
)


def scoring(topic: TopicScoreConfig | None, *peers: PeerId, cap: float = 0.0) -> PeerScore:
    score = PeerScore(ScoreConfig(default_topic=topic, topic_score_cap=cap), 0.0)
    for peer in peers or (A,):
        score.add_peer(peer, [], 0.0)
    return score


def deliver(score: PeerScore, source: PeerId, count: int, *, now: float = 0.0, first: int = 0) -> None:
    for number in range(first, first + count):
        message_id = number.to_bytes(4, "big")
        score.validate(message_id, TOPIC, now)
        score.deliver(message_id, TOPIC, source, now)


# ---- P1


def test_time_in_the_mesh_counts_in_whole_quanta() -> None:
    score = scoring(ONLY_TIME)
    assert score.score(A) == 0.0
    score.graft(A, TOPIC, 0.3)
    score.decay(10.0)
    assert score.score(A) == 0.5 * 2.0 * 19
    assert score.score(A) == 19.0, "9.7 s are 19 quanta"


def test_time_in_the_mesh_is_capped() -> None:
    score = scoring(ONLY_TIME)
    score.graft(A, TOPIC, 0.0)
    score.decay(1000.0)
    assert score.score(A) == 0.5 * 2.0 * 100


def test_time_in_the_mesh_counts_only_there_and_starts_again() -> None:
    score = scoring(ONLY_TIME)
    score.graft(A, TOPIC, 0.0)
    score.decay(10.0)
    score.prune(A, TOPIC)
    assert score.score(A) == 0.0
    score.graft(A, TOPIC, 20.0)
    assert score.score(A) == 0.0
    score.decay(21.0)
    assert score.score(A) == 2.0


# ---- P2


def test_first_deliveries_count_in_or_out_of_the_mesh() -> None:
    score = scoring(ONLY_FIRST, A, B)
    score.graft(A, TOPIC, 0.0)
    deliver(score, A, 30)
    deliver(score, B, 7, first=100)
    assert (score.score(A), score.score(B)) == (30.0, 7.0)


def test_first_deliveries_are_capped() -> None:
    score = scoring(ONLY_FIRST)
    deliver(score, A, 51)
    assert score.score(A) == 50.0


def test_first_deliveries_fade_with_every_interval() -> None:
    score = scoring(ONLY_FIRST)
    deliver(score, A, 40)
    score.decay(1.0)
    assert score.score(A) == pytest.approx(40 * 0.9)
    for second in range(2, 12):
        score.decay(float(second))
    assert score.score(A) == pytest.approx(40 * 0.9**11)


def test_duplicates_are_no_first_deliveries() -> None:
    score = scoring(ONLY_FIRST, A, B)
    score.validate(b"id", TOPIC, 0.0)
    score.duplicate(b"id", TOPIC, B, 0.0)
    score.deliver(b"id", TOPIC, A, 0.0)
    score.duplicate(b"id", TOPIC, B, 0.0)
    assert (score.score(A), score.score(B)) == (1.0, 0.0)


# ---- P3


def test_a_mesh_peer_that_delivers_too_little_loses_the_squared_deficit() -> None:
    score = scoring(ONLY_MESH, A, B, C)
    for peer in (A, B, C):
        score.graft(peer, TOPIC, 0.0)
    score.decay(1.0)
    assert [score.score(peer) for peer in (A, B, C)] == [0.0, 0.0, 0.0], "not before the activation time is over"

    for number in range(100):
        message_id = bytes([number])
        score.validate(message_id, TOPIC, 1.5)
        score.deliver(message_id, TOPIC, A, 1.5)
        score.duplicate(message_id, TOPIC, B, 1.505)
        score.duplicate(message_id, TOPIC, C, 1.52)
    score.decay(2.0)
    assert [score.score(peer) for peer in (A, B, C)] == [0.0, 0.0, -400.0], "C came after the window"


def test_a_deficit_counts_only_when_a_decay_has_seen_the_activation_time_pass() -> None:
    score = scoring(ONLY_MESH)
    score.graft(A, TOPIC, 0.0)
    score.decay(1.0)
    score.duplicate(b"unknown", TOPIC, A, 1.9)
    assert score.score(A) == 0.0
    score.decay(2.0)
    assert score.score(A) == -400.0


def test_mesh_deliveries_fade_until_there_is_a_deficit() -> None:
    score = scoring(ONLY_MESH)
    score.graft(A, TOPIC, 0.0)
    deliver(score, A, 40)
    score.decay(2.0)
    assert score.score(A) == 0.0
    score.decay(22.0)
    assert score.score(A) == pytest.approx(-((20 - 40 * 0.9**22) ** 2))


def test_mesh_deliveries_are_capped() -> None:
    score = scoring(ONLY_MESH)
    score.graft(A, TOPIC, 0.0)
    deliver(score, A, 300)
    snapshot = score.snapshot(A)
    assert snapshot is not None
    assert snapshot.topics[TOPIC].mesh_deliveries == 100.0


def test_peers_outside_the_mesh_have_no_deficit() -> None:
    score = scoring(ONLY_MESH)
    score.graft(A, TOPIC, 0.0)
    score.decay(2.0)
    assert score.score(A) == -400.0
    score.prune(A, TOPIC)
    assert score.score(A) == 0.0
    deliver(score, A, 30)
    score.graft(A, TOPIC, 3.0)
    score.decay(5.0)
    assert score.score(A) == -400.0, "what it delivered outside does not count"


# ---- P3b


def test_a_deficit_sticks_to_a_peer_that_is_pruned() -> None:
    score = scoring(ONLY_FAILURE, A, B)
    for peer in (A, B):
        score.graft(peer, TOPIC, 0.0)
    deliver(score, A, 100)
    score.decay(2.0)
    assert (score.score(A), score.score(B)) == (0.0, 0.0), "nothing sticks before"
    score.prune(A, TOPIC)
    score.prune(B, TOPIC)
    assert (score.score(A), score.score(B)) == (0.0, -400.0)
    score.prune(B, TOPIC)
    assert score.score(B) == -400.0, "it is pruned once"


def test_a_failure_outlives_the_next_graft_and_fades() -> None:
    score = scoring(ONLY_FAILURE)
    score.graft(A, TOPIC, 0.0)
    score.decay(2.0)
    score.prune(A, TOPIC)
    score.graft(A, TOPIC, 2.0)
    assert score.score(A) == -400.0
    score.decay(3.0)
    assert score.score(A) == -200.0


def test_a_peer_pruned_before_the_activation_time_has_not_failed() -> None:
    score = scoring(ONLY_FAILURE)
    score.graft(A, TOPIC, 0.0)
    score.decay(1.0)
    score.prune(A, TOPIC)
    assert score.score(A) == 0.0


def test_silence_costs_nothing_where_the_deficit_is_switched_off() -> None:
    score = PeerScore(ScoreConfig.recommended(), 0.0)
    score.add_peer(A, [], 0.0)
    score.graft(A, TOPIC, 0.0)
    score.decay(3600.0)
    assert score.score(A) > 0.0
    score.prune(A, TOPIC)
    assert score.score(A) == 0.0


# ---- P4


def test_invalid_messages_count_squared() -> None:
    score = scoring(ONLY_INVALID)
    for number in range(10):
        score.refuse(bytes([number]), TOPIC, A)
    assert score.score(A) == -100.0


def test_invalid_messages_fade() -> None:
    score = scoring(ONLY_INVALID)
    for number in range(10):
        score.refuse(bytes([number]), TOPIC, A)
    score.decay(1.0)
    assert score.score(A) == pytest.approx(-((10 * 0.9) ** 2))
    score.decay(4.0)
    assert score.score(A) == pytest.approx(-((10 * 0.9**4) ** 2))
    score.decay(60.0)
    assert score.score(A) == 0.0


# ---- all topics together


def test_topics_add_up_by_their_weights() -> None:
    topics = {"heavy": TopicScoreConfig(weight=3.0, time_in_mesh_weight=0.0), "light": TopicScoreConfig(weight=0.25)}
    score = PeerScore(ScoreConfig(topics=topics, topic_score_cap=0.0), 0.0)
    score.add_peer(A, [], 0.0)
    for topic in topics:
        score.validate(topic.encode(), topic, 0.0)
        score.deliver(topic.encode(), topic, A, 0.0)
    assert score.score(A) == 3.25


def test_the_cap_on_topics_limits_the_good_and_not_the_bad() -> None:
    score = scoring(ONLY_FIRST, cap=10.0)
    deliver(score, A, 30)
    assert score.score(A) == 10.0
    score = scoring(ONLY_INVALID, cap=10.0)
    for number in range(10):
        score.refuse(bytes([number]), TOPIC, A)
    assert score.score(A) == -100.0


def test_topics_that_are_not_scored_leave_no_trace() -> None:
    score = scoring(None)
    score.graft(A, TOPIC, 0.0)
    deliver(score, A, 10)
    score.validate(b"bad", TOPIC, 0.0)
    score.duplicate(b"bad", TOPIC, A, 0.0)
    score.reject(b"bad", TOPIC, A, 0.0)
    score.prune(A, TOPIC)
    snapshot = score.snapshot(A)
    assert snapshot is not None
    assert (snapshot.score, dict(snapshot.topics), score.deliveries) == (0.0, {}, 0)


def test_counters_that_have_faded_are_forgotten() -> None:
    score = scoring(ONLY_FIRST)
    deliver(score, A, 1)
    score.decay(1.0)
    snapshot = score.snapshot(A)
    assert snapshot is not None
    assert list(snapshot.topics) == [TOPIC]
    score.decay(60.0)
    snapshot = score.snapshot(A)
    assert snapshot is not None
    assert (snapshot.score, list(snapshot.topics)) == (0.0, [])
