"""Messages of peers: validated once, forwarded to the right peers, and charged to all who sent what is invalid."""

import pytest

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Version
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.validation.outcomes import RejectReason

from .routers import Lone, message, peer_id

FORGERIES = [RejectReason.INVALID_SIGNATURE, RejectReason.MISSING_SIGNATURE, RejectReason.FORGED_AUTHOR]
NEUTRAL = [RejectReason.VALIDATION_THROTTLED, RejectReason.VALIDATION_TIMED_OUT]


def test_a_message_is_validated_once_and_forwarded_to_the_mesh_without_its_source() -> None:
    lone = Lone(peers=5)
    (fresh,) = lone.says(2, message(1))
    assert fresh.source == peer_id(2)
    assert lone.accept(fresh) == [1, 3, 4, 5]
    assert lone.says(3, message(1)) == []
    assert lone.core.counts()["duplicates"] == 1


def test_only_the_mesh_and_those_outside_any_mesh_get_what_is_forwarded() -> None:
    lone = Lone(peers=20, direct=[31])
    lone.add(30, Version.FLOODSUB)
    lone.add(31)
    lone.add(32, Version.FLOODSUB, topics=["other"])
    source = lone.mesh()[0]
    (fresh,) = lone.says(source, message(1))
    assert lone.accept(fresh) == [*lone.mesh()[1:], 30, 31]


def test_nothing_goes_back_to_the_author_or_to_those_who_sent_it_meanwhile() -> None:
    lone = Lone(peers=5)
    (fresh,) = lone.says(1, message(1, author=4))
    assert lone.says(3, message(1, author=4)) == []
    assert lone.accept(fresh) == [2, 5]


def test_topics_we_are_not_in_are_ignored() -> None:
    lone = Lone(peers=2)
    assert lone.says(1, message(1, topic="other")) == []
    assert lone.core.counts()["not_subscribed"] == 1


def test_a_message_accepted_after_we_left_goes_nowhere_but_is_seen() -> None:
    lone = Lone(peers=3)
    (fresh,) = lone.says(1, message(1))
    lone.leave()
    assert lone.accept(fresh) == []
    lone.join()
    assert lone.says(2, message(1)) == []


def test_a_result_counts_once() -> None:
    lone = Lone(peers=3)
    (fresh,) = lone.says(1, message(1))
    assert lone.accept(fresh) == [2, 3]
    assert lone.accept(fresh) == []


def test_a_low_score_ends_forwarding_to_a_floodsub_peer() -> None:
    scores = {peer_id(1): -51.0, peer_id(2): -50.0}
    config = ScoreConfig(application_score=lambda peer: scores.get(peer, 0.0), application_weight=1.0)
    lone = Lone(score=config)
    for index in (1, 2):
        lone.add(index, Version.FLOODSUB)
    lone.add(3)
    (fresh,) = lone.says(3, message(1))
    assert lone.accept(fresh) == [2]


def test_an_id_is_new_again_after_its_time() -> None:
    lone = Lone(peers=2)
    (fresh,) = lone.says(1, message(1))
    lone.accept(fresh)
    lone.wait(119)
    assert lone.says(1, message(1)) == []
    lone.wait(15)
    assert len(lone.says(1, message(1))) == 1


# ---- invalid messages


def test_everyone_who_sent_what_a_validator_rejects_is_charged() -> None:
    lone = Lone(peers=4, score=ScoreConfig())
    (fresh,) = lone.says(1, message(1))
    lone.says(2, message(1))
    lone.core.reject(fresh, RejectReason.VALIDATION_FAILED, lone.now)
    assert lone.score(1) < 0
    assert lone.score(2) < 0
    assert lone.score(3) == 0
    lone.says(3, message(1))
    lone.beat()
    assert lone.score(3) < 0
    assert lone.score(4) == 0


@pytest.mark.parametrize("reason", FORGERIES)
def test_everyone_who_sent_a_forgery_is_charged_but_the_true_message_still_comes_through(reason: RejectReason) -> None:
    lone = Lone(peers=4, score=ScoreConfig())
    (forged,) = lone.says(1, message(1, forged=True))
    lone.says(2, message(1, forged=True))
    lone.core.reject(forged, reason, lone.now)
    assert lone.score(1) < 0
    assert lone.score(2) < 0
    (fresh,) = lone.says(3, message(1))
    assert 4 in lone.accept(fresh)
    assert lone.score(3) >= 0


