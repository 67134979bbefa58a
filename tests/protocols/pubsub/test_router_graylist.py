"""Peers with a very low score: what of them still counts, how they recover, and when they should go."""

from peerstack.protocols.pubsub.router.events import AcceptStatus, Graylisted, ShouldDisconnect
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.scoring.gater import GaterConfig
from peerstack.protocols.pubsub.validation.outcomes import RejectReason

from .routers import Lone, message, peer_id


class Scores:
    """Scores that a test sets."""

    def __init__(self) -> None:
        self.scores: dict[int, float] = {}
        self._names = {peer_id(index): index for index in range(50)}
        self.config = ScoreConfig(
            application_score=lambda peer: self.scores.get(self._names[peer], 0.0),
            application_weight=1.0,
            default_topic=None,
        )


def test_only_subscriptions_of_a_graylisted_peer_count() -> None:
    application = Scores()
    lone = Lone(peers=3, score=application.config)
    lone.publish(message(1))
    application.scores[1] = -81.0
    lone.beat()
    lone.told()
    assert lone.core.accept_from(peer_id(1), lone.now) is AcceptStatus.NONE
    assert lone.says(1, message(2), graft=["t"], ihave={"t": [b"new"]}, iwant=[message(1).id], subscribe=["x"]) == []
    assert lone.told() == {}
    assert lone.core.topic_peers("x") == [peer_id(1)]
    assert lone.core.accept_from(peer_id(2), lone.now) is AcceptStatus.ALL


def test_the_threshold_itself_is_not_below_it() -> None:
    application = Scores()
    lone = Lone(peers=1, score=application.config)
    application.scores[1] = -80.0
    lone.beat()
    assert lone.core.accept_from(peer_id(1), lone.now) is AcceptStatus.ALL


def test_graylisting_is_told_each_time_it_begins_and_ends_with_the_score() -> None:
    application = Scores()
    lone = Lone(peers=1, score=application.config)
    for score in (-81.0, -90.0, -5.0, -100.0):
        application.scores[1] = score
        lone.beat()
    assert lone.events(Graylisted) == [Graylisted(peer_id(1), -81.0), Graylisted(peer_id(1), -100.0)]
    application.scores[1] = 0.0
    lone.beat()
    assert len(lone.says(1, message(1))) == 1


def test_an_offence_counts_at_once_and_not_only_at_the_heartbeat() -> None:
    lone = Lone(peers=1, score=ScoreConfig())
    for number in range(15):
        for fresh in lone.says(1, message(number)):
            lone.core.reject(fresh, RejectReason.VALIDATION_FAILED, lone.now)
    assert lone.core.accept_from(peer_id(1), lone.now) is AcceptStatus.NONE
    assert lone.core.counts()["graylisted"] == 15 - lone.core.counts()["rejected"]


def test_direct_peers_are_never_graylisted() -> None:
    application = Scores()
    lone = Lone(peers=1, score=application.config, direct=[1])
    application.scores[1] = -1000.0
    lone.beat(20)
    assert lone.core.accept_from(peer_id(1), lone.now) is AcceptStatus.ALL
    assert lone.events(Graylisted, ShouldDisconnect) == []


def test_a_peer_that_stays_graylisted_should_go_and_that_is_said_once() -> None:
    application = Scores()
    lone = Lone(peers=1, score=application.config)
    application.scores[1] = -200.0
    lone.beat(9)
    assert lone.events(ShouldDisconnect) == []
    lone.beat(30)
    (event,) = lone.events(ShouldDisconnect)
    assert isinstance(event, ShouldDisconnect)
    assert event.peer == peer_id(1)
    assert "-200.0" in event.reason
    assert "application -200.0" in event.reason


def test_a_peer_that_offends_whenever_it_is_heard_again_should_go() -> None:
    lone = Lone(peers=1, score=ScoreConfig())
    for number in range(40):
        for index in range(30):
            for fresh in lone.says(1, message(number * 100 + index)):
                lone.core.reject(fresh, RejectReason.VALIDATION_FAILED, lone.now)
        lone.beat()
        if lone.events(ShouldDisconnect):
            return
    raise AssertionError("it may go on for ever")


def test_a_peer_that_recovers_for_good_may_stay() -> None:
    application = Scores()
    lone = Lone(peers=1, score=application.config)
    for _ in range(10):
        application.scores[1] = -200.0
        lone.beat(5)
        application.scores[1] = 0.0
        lone.beat(2)
    assert lone.events(ShouldDisconnect) == []


def test_a_bad_score_outlasts_the_connection() -> None:
    lone = Lone(peers=1, score=ScoreConfig())
    for number in range(15):
        for fresh in lone.says(1, message(number)):
            lone.core.reject(fresh, RejectReason.VALIDATION_FAILED, lone.now)
    lone.remove(1)
    assert lone.score(1) < -80
    lone.add(1)
    assert lone.core.accept_from(peer_id(1), lone.now) is AcceptStatus.NONE


def test_rpcs_of_unknown_peers_are_ignored() -> None:
    lone = Lone(peers=1)
    lone.add(2)
    lone.remove(2)
    assert lone.core.accept_from(peer_id(2), lone.now) is AcceptStatus.NONE
    assert lone.says(2, message(1), subscribe=["t"]) == []
    assert lone.core.counts()["unknown_peers"] == 1


def test_the_gater_keeps_messages_out_but_not_control() -> None:
    lone = Lone(peers=2, gater=GaterConfig())
    for number in range(300):
        for fresh in lone.says(1, message(number)):
            lone.core.reject(fresh, RejectReason.INVALID_SIGNATURE, lone.now)
        for fresh in lone.says(2, message(number + 10_000)):
            lone.core.ignore(fresh, RejectReason.VALIDATION_THROTTLED, lone.now)
    answers = [lone.core.accept_from(peer_id(1), lone.now) for _ in range(100)]
    assert answers.count(AcceptStatus.CONTROL) > 80
    assert lone.core.counts()["throttled"] == answers.count(AcceptStatus.CONTROL)
