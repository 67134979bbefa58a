"""Joining and leaving topics: who is grafted, who is told, and how soon again."""

import pytest

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Grafted, Pruned, PruneReason, Version
from peerstack.protocols.pubsub.scoring.config import ScoreConfig

from .routers import Lone, message, peer_id

PUBLISHES = GossipConfig(flood_publish=False)


def test_joining_grafts_as_many_as_the_degree() -> None:
    lone = Lone(peers=20)
    assert len(lone.mesh()) == 6
    grafted = [index for index, said in lone.told().items() if said.graft == ["t"]]
    assert grafted == lone.mesh()


def test_joining_grafts_all_if_they_are_few() -> None:
    lone = Lone(peers=4)
    assert lone.mesh() == [1, 2, 3, 4]
    assert lone.events(Grafted) == [Grafted(peer_id(index), "t") for index in (1, 2, 3, 4)]


def test_only_subscribers_that_can_be_in_a_mesh_are_grafted() -> None:
    lone = Lone(joined=False, direct=[3])
    lone.add(1)
    lone.add(2, Version.FLOODSUB)
    lone.add(3)
    lone.add(4, topics=["other"])
    lone.join()
    assert lone.mesh() == [1]


def test_joining_takes_the_peers_of_the_fanout_first() -> None:
    lone = Lone(PUBLISHES, peers=40, joined=False)
    fanout = lone.publish(message(1))
    assert len(fanout) == 6
    lone.join()
    assert lone.mesh() == fanout
    assert lone.core.fanout("t") == []


def test_joining_fills_up_a_fanout_that_is_too_small() -> None:
    lone = Lone(PUBLISHES, peers=3, joined=False)
    fanout = lone.publish(message(1))
    for index in range(4, 20):
        lone.add(index)
    lone.join()
    assert len(lone.mesh()) == 6
    assert set(fanout) < set(lone.mesh())


def test_joining_leaves_out_those_with_a_negative_score() -> None:
    scores = {1: -1.0, 2: 0.0, 3: 1.0}
    names = {peer_id(index): score for index, score in scores.items()}
    config = ScoreConfig(application_score=lambda peer: names.get(peer, 0.0), application_weight=1.0)
    lone = Lone(peers=3, score=config)
    assert lone.mesh() == [2, 3]


def test_joining_twice_changes_nothing() -> None:
    lone = Lone(peers=20)
    mesh = lone.mesh()
    lone.told()
    lone.join()
    assert lone.mesh() == mesh
    assert lone.told() == {}


def test_leaving_prunes_everyone_with_the_short_backoff() -> None:
    lone = Lone(peers=3)
    lone.told()
    lone.leave()
    assert lone.mesh() == []
    for index in (1, 2, 3):
        (prune,) = lone.said_to(index).prune
        assert (prune.topic, prune.backoff, prune.peers) == ("t", 10, [])
    assert lone.events(Pruned) == [Pruned(peer_id(index), "t", PruneReason.LEFT) for index in (1, 2, 3)]


def test_a_peer_of_version_10_is_pruned_without_a_backoff_it_does_not_know() -> None:
    lone = Lone()
    lone.add(1, Version.V10)
    lone.beat()
    assert lone.mesh() == [1]
    lone.leave()
    (prune,) = lone.said_to(1).prune
    assert prune.backoff is None


@pytest.mark.parametrize(("pause", "mesh"), [(0.0, []), (9.0, []), (13.0, [1, 2, 3])])
def test_rejoining_waits_for_the_short_backoff(pause: float, mesh: list[int]) -> None:
    lone = Lone(peers=3)
    lone.leave()
    lone.wait(pause)
    lone.join()
    assert lone.mesh() == mesh


def test_after_rejoining_too_early_the_mesh_comes_back_by_itself() -> None:
    lone = Lone(peers=3)
    lone.leave()
    lone.join()
    lone.wait(13)
    assert lone.mesh() == [1, 2, 3]


def test_leaving_what_was_never_joined_is_nothing() -> None:
    lone = Lone(peers=3, joined=False)
    lone.leave("t")
    assert lone.told() == {}
