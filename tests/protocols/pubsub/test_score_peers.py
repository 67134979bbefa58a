"""What counts for a peer as a whole (P5, P7), and what is kept of a score when the peer disconnects."""

from __future__ import annotations

import math

import pytest

from peerstack.protocols.pubsub.scoring.config import ScoreConfig, TopicScoreConfig
from peerstack.protocols.pubsub.scoring.score import PeerScore
from peerstack.stack.identity import PeerId

from .names import A, B, C

TOPIC = "topic"


def scoring(config: ScoreConfig, *peers: PeerId) -> PeerScore:
    score = PeerScore(config, 0.0)
    for peer in peers or (A,):
        score.add_peer(peer, [], 0.0)
    return score


# ---- P5


def test_the_application_has_its_say() -> None:
    opinion = {A: 0.0}
    score = scoring(ScoreConfig(application_score=opinion.__getitem__, application_weight=0.5))
    for points in (-100.0, 0.0, 33.0):
        opinion[A] = points
        assert score.score(A) == points * 0.5


def test_the_application_is_not_asked_about_unknown_peers() -> None:
    score = PeerScore(ScoreConfig(application_score=lambda peer: 1.0), 0.0)
    assert score.score(A) == 0.0


@pytest.mark.parametrize("points", [math.nan, math.inf])
def test_an_opinion_that_is_no_number_is_refused(points: float) -> None:
    score = scoring(ScoreConfig(application_score=lambda peer: points))
    with pytest.raises(ValueError, match="finite"):
        score.score(A)


# ---- P7


def test_penalties_count_squared_and_fade() -> None:
    score = scoring(ScoreConfig(behaviour_weight=-1.0, behaviour_decay=0.99))
    score.penalise(A)
    assert score.score(A) == -1.0
    score.penalise(A)
    assert score.score(A) == -4.0
    score.decay(1.0)
    assert score.score(A) == pytest.approx(-3.9204)


def test_penalties_up_to_the_threshold_are_forgiven() -> None:
    score = scoring(ScoreConfig(behaviour_weight=-1.0, behaviour_threshold=6.0))
    score.penalise(A, 6.0)
    assert score.score(A) == 0.0
    score.penalise(A, 0.5)
    assert score.score(A) == -0.25


def test_counters_that_are_almost_nothing_become_nothing() -> None:
    score = scoring(ScoreConfig(behaviour_decay=0.5, decay_to_zero=0.1))
    score.penalise(A, 0.3)
    score.decay(1.0)
    assert score.score(A) == pytest.approx(-10 * 0.15**2)
    score.decay(2.0)
    assert score.score(A) == 0.0


def test_nothing_fades_before_an_interval_is_over() -> None:
    score = scoring(ScoreConfig(behaviour_weight=-1.0, behaviour_decay=0.5, decay_interval=2.0))
    score.penalise(A, 8.0)
    score.decay(1.9)
    assert score.score(A) == -64.0
    score.decay(4.1)
    assert score.score(A) == -4.0, "two intervals"


# ---- the whole


def test_a_snapshot_adds_up_to_the_score() -> None:
    config = ScoreConfig(application_score=lambda peer: 0.7, colocation_threshold=1, topic_score_cap=0.4)
    score = scoring(config, A, B)
    for peer in (A, B):
        score.set_ips(peer, ["192.0.2.1"])
        score.graft(peer, TOPIC, 0.0)
    score.validate(b"id", TOPIC, 0.0)
    score.deliver(b"id", TOPIC, A, 0.0)
    score.refuse(b"bad", TOPIC, A)
    score.decay(1.0)
    score.penalise(A, 1.5)
    snapshot = score.snapshot(A)
    assert snapshot is not None
    assert snapshot.connected
    parts = (
        snapshot.topic_points,
        snapshot.application_points,
        snapshot.colocation_points,
        snapshot.behaviour_points,
    )
    assert parts == pytest.approx((0.5 * (0.01 + 0.5 - 0.3**2), 7.0, -5.0, -22.5))
    assert snapshot.score == score.score(A) == pytest.approx(sum(parts))
    topic = snapshot.topics[TOPIC]
    assert (topic.in_mesh, topic.time_in_mesh, topic.first_deliveries) == (True, 1.0, 0.5)
    assert topic.invalid == 0.3
    assert topic.points == pytest.approx(snapshot.topic_points)


def test_without_scores_nothing_a_peer_does_counts() -> None:
    score = scoring(ScoreConfig.none())
    score.set_ips(A, ["192.0.2.1"])
    score.graft(A, TOPIC, 0.0)
    score.validate(b"id", TOPIC, 0.0)
    score.reject(b"id", TOPIC, A, 0.0)
    score.penalise(A, 1000.0)
    score.decay(10.0)
    assert score.score(A) == 0.0


