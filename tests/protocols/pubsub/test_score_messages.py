"""Who is credited and who is charged with a message, depending on when they sent it and what became of it."""

from __future__ import annotations

import pytest

from peerstack.protocols.pubsub.scoring.config import ScoreConfig, TopicScoreConfig
from peerstack.protocols.pubsub.scoring.score import PeerScore
from peerstack.stack.identity import PeerId

from .names import A, B, C, named

TOPIC = "topic"
ID = b"id"

COUNTED = TopicScoreConfig(
    weight=1.0,
    time_in_mesh_weight=0.0,
    first_deliveries_weight=0.0,
    mesh_deliveries_weight=-1.0,
    mesh_deliveries_threshold=20.0,
    mesh_deliveries_window=0.01,
    invalid_weight=-1.0,
)


@pytest.fixture
def score() -> PeerScore:
    score = PeerScore(ScoreConfig(default_topic=COUNTED, delivery_ttl=120.0, max_deliveries=3), 0.0)
    for peer in (A, B, C):
        score.add_peer(peer, [], 0.0)
        score.graft(peer, TOPIC, 0.0)
    return score


def delivered(score: PeerScore, peer: PeerId) -> float:
    snapshot = score.snapshot(peer)
    assert snapshot is not None
    counters = snapshot.topics.get(TOPIC)
    return counters.mesh_deliveries if counters else 0.0


def invalid(score: PeerScore, peer: PeerId) -> float:
    snapshot = score.snapshot(peer)
    assert snapshot is not None
    counters = snapshot.topics.get(TOPIC)
    return counters.invalid if counters else 0.0


