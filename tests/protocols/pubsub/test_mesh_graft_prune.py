"""GRAFT and PRUNE of peers: who is taken, who is refused and at what price, and what is suggested instead."""

import pytest

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Misbehaved, PeersSuggested, PeerSubscribed, Version
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.wire import PeerInfo

from .routers import Lone, peer_id

NO_FILLING = GossipConfig(degree=3, degree_low=0, degree_out=0, degree_score=0, degree_high=4)
"""The heartbeat grafts no peer, so that only peers that graft us are in the mesh."""


def application(scores: dict[int, float]) -> ScoreConfig:
    by_id = {peer_id(index): score for index, score in scores.items()}
    return ScoreConfig(application_score=lambda peer: by_id.get(peer, 0.0), application_weight=1.0, default_topic=None)


def empty_mesh(config: GossipConfig = NO_FILLING, *, score: ScoreConfig | None = None, peers: int = 3) -> Lone:
    lone = Lone(config, score=score)
    for index in range(1, peers + 1):
        lone.add(index, outbound=False)
    return lone


def penalties(lone: Lone) -> list[float]:
    return [event.penalty for event in lone.events(Misbehaved) if isinstance(event, Misbehaved)]


def test_a_graft_is_taken() -> None:
    lone = empty_mesh()
    lone.says(2, graft=["t"])
    assert lone.mesh() == [2]
    assert lone.told() == {}


def test_a_graft_that_overtakes_its_subscription_is_taken_for_one() -> None:
    lone = empty_mesh()
    lone.add(9, topics=[])
    lone.says(9, graft=["t"])
    assert lone.mesh() == [9]
    assert PeerSubscribed(peer_id(9), "t") in lone.events(PeerSubscribed)
    lone.remove(9)
    assert lone.mesh() == []


def test_a_graft_for_an_unknown_topic_is_ignored() -> None:
    lone = empty_mesh()
    lone.says(1, graft=["unknown"])
    assert lone.told() == {}
    assert lone.core.topic_peers("unknown") == []


def test_version_10_answers_a_graft_for_an_unknown_topic() -> None:
    lone = Lone(GossipConfig.version_10())
    lone.add(1, Version.V10)
    lone.says(1, graft=["unknown"])
    (prune,) = lone.said_to(1).prune
    assert (prune.topic, prune.backoff) == ("unknown", None)


def test_a_graft_within_the_backoff_costs_one_penalty() -> None:
    lone = empty_mesh(score=ScoreConfig())
    lone.says(1, prune=["t"], backoff=60)
    lone.wait(15)
    lone.says(1, graft=["t"])
    assert lone.mesh() == []
    assert penalties(lone) == [1]
    assert lone.score(1) < 0
    (prune,) = lone.said_to(1).prune
    assert prune.backoff == 60


def test_a_graft_right_after_the_prune_costs_two_penalties() -> None:
    lone = empty_mesh(score=ScoreConfig())
    lone.says(1, prune=["t"], backoff=60)
    lone.wait(9.99)
    lone.says(1, graft=["t"])
    assert penalties(lone) == [2]
    assert lone.core.counts()["grafts_refused"] == 1


def test_ten_seconds_after_the_prune_it_costs_one() -> None:
    lone = empty_mesh()
    lone.says(1, prune=["t"], backoff=60)
    lone.wait(10)
    lone.says(1, graft=["t"])
    assert penalties(lone) == [1]


def test_a_graft_within_the_backoff_prolongs_it() -> None:
    lone = empty_mesh()
    lone.says(1, prune=["t"], backoff=60)
    lone.wait(59)
    lone.says(1, graft=["t"])
    lone.wait(59)
    lone.says(1, graft=["t"])
    assert penalties(lone) == [1, 1]


def test_a_graft_after_the_backoff_is_taken() -> None:
    lone = empty_mesh()
    lone.says(1, prune=["t"], backoff=60)
    lone.wait(60)
    lone.says(1, graft=["t"])
    assert lone.mesh() == [1]
    assert penalties(lone) == []


def test_reconnecting_does_not_end_a_backoff() -> None:
    lone = empty_mesh()
    lone.says(1, prune=["t"], backoff=60)
    lone.wait(20)
    lone.remove(1)
    lone.add(1)
    lone.says(1, graft=["t"])
    assert lone.mesh() == []
    assert penalties(lone) == [1]


def test_naming_a_topic_many_times_in_one_rpc_counts_once() -> None:
    lone = empty_mesh()
    lone.says(1, prune=["t"], backoff=60)
    lone.says(1, graft=["t"] * 1000)
    assert penalties(lone) == [2]
    assert len(lone.said_to(1).prune) == 1


def test_grafts_in_the_backoff_graylist_a_peer_and_then_are_ignored() -> None:
    lone = empty_mesh(score=ScoreConfig())
    lone.says(1, prune=["t"], backoff=60)
    for _ in range(10):
        lone.says(1, graft=["t"])
    assert lone.score(1) < -80
    assert sum(penalties(lone)) == 4
    assert len(lone.said_to(1).prune) == 2


def test_a_full_mesh_takes_only_peers_that_we_dialed() -> None:
    lone = empty_mesh(peers=5)
    for index in range(1, 6):
        lone.says(index, graft=["t"])
    assert lone.mesh() == [1, 2, 3, 4]
    assert lone.said_to(5).prune[0].backoff == 60
    lone.add(6, outbound=True)
    lone.says(6, graft=["t"])
    assert lone.mesh() == [1, 2, 3, 4, 6]
    assert penalties(lone) == []


def test_being_refused_by_a_full_mesh_begins_a_backoff() -> None:
    lone = empty_mesh(peers=5)
    for index in range(1, 6):
        lone.says(index, graft=["t"])
    lone.says(5, graft=["t"])
    assert penalties(lone) == [2]


