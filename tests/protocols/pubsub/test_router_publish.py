"""Our own messages: to whom they go, in topics we joined and in others."""

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Version
from peerstack.protocols.pubsub.scoring.config import ScoreConfig

from .routers import Lone, message, peer_id

TO_THE_MESH = GossipConfig(flood_publish=False)


def application(scores: dict[int, float]) -> ScoreConfig:
    by_id = {peer_id(index): score for index, score in scores.items()}
    return ScoreConfig(application_score=lambda peer: by_id.get(peer, 0.0), application_weight=1.0)


def test_all_of_the_topic_get_it_by_default() -> None:
    lone = Lone(peers=20, direct=[32])
    lone.add(30, Version.FLOODSUB)
    lone.add(31, topics=["other"])
    lone.add(32)
    assert lone.publish(message(1)) == [*range(1, 21), 30, 32]


def test_all_get_it_also_where_we_have_not_joined() -> None:
    lone = Lone(peers=20, joined=False)
    assert lone.publish(message(1)) == list(range(1, 21))
    assert lone.core.fanout("t") == []


def test_those_below_the_publish_threshold_get_nothing_unless_they_are_direct() -> None:
    lone = Lone(peers=4, score=application({1: -51.0, 2: -50.0, 3: -1000.0}), direct=[3])
    assert lone.publish(message(1)) == [2, 3, 4]


def test_without_flooding_the_mesh_gets_it_and_those_outside_any_mesh() -> None:
    lone = Lone(TO_THE_MESH, peers=20, direct=[31])
    lone.add(30, Version.FLOODSUB)
    lone.add(31)
    assert lone.publish(message(1)) == [*lone.mesh(), 30, 31]


def test_a_message_is_published_once() -> None:
    lone = Lone(peers=3)
    assert lone.publish(message(1)) == [1, 2, 3]
    assert lone.publish(message(1)) == []
    assert lone.says(1, message(1)) == []


def test_without_subscribers_there_are_no_recipients() -> None:
    lone = Lone(joined=False)
    assert lone.publish(message(1)) == []


def test_the_author_is_not_sent_its_own_message() -> None:
    lone = Lone(peers=3)
    assert lone.publish(message(1, author=2)) == [1, 3]


# ---- fanout


def test_a_topic_we_have_not_joined_gets_a_fanout_that_stays() -> None:
    lone = Lone(TO_THE_MESH, peers=30, joined=False)
    fanout = lone.publish(message(1))
    assert len(fanout) == 6
    assert lone.numbers(lone.core.fanout("t")) == fanout
    lone.beat(10)
    assert lone.publish(message(2)) == fanout


def test_a_fanout_expires_a_minute_after_the_last_message() -> None:
    lone = Lone(TO_THE_MESH, peers=30, joined=False)
    lone.publish(message(1))
    lone.wait(50)
    lone.publish(message(2))
    lone.wait(59)
    assert len(lone.core.fanout("t")) == 6
    lone.wait(3)
    assert lone.core.fanout("t") == []


def test_a_fanout_loses_those_who_leave_and_is_refilled() -> None:
    lone = Lone(TO_THE_MESH, peers=30, joined=False)
    fanout = lone.publish(message(1))
    lone.says(fanout[0], unsubscribe=["t"])
    lone.remove(fanout[1])
    assert lone.numbers(lone.core.fanout("t")) == fanout[2:]
    lone.beat()
    refilled = lone.numbers(lone.core.fanout("t"))
    assert len(refilled) == 6
    assert not {fanout[0], fanout[1]} & set(refilled)


def test_a_fanout_loses_those_whose_score_falls() -> None:
    scores: dict[int, float] = {}
    by_id = {peer_id(index): index for index in range(31)}
    config = ScoreConfig(application_score=lambda peer: scores.get(by_id[peer], 0.0), application_weight=1.0)
    lone = Lone(TO_THE_MESH, peers=30, joined=False, score=config)
    fanout = lone.publish(message(1))
    scores[fanout[0]] = -51.0
    lone.beat()
    assert fanout[0] not in lone.numbers(lone.core.fanout("t"))


def test_a_fanout_is_chosen_among_mesh_peers_with_a_fair_score() -> None:
    lone = Lone(TO_THE_MESH, peers=3, joined=False, score=application({1: -51.0}), direct=[2])
    lone.add(4, Version.FLOODSUB)
    assert lone.publish(message(1)) == [2, 3, 4]
    assert lone.numbers(lone.core.fanout("t")) == [3]


def test_a_peer_of_the_fanout_that_turns_to_floodsub_gets_one_copy() -> None:
    lone = Lone(TO_THE_MESH, peers=3, joined=False)
    lone.publish(message(1))
    lone.core.add_peer(peer_id(2), Version.FLOODSUB, outbound=True, ips=[], now=lone.now)
    assert lone.publish(message(2)) == [1, 2, 3]
    assert lone.numbers(lone.core.fanout("t")) == [1, 3]


# ---- floodsub


def test_a_floodsub_router_sends_everything_to_everyone_in_the_topic() -> None:
    lone = Lone(GossipConfig(floodsub_only=True), peers=30)
    assert lone.mesh() == []
    (fresh,) = lone.says(3, message(1, author=5))
    assert lone.accept(fresh) == [index for index in range(1, 31) if index not in (3, 5)]
    assert lone.publish(message(2)) == list(range(1, 31))
    lone.beat(3)
    assert lone.told() == {}


def test_a_floodsub_router_declines_nothing() -> None:
    lone = Lone(GossipConfig(floodsub_only=True), peers=3)
    lone.says(1, message(1, size=5000))
    assert lone.told() == {}