def test_a_forgery_under_validation_does_not_hide_the_true_message() -> None:
    lone = Lone(peers=4, score=ScoreConfig())
    (forged,) = lone.says(1, message(1, forged=True))
    (true,) = lone.says(2, message(1))
    assert lone.says(3, message(1)) == []
    lone.core.reject(forged, RejectReason.INVALID_SIGNATURE, lone.now)
    assert lone.accept(true) == [1, 4]
    lone.beat()
    assert lone.score(1) < 0
    assert lone.score(2) > 0
    assert lone.score(3) >= 0


def test_the_true_message_may_be_decided_on_first() -> None:
    lone = Lone(peers=4)
    (forged,) = lone.says(1, message(1, forged=True))
    (true,) = lone.says(2, message(1))
    assert lone.accept(true) == [1, 3, 4]
    lone.core.reject(forged, RejectReason.INVALID_SIGNATURE, lone.now)
    assert lone.says(3, message(1)) == []


def test_few_messages_with_one_id_are_validated_side_by_side() -> None:
    lone = Lone(peers=4)
    fresh = []
    for size in range(1, 20):
        fresh += lone.says(1, message(1, size=size))
    assert len(fresh) == 4


def test_only_the_first_of_two_valid_messages_with_one_id_counts() -> None:
    lone = Lone(peers=4)
    (one,) = lone.says(1, message(1))
    (two,) = lone.says(2, message(1, forged=True))
    assert lone.accept(one) == [2, 3, 4]
    assert lone.accept(two) == []


def test_a_message_that_never_reached_the_core_is_charged_to_its_source() -> None:
    lone = Lone(peers=2, score=ScoreConfig())
    malformed = message(1)
    malformed.id = b""
    malformed.source = peer_id(1)
    lone.core.reject(malformed, RejectReason.MISSING_SIGNATURE, lone.now)
    assert lone.score(1) < 0
    assert lone.score(2) == 0


def test_who_claims_to_have_a_message_from_us_that_we_never_sent_is_charged() -> None:
    lone = Lone(peers=3, score=ScoreConfig())
    assert lone.says(1, message(7, author=0)) == []
    assert lone.score(1) < 0
    ours = message(8, author=0)
    lone.publish(ours)
    assert lone.says(2, message(8, author=0)) == []
    assert lone.score(2) == 0


# ---- messages without a validation result


def test_what_a_validator_ignores_costs_nothing_and_is_not_validated_again() -> None:
    lone = Lone(peers=3, score=ScoreConfig())
    (fresh,) = lone.says(1, message(1))
    lone.core.ignore(fresh, RejectReason.VALIDATION_IGNORED, lone.now)
    assert lone.says(2, message(1)) == []
    assert lone.score(1) == lone.score(2) == 0


@pytest.mark.parametrize("reason", NEUTRAL)
def test_an_undecided_message_may_come_again(reason: RejectReason) -> None:
    lone = Lone(peers=3, score=ScoreConfig())
    (fresh,) = lone.says(1, message(1))
    lone.core.ignore(fresh, reason, lone.now)
    assert lone.score(1) == 0
    assert len(lone.says(2, message(1))) == 1


def test_messages_beyond_the_validation_limit_are_charged_to_no_peer() -> None:
    lone = Lone(GossipConfig(max_validating=10), peers=2, score=ScoreConfig())
    fresh = lone.says(1, *[message(number) for number in range(15)])
    assert len(fresh) == 10
    assert lone.core.counts()["throttled"] == 5
    assert lone.score(1) == 0
    lone.accept(fresh[0])
    assert len(lone.says(2, message(14), message(13))) == 1


def test_rejections_make_room_as_well() -> None:
    lone = Lone(GossipConfig(max_validating=1), peers=2)
    for number, reason in enumerate([*FORGERIES, *NEUTRAL, RejectReason.VALIDATION_FAILED]):
        (fresh,) = lone.says(1, message(number))
        if reason in NEUTRAL:
            lone.core.ignore(fresh, reason, lone.now)
        else:
            lone.core.reject(fresh, reason, lone.now)
    assert len(lone.says(1, message(100))) == 1


def test_the_first_to_deliver_is_credited() -> None:
    lone = Lone(peers=3, score=ScoreConfig())
    (fresh,) = lone.says(2, message(1))
    lone.says(1, message(1))
    lone.accept(fresh)
    lone.beat()
    assert lone.score(2) > lone.score(1) >= 0