def test_a_peer_with_a_negative_score_is_refused_and_backed_off_but_not_charged() -> None:
    lone = empty_mesh(GossipConfig(peer_exchange=True), score=application({1: -1.0}))
    lone.says(1, graft=["t"])
    assert 1 not in lone.mesh()
    (prune,) = lone.said_to(1).prune
    assert (prune.backoff, prune.peers) == (60, [])
    assert penalties(lone) == []


def test_a_direct_peer_is_told_that_it_does_not_belong_in_the_mesh() -> None:
    lone = Lone(NO_FILLING, direct=[1])
    lone.add(1)
    lone.says(1, graft=["t"])
    lone.says(1, graft=["t"])
    assert lone.mesh() == []
    assert [prune.topic for prune in lone.said_to(1).prune] == ["t", "t"]
    assert penalties(lone) == []


def test_a_floodsub_peer_is_not_taken() -> None:
    lone = Lone(NO_FILLING)
    lone.add(1, Version.FLOODSUB)
    lone.says(1, graft=["t"])
    assert lone.mesh() == []


def test_control_of_a_floodsub_peer_is_ignored() -> None:
    lone = Lone(NO_FILLING)
    lone.add(1, Version.FLOODSUB)
    lone.says(1, prune=["t"], ihave={"t": [b"new"]}, idontwant=[b"id"])
    assert lone.told() == {}
    assert lone.core.wants(peer_id(1), b"id")


def test_a_prune_takes_the_peer_out_at_once() -> None:
    lone = Lone(peers=6)
    lone.says(3, prune=["t"], backoff=60)
    assert lone.mesh() == [1, 2, 4, 5, 6]


def test_unsubscribing_takes_the_peer_out_too() -> None:
    lone = Lone(peers=6)
    lone.says(3, unsubscribe=["t"])
    assert lone.mesh() == [1, 2, 4, 5, 6]
    assert lone.core.topic_peers("t") == [peer_id(index) for index in (1, 2, 4, 5, 6)]


# ---- peer exchange


SUGGESTED = [PeerInfo(peer_id(index).to_bytes(), b"record %d" % index) for index in range(50, 53)]


def suggestions(lone: Lone) -> list[PeersSuggested]:
    return [event for event in lone.events(PeersSuggested) if isinstance(event, PeersSuggested)]


def test_suggestions_of_a_trusted_peer_are_passed_on() -> None:
    lone = Lone(peers=2, score=application({1: 10.0}))
    lone.says(1, prune=["t"], suggests=[*SUGGESTED, PeerInfo(peer_id(60).to_bytes(), None)])
    (event,) = suggestions(lone)
    assert event.source == peer_id(1)
    assert event.peers == [
        (peer_id(50), b"record 50"),
        (peer_id(51), b"record 51"),
        (peer_id(52), b"record 52"),
        (peer_id(60), b""),
    ]


@pytest.mark.parametrize("score", [0.0, 9.9, -5.0])
def test_suggestions_of_others_are_ignored(score: float) -> None:
    lone = Lone(peers=2, score=application({1: score}))
    lone.says(1, prune=["t"], suggests=SUGGESTED)
    assert suggestions(lone) == []


def test_without_scores_no_suggestion_is_used() -> None:
    lone = Lone(peers=2)
    lone.says(1, prune=["t"], suggests=SUGGESTED)
    assert suggestions(lone) == []


def test_suggesting_us_or_whom_we_know_or_nonsense_is_pointless() -> None:
    lone = Lone(peers=2, score=application({1: 10.0}))
    known = [PeerInfo(peer_id(0).to_bytes(), b""), PeerInfo(peer_id(2).to_bytes(), b""), PeerInfo(b"nonsense", b"")]
    lone.says(1, prune=["t"], suggests=known)
    assert suggestions(lone) == []


def test_of_many_suggestions_sixteen_are_read_by_lot() -> None:
    lone = Lone(peers=2, score=application({1: 10.0}))
    many = [PeerInfo(peer_id(index).to_bytes(), b"") for index in range(100, 160)]
    lone.says(1, prune=["t"], suggests=many)
    (event,) = suggestions(lone)
    assert len(event.peers) == 16
    assert [peer for peer, _ in event.peers] != [peer_id(index) for index in range(100, 116)]


def test_suggestions_with_a_prune_for_a_topic_we_are_not_in_are_ignored() -> None:
    lone = Lone(peers=2, score=application({1: 10.0}))
    lone.says(1, prune=["unknown"], suggests=SUGGESTED)
    assert suggestions(lone) == []


def test_we_suggest_fair_peers_of_the_topic_where_that_is_on() -> None:
    config = GossipConfig(degree=2, degree_low=1, degree_high=2, degree_out=0, degree_score=0, peer_exchange=True)
    lone = Lone(config, score=application({2: -1.0}))
    lone.add(9, topics=["other"])
    lone.add(8, Version.FLOODSUB)
    for index in range(1, 6):
        lone.add(index, outbound=False)
    lone.core.set_record(peer_id(3), b"record")
    lone.says(4, graft=["t"])
    lone.says(5, graft=["t"])
    lone.says(1, graft=["t"])
    (prune,) = lone.said_to(1).prune
    assert [(info.peer, info.record) for info in prune.peers] == [
        (peer_id(3).to_bytes(), b"record"),
        (peer_id(4).to_bytes(), None),
        (peer_id(5).to_bytes(), None),
    ]


def test_we_suggest_no_peers_by_default() -> None:
    lone = Lone(peers=20)
    lone.leave()
    assert all(not said.prune[0].peers for said in lone.told().values())
