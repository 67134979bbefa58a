"""IHAVE: what of it is asked for, how much of it is read, and what an empty promise costs."""

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Misbehaved
from peerstack.protocols.pubsub.scoring.config import ScoreConfig

from .routers import Lone, message, peer_id


def ids(count: int, first: int = 0) -> list[bytes]:
    return [b"id" + number.to_bytes(8, "big") for number in range(first, first + count)]


def broken(lone: Lone) -> list[float]:
    return [event.penalty for event in lone.events(Misbehaved) if isinstance(event, Misbehaved)]


def test_unseen_messages_are_asked_for() -> None:
    lone = Lone(peers=1)
    seen, under_way = message(1), message(2)
    lone.says(1, seen, under_way)
    lone.accept(seen)
    lone.says(1, ihave={"t": [seen.id, under_way.id, b"new", b"newer", b"new"]})
    assert sorted(lone.said_to(1).iwant) == [b"new", b"newer"]


def test_topics_we_are_not_in_are_ignored() -> None:
    lone = Lone(peers=1)
    lone.says(1, ihave={"other": [b"new"]})
    assert lone.said_to(1).iwant == []


def test_peers_below_the_gossip_threshold_are_ignored() -> None:
    scores = {peer_id(1): -10.0, peer_id(2): -10.1}
    config = ScoreConfig(application_score=lambda peer: scores.get(peer, 0.0), application_weight=1.0)
    lone = Lone(peers=2, score=config)
    lone.says(1, ihave={"t": [b"new"]})
    lone.says(2, ihave={"t": [b"new"]})
    assert lone.said_to(1).iwant == [b"new"]
    assert lone.said_to(2).iwant == []


def test_ten_offers_are_read_between_two_heartbeats() -> None:
    lone = Lone(peers=1)
    for number in range(15):
        lone.says(1, ihave={"t": ids(1, number)})
    assert sorted(lone.said_to(1).iwant) == ids(10)
    assert lone.core.counts()["ihave_ignored"] == 5
    lone.beat()
    lone.says(1, ihave={"t": ids(1, 20)})
    assert lone.said_to(1).iwant == ids(1, 20)


def test_five_thousand_ids_are_asked_for_between_two_heartbeats() -> None:
    lone = Lone(peers=2)
    for begin in (0, 3000, 6000):
        lone.says(1, ihave={"t": ids(3000, begin)})
    asked = lone.said_to(1).iwant
    assert len(asked) == len(set(asked)) == 5000
    lone.says(2, ihave={"t": ids(5, 9000)})
    assert len(lone.said_to(2).iwant) == 5
    lone.beat()
    lone.says(1, ihave={"t": ids(10, 9000)})
    assert len(lone.said_to(1).iwant) == 10


def test_of_too_many_ids_some_are_chosen_by_lot() -> None:
    lone = Lone(GossipConfig(max_ihave_ids=100), peers=1)
    lone.says(1, ihave={"t": ids(60)})
    lone.says(1, ihave={"t": ids(100, 100)})
    asked = lone.said_to(1).iwant
    assert len(asked) == 100
    second = asked[60:]
    assert second != sorted(second)
    assert max(second) > ids(1, 150)[0]


def test_one_offer_is_read_up_to_its_limit() -> None:
    lone = Lone(GossipConfig(max_ihave_ids=100), peers=1)
    lone.says(1, ihave={"t": ids(150)})
    assert sorted(lone.said_to(1).iwant) == ids(100)
    assert lone.core.counts()["ihave_ignored"] == 50


# ---- promises


def test_an_empty_promise_is_charged_once_its_time_is_over() -> None:
    lone = Lone(peers=2, score=ScoreConfig())
    lone.beat()
    lone.says(1, ihave={"t": ids(50)})
    lone.beat(3)
    assert broken(lone) == []
    assert lone.score(1) >= 0
    lone.beat()
    assert broken(lone) == [1]
    assert lone.score(1) < 0
    lone.beat(5)
    assert broken(lone) == [1]


def test_each_request_holds_one_promise_that_the_peer_cannot_guess() -> None:
    chosen = set()
    for seed in range(20):
        lone = Lone(peers=2, seed=seed)
        lone.beat()
        lone.says(1, ihave={"t": [message(number).id for number in range(4)]})
        for number in range(3):
            lone.says(2, message(number))
        lone.beat(5)
        chosen.add(tuple(broken(lone)))
    assert chosen == {(), (1,)}


def test_a_message_from_anyone_voids_the_promise() -> None:
    lone = Lone(peers=2)
    lone.beat()
    lone.says(1, ihave={"t": [message(1).id]})
    lone.says(2, message(1))
    lone.beat(6)
    assert broken(lone) == []


def test_a_message_that_cannot_be_validated_voids_the_promise_too() -> None:
    lone = Lone(GossipConfig(max_validating=1), peers=2)
    lone.beat()
    lone.says(2, message(7))
    lone.says(1, ihave={"t": [message(1).id]})
    lone.says(1, message(1))
    assert lone.core.counts()["throttled"] == 1
    lone.beat(6)
    assert broken(lone) == []


def test_many_empty_promises_cost_more() -> None:
    lone = Lone(peers=1, score=ScoreConfig())
    for number in range(10):
        lone.says(1, ihave={"t": ids(1, number)})
    lone.wait(3.5)
    assert broken(lone) == [10]
    assert lone.score(1) < -80


def test_promises_of_peers_that_are_gone_are_forgotten() -> None:
    lone = Lone(peers=1, score=ScoreConfig())
    lone.says(1, ihave={"t": ids(1)})
    lone.remove(1)
    lone.beat(6)
    lone.add(1)
    lone.beat(6)
    assert broken(lone) == [1]
