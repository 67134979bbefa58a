"""Peers come, change and go, and nothing of them stays behind."""

from random import Random

import pytest

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import PeerSubscribed, PeerUnsubscribed, Pruned, PruneReason, Version
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.scoring.gater import GaterConfig
from peerstack.protocols.pubsub.validation.outcomes import RejectReason

from .routers import Lone, message, peer_id


def test_a_peer_that_goes_leaves_all_topics_and_meshes() -> None:
    lone = Lone(peers=2)
    lone.says(1, subscribe=["other"])
    lone.log.clear()
    lone.remove(1)
    assert lone.core.topic_peers("t") == [peer_id(2)]
    assert lone.core.topic_peers("other") == []
    assert lone.mesh() == [2]
    assert lone.events(Pruned) == [Pruned(peer_id(1), "t", PruneReason.DISCONNECTED)]
    assert lone.events(PeerUnsubscribed) == [PeerUnsubscribed(peer_id(1), topic) for topic in ("t", "other")]


def test_removing_a_peer_twice_or_one_that_never_was_is_nothing() -> None:
    lone = Lone(peers=1)
    lone.remove(1)
    lone.log.clear()
    lone.remove(1)
    lone.core.remove_peer(peer_id(40), lone.now)
    assert lone.log == []


def test_what_was_to_be_sent_to_a_peer_goes_with_it() -> None:
    lone = Lone(joined=False)
    lone.add(1)
    lone.core.join("t", lone.now)
    lone.core.remove_peer(peer_id(1), lone.now)
    assert lone.core.take_outgoing() == {}


def test_subscribing_twice_is_told_once() -> None:
    lone = Lone(peers=1)
    lone.says(1, subscribe=["t", "t"])
    assert lone.events(PeerSubscribed) == [PeerSubscribed(peer_id(1), "t")]
    lone.says(1, unsubscribe=["t", "t", "unknown"])
    assert lone.events(PeerUnsubscribed) == [PeerUnsubscribed(peer_id(1), "t")]


def test_a_peer_may_be_in_so_many_topics() -> None:
    lone = Lone(GossipConfig(max_topics_per_peer=10), peers=1)
    lone.says(1, subscribe=[f"topic {number}" for number in range(1000)])
    assert lone.core.counts()["topics_refused"] == 991
    assert len(lone.core._state.topics) == 10
    lone.says(1, unsubscribe=["topic 0"])
    lone.says(1, subscribe=["last"])
    assert lone.core.topic_peers("last") == [peer_id(1)]


def test_a_hundred_thousand_topics_leave_nothing_behind() -> None:
    lone = Lone(peers=1, joined=False)
    for begin in range(0, 100_000, 1000):
        topics = [f"{number}" for number in range(begin, begin + 1000)]
        lone.says(1, subscribe=topics)
        if begin % 2000:
            lone.says(1, unsubscribe=topics)
        lone.log.clear()
    assert len(lone.core._state.topics) <= 1024
    lone.remove(1)
    assert lone.core._state.topics == {}


def test_a_peer_whose_version_changes_keeps_its_topics() -> None:
    lone = Lone(peers=3)
    lone.core.add_peer(peer_id(2), Version.FLOODSUB, outbound=True, ips=[], now=lone.now)
    assert lone.mesh() == [1, 3]
    (fresh,) = lone.says(1, message(1))
    assert lone.accept(fresh) == [2, 3]
    lone.core.add_peer(peer_id(2), Version.V13, outbound=True, ips=[], now=lone.now)
    lone.beat()
    assert lone.mesh() == [1, 2, 3]


def live(lone: Lone, index: int, random: Random) -> None:
    """Let a peer do a bit of everything."""
    lone.add(index, random.choice([Version.FLOODSUB, Version.V10, Version.V12, Version.V13]), topics=["t", f"{index}"])
    lone.says(
        index,
        message(index, size=2000),
        graft=["t", "u"],
        ihave={"t": [b"%d" % index]},
        iwant=[message(number).id for number in range(index - 10, index) if number > 0],
        idontwant=[b"%d" % number for number in range(20)],
    )
    if index % 2:
        lone.says(index, prune=["t"], backoff=2**64 - 1)
    fresh = lone.says(index, message(index + 100_000))
    for each in fresh:
        if index % 3 == 0:
            lone.core.reject(each, RejectReason.VALIDATION_FAILED, lone.now)
        else:
            lone.accept(each)
    lone.core.dropped(message(index).id, peer_id(index), lone.now)


@pytest.mark.slow
def test_two_thousand_peers_leave_nothing_behind() -> None:
    # Fewer backoffs than peers, so that their limit is reached.
    lone = Lone(GossipConfig(max_backoffs=400), score=ScoreConfig(), gater=GaterConfig())
    lone.core.join("u", lone.now)
    random = Random(1)
    here: list[int] = []
    for index in range(1, 2001):
        live(lone, index, random)
        here.append(index)
        if len(here) > 50:
            lone.remove(here.pop(random.randrange(len(here))))
        if index % 100 == 0:
            lone.beat()
            lone.told()
            lone.log.clear()
            for each in list(lone.core._pending._by_id.values()):
                lone.core.ignore(each.message, RejectReason.VALIDATION_TIMED_OUT, lone.now)
            assert len(lone.core._mesh.backoffs) <= 2 * lone.config.max_backoffs
    for index in here:
        lone.remove(index)
    for validation in list(lone.core._pending._by_id.values()):
        lone.core.ignore(validation.message, RejectReason.VALIDATION_TIMED_OUT, lone.now)
    lone.wait(3700)
    core = lone.core
    assert core._state.peers == {}
    assert set(core._state.topics) == {"t", "u"}
    assert all(not topic.subscribers and not topic.always for topic in core._state.topics.values())
    assert core._state.pending == []
    assert lone.mesh("t") == lone.mesh("u") == []
    assert len(core._mesh.backoffs) == 0
    assert core._mesh.backoffs._until == {}
    assert len(core._seen) == len(core._cache) == len(core._pending) == 0
    assert core._cache._served == {}
    assert len(core._gossip.promises) == 0
    scores = core._thresholds.scores
    assert scores is not None
    assert scores.retained == scores.deliveries == 0