def test_copies_during_validation_count_once_for_each_peer_when_it_succeeds(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    for peer in (B, B, A, C, B):
        score.duplicate(ID, TOPIC, peer, 1.0)
    assert delivered(score, B) == 0.0
    score.deliver(ID, TOPIC, A, 5.0)
    assert [delivered(score, peer) for peer in (A, B, C)] == [1.0, 1.0, 1.0]
    for peer in (A, B, C):
        score.duplicate(ID, TOPIC, peer, 5.0)
    assert [delivered(score, peer) for peer in (A, B, C)] == [1.0, 1.0, 1.0]


def test_copies_after_validation_count_within_the_window(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.deliver(ID, TOPIC, A, 5.0)
    score.duplicate(ID, TOPIC, B, 5.01)
    score.duplicate(ID, TOPIC, C, 5.011)
    assert [delivered(score, peer) for peer in (B, C)] == [1.0, 0.0]


def test_the_source_gains_nothing_by_sending_again(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.deliver(ID, TOPIC, A, 0.0)
    score.duplicate(ID, TOPIC, A, 0.001)
    assert delivered(score, A) == 1.0


def test_those_who_send_back_a_message_of_ours_in_time_have_delivered_it(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.deliver(ID, TOPIC, None, 0.0)
    score.duplicate(ID, TOPIC, B, 0.005)
    assert [delivered(score, peer) for peer in (A, B)] == [0.0, 1.0]


def test_only_peers_in_the_mesh_at_the_time_of_the_result_are_credited(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.duplicate(ID, TOPIC, B, 0.0)
    score.duplicate(ID, TOPIC, C, 0.0)
    score.prune(B, TOPIC)
    score.deliver(ID, TOPIC, A, 0.0)
    assert [delivered(score, peer) for peer in (A, B, C)] == [1.0, 0.0, 1.0]


def test_an_invalid_message_is_charged_to_everyone_who_sends_it(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    for peer in (B, B, A):
        score.duplicate(ID, TOPIC, peer, 0.0)
    score.reject(ID, TOPIC, A, 1.0)
    assert [invalid(score, peer) for peer in (A, B, C)] == [1.0, 1.0, 0.0]
    score.duplicate(ID, TOPIC, C, 100.0)
    assert [invalid(score, peer) for peer in (A, B, C)] == [1.0, 1.0, 1.0]
    assert score.score(C) == -1.0


def test_sending_a_message_again_that_was_found_invalid_is_charged_again(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.reject(ID, TOPIC, A, 0.0)
    score.duplicate(ID, TOPIC, A, 1.0)
    score.duplicate(ID, TOPIC, A, 2.0)
    assert invalid(score, A) == 3.0


def test_an_ignored_message_is_charged_to_no_peer(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.duplicate(ID, TOPIC, B, 0.0)
    score.ignore(ID)
    score.duplicate(ID, TOPIC, C, 0.0)
    assert [invalid(score, peer) for peer in (A, B, C)] == [0.0, 0.0, 0.0]
    assert [delivered(score, peer) for peer in (A, B, C)] == [0.0, 0.0, 0.0]


def test_a_throttled_message_is_validated_when_it_comes_again(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.duplicate(ID, TOPIC, B, 0.0)
    score.ignore(ID)
    score.validate(ID, TOPIC, 1.0)
    score.reject(ID, TOPIC, C, 1.0)
    assert [invalid(score, peer) for peer in (A, B, C)] == [0.0, 0.0, 1.0]


def test_ignoring_does_not_pardon_what_was_found_invalid(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.reject(ID, TOPIC, A, 0.0)
    score.ignore(ID)
    score.duplicate(ID, TOPIC, B, 0.0)
    assert invalid(score, B) == 1.0


def test_a_forgery_is_charged_to_its_source_alone_and_its_id_stays_free(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.duplicate(ID, TOPIC, B, 0.0)
    score.refuse(ID, TOPIC, A)
    score.duplicate(ID, TOPIC, C, 0.0)
    assert [invalid(score, peer) for peer in (A, B, C)] == [1.0, 0.0, 0.0]
    score.validate(ID, TOPIC, 1.0)
    score.deliver(ID, TOPIC, B, 1.0)
    assert [delivered(score, peer) for peer in (B, C)] == [1.0, 0.0]


def test_a_second_result_changes_nothing(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.duplicate(ID, TOPIC, B, 0.0)
    for source in (A, C):
        score.deliver(ID, TOPIC, source, 0.0)
    assert [delivered(score, peer) for peer in (A, B, C)] == [1.0, 1.0, 0.0]


def test_messages_are_forgotten_when_their_time_is_over(score: PeerScore) -> None:
    score.validate(ID, TOPIC, 0.0)
    score.reject(ID, TOPIC, A, 0.0)
    score.decay(119.0)
    assert score.deliveries == 1
    score.decay(120.0)
    assert score.deliveries == 0
    score.duplicate(ID, TOPIC, B, 120.0)
    assert invalid(score, B) == 0.0


def test_the_oldest_messages_are_forgotten_when_there_are_too_many(score: PeerScore) -> None:
    for number in range(4):
        score.validate(bytes([number]), TOPIC, 0.0)
        score.reject(bytes([number]), TOPIC, A, 0.0)
    assert score.deliveries == 3
    score.duplicate(b"\x00", TOPIC, B, 0.0)
    assert invalid(score, B) == 0.0
    score.duplicate(b"\x01", TOPIC, B, 0.0)
    assert invalid(score, B) == 1.0


def test_a_message_validated_again_is_remembered_from_then_on(score: PeerScore) -> None:
    for message_id in (b"again", b"other"):
        score.validate(message_id, TOPIC, 0.0)
        score.reject(message_id, TOPIC, A, 0.0)
    score.validate(b"again", TOPIC, 60.0)
    score.reject(b"again", TOPIC, A, 60.0)
    score.decay(120.0)
    assert score.deliveries == 1
    score.duplicate(b"again", TOPIC, B, 150.0)
    assert invalid(score, B) == 1.0


def test_valid_messages_are_not_remembered_where_their_copies_count_nothing() -> None:
    score = PeerScore(ScoreConfig.recommended(), 0.0)
    score.add_peer(A, [], 0.0)
    score.validate(ID, TOPIC, 0.0)
    assert score.deliveries == 1
    score.deliver(ID, TOPIC, A, 0.0)
    assert score.deliveries == 0
    assert score.score(A) == 0.5


def test_unknown_peers_are_neither_credited_nor_charged(score: PeerScore) -> None:
    unknown = named("unknown")
    score.validate(ID, TOPIC, 0.0)
    score.duplicate(ID, TOPIC, unknown, 0.0)
    score.reject(ID, TOPIC, unknown, 0.0)
    score.refuse(b"forged", TOPIC, unknown)
    score.penalise(unknown)
    score.graft(unknown, TOPIC, 0.0)
    score.set_ips(unknown, ["192.0.2.1"])
    score.remove_peer(unknown, 0.0)
    assert score.score(unknown) == 0.0
    assert score.snapshot(unknown) is None
    assert score.retained == 0
