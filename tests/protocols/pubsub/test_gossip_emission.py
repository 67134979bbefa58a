"""What we offer at a heartbeat, and to whom."""

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Version
from peerstack.protocols.pubsub.scoring.config import ScoreConfig

from .routers import Lone, message, peer_id


def offered(lone: Lone) -> dict[int, list[bytes]]:
    """Return what each peer was offered in the topic."""
    found = {}
    for index, said in lone.told().items():
        for offer in said.ihave:
            assert offer.topic == "t"
            found[index] = offer.ids
    return found


def test_recent_messages_are_offered_to_some_who_are_not_in_the_mesh() -> None:
    lone = Lone(peers=30)
    published = [message(number) for number in range(3)]
    for each in published:
        lone.publish(each)
    lone.beat()
    offers = offered(lone)
    assert len(offers) == 6
    assert not set(offers) & set(lone.mesh())
    for ids in offers.values():
        assert sorted(ids) == sorted(each.id for each in published)


def test_messages_are_offered_in_no_order_that_tells_how_they_came() -> None:
    orders = set()
    for seed in range(10):
        lone = Lone(peers=30, seed=seed)
        for number in range(5):
            lone.publish(message(number))
        lone.beat()
        orders.add(tuple(next(iter(offered(lone).values()))))
    assert len(orders) > 5


def test_a_quarter_of_many_is_told() -> None:
    lone = Lone(peers=106)
    lone.publish(message(1))
    lone.beat()
    assert len(offered(lone)) == 25


def test_messages_are_offered_at_three_heartbeats() -> None:
    lone = Lone(peers=30)
    lone.publish(message(1))
    beats = []
    for _ in range(6):
        lone.beat()
        beats.append(bool(offered(lone)))
    assert beats == [True, True, True, False, False, False]


def test_others_are_told_each_time() -> None:
    lone = Lone(peers=30)
    lone.publish(message(1))
    told = set()
    for _ in range(3):
        lone.beat()
        told |= set(offered(lone))
    assert len(told) > 6


def test_nothing_is_offered_when_there_is_nothing() -> None:
    lone = Lone(peers=30)
    lone.told()
    lone.beat(3)
    assert lone.told() == {}


def test_floodsub_and_direct_peers_and_those_of_low_score_are_not_told() -> None:
    scores = {peer_id(3): -10.1, peer_id(4): -10.0}
    config = ScoreConfig(application_score=lambda peer: scores.get(peer, 0.0), application_weight=1.0)
    lone = Lone(
        GossipConfig(degree=0, degree_low=0, degree_high=0, degree_score=0, degree_out=0, prune_peers=0),
        score=config,
        direct=[2],
    )
    lone.add(1, Version.FLOODSUB)
    for index in (2, 3, 4, 5):
        lone.add(index)
    lone.publish(message(1))
    lone.beat()
    assert sorted(offered(lone)) == [4, 5]


def test_of_very_many_messages_everyone_is_offered_others() -> None:
    lone = Lone(GossipConfig(max_ihave_ids=50), peers=20)
    for number in range(200):
        lone.publish(message(number))
    lone.beat()
    offers = list(offered(lone).values())
    assert [len(ids) for ids in offers] == [50] * 6
    assert len({message_id for ids in offers for message_id in ids}) > 100


def test_a_fanout_topic_is_gossiped_about_as_well() -> None:
    lone = Lone(GossipConfig(flood_publish=False), peers=30, joined=False)
    fanout = lone.publish(message(1))
    lone.beat()
    offers = offered(lone)
    assert len(offers) == 6
    assert not set(offers) & set(fanout)


# ---- what found no place in a queue


def test_a_dropped_copy_is_offered_to_its_peer_even_in_the_mesh() -> None:
    lone = Lone(peers=3)
    lone.publish(message(1))
    lone.core.dropped(message(1).id, peer_id(2), lone.now)
    lone.beat()
    assert offered(lone) == {2: [message(1).id]}
    lone.beat()
    assert offered(lone) == {}


def test_a_dropped_copy_is_not_offered_when_it_is_no_longer_wanted_or_here() -> None:
    lone = Lone(peers=3)
    lone.publish(message(1))
    lone.core.dropped(message(1).id, peer_id(2), lone.now)
    lone.core.dropped(b"never cached", peer_id(2), lone.now)
    lone.says(2, idontwant=[message(1).id])
    lone.beat()
    assert offered(lone) == {}


def test_dropped_copies_are_remembered_up_to_a_limit() -> None:
    lone = Lone(GossipConfig(max_dropped_ids=5), peers=3)
    for number in range(10):
        lone.publish(message(number))
        lone.core.dropped(message(number).id, peer_id(2), lone.now)
    lone.beat()
    assert offered(lone) == {2: [message(number).id for number in range(5)]}
    assert lone.core.counts()["dropped"] == 10


def test_who_enters_the_mesh_is_offered_what_came_before() -> None:
    lone = Lone(peers=1)
    lone.add(2)
    (came,) = lone.says(1, message(1))
    assert lone.accept(came) == []  # 2 is not in the mesh yet, and will be when gossip is sent
    lone.beat()
    assert lone.mesh() == [1, 2]
    assert offered(lone) == {2: [came.id]}
    lone.beat()
    assert offered(lone) == {}


def test_who_grafts_us_is_offered_what_came_before() -> None:
    lone = Lone(peers=1)
    lone.add(2)
    (came,) = lone.says(1, message(1))
    assert lone.accept(came) == []
    lone.says(2, graft=["t"])
    assert offered(lone) == {2: [came.id]}
    (later,) = lone.says(1, message(2))
    assert lone.accept(later) == [2]
    lone.beat()
    assert offered(lone) == {}