# ---- disconnecting

RETAINING = ScoreConfig(
    retain=100.0,
    behaviour_weight=-1.0,
    default_topic=TopicScoreConfig(
        weight=1.0,
        time_in_mesh_weight=0.0,
        mesh_deliveries_threshold=20.0,
        mesh_deliveries_activation=1.0,
        mesh_failure_weight=-1.0,
        mesh_failure_decay=0.5,
    ),
)


def test_a_bad_score_is_kept_as_it_is_until_it_expires() -> None:
    score = scoring(RETAINING)
    score.penalise(A, 3.0)
    score.remove_peer(A, 0.0)
    score.decay(99.0)
    assert score.score(A) == -9.0, "it does not fade"
    snapshot = score.snapshot(A)
    assert snapshot is not None
    assert not snapshot.connected
    assert score.retained == 1
    score.decay(100.0)
    assert score.score(A) == 0.0
    assert score.retained == 0


def test_a_peer_that_comes_back_is_the_same_peer() -> None:
    score = scoring(RETAINING)
    score.penalise(A, 3.0)
    score.remove_peer(A, 0.0)
    score.add_peer(A, [], 99.0)
    assert score.score(A) == -9.0
    assert score.retained == 0
    score.decay(100.0)
    assert -9.0 < score.score(A) <= 0.0, "and its score fades again"


def test_a_peer_that_comes_back_late_starts_anew_whether_decay_ran_or_not() -> None:
    score = scoring(RETAINING)
    score.penalise(A, 3.0)
    score.remove_peer(A, 0.0)
    score.add_peer(A, [], 100.0)
    assert score.score(A) == 0.0


def test_adding_a_peer_twice_changes_nothing() -> None:
    score = scoring(RETAINING)
    score.penalise(A, 3.0)
    score.add_peer(A, [], 0.0)
    assert score.score(A) == -9.0


def test_a_good_score_is_forgotten() -> None:
    score = scoring(RETAINING)
    score.validate(b"id", TOPIC, 0.0)
    score.deliver(b"id", TOPIC, A, 0.0)
    assert score.score(A) == 1.0
    score.remove_peer(A, 0.0)
    assert score.snapshot(A) is None
    score.add_peer(A, [], 0.0)
    assert score.score(A) == 0.0


def test_first_deliveries_are_void_after_a_disconnect() -> None:
    score = scoring(RETAINING)
    score.validate(b"id", TOPIC, 0.0)
    score.deliver(b"id", TOPIC, A, 0.0)
    score.penalise(A, 3.0)
    assert score.score(A) == -8.0
    score.remove_peer(A, 0.0)
    assert score.score(A) == -9.0


def test_a_peer_that_disconnects_with_a_deficit_has_failed_the_mesh() -> None:
    score = scoring(RETAINING, A, B, C)
    for peer in (A, B):
        score.graft(peer, TOPIC, 0.0)
    score.decay(2.0)
    score.graft(C, TOPIC, 2.0)
    score.prune(B, TOPIC)
    for peer in (A, B, C):
        score.remove_peer(peer, 2.0)
    assert score.score(A) == -400.0
    assert score.score(B) == -400.0, "not twice"
    assert score.score(C) == 0.0, "not yet active"
    score.add_peer(A, [], 3.0)
    score.decay(4.0)
    assert score.score(A) == -100.0, "it is no longer in the mesh, and the failure has faded twice"


def test_what_was_in_validation_is_charged_to_those_who_left_meanwhile() -> None:
    score = scoring(RETAINING)
    score.validate(b"id", TOPIC, 0.0)
    score.remove_peer(A, 0.0)
    score.reject(b"id", TOPIC, A, 1.0)
    score.add_peer(A, [], 2.0)
    assert score.score(A) == -1.0


def test_the_oldest_scores_are_forgotten_when_there_are_too_many() -> None:
    score = scoring(ScoreConfig(max_retained=2), A, B, C)
    for peer in (A, B, C):
        score.penalise(peer)
        score.remove_peer(peer, 0.0)
    assert score.retained == 2
    assert [score.score(peer) for peer in (A, B, C)] == [0.0, -10.0, -10.0]


def test_where_nothing_may_be_retained_nothing_is() -> None:
    score = scoring(ScoreConfig(max_retained=0))
    score.penalise(A)
    score.remove_peer(A, 0.0)
    assert (score.retained, score.score(A)) == (0, 0.0)
