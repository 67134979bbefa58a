"""IDONTWANT: who hears of large messages before they are validated, and what we no longer send."""

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.router.events import Version

from .routers import Lone, message, peer_id


def declined(lone: Lone) -> list[int]:
    return [index for index, said in lone.told().items() if said.idontwant]


def test_the_mesh_hears_of_a_large_message_before_it_is_validated() -> None:
    lone = Lone(peers=4)
    lone.told()
    (fresh,) = lone.says(1, message(1, size=1024))
    assert lone.said_to(2).idontwant == [fresh.id]
    assert declined(lone) == [3, 4]
    assert lone.core.counts()["idontwant_sent"] == 3


def test_small_messages_are_not_worth_it() -> None:
    lone = Lone(peers=4)
    lone.says(1, message(1, size=1023))
    assert declined(lone) == []


def test_it_is_said_once() -> None:
    lone = Lone(peers=4)
    lone.says(1, message(1, size=2000))
    declined(lone)
    lone.says(2, message(1, size=2000))
    assert declined(lone) == []


def test_only_mesh_peers_that_speak_v12_get_idontwant() -> None:
    lone = Lone(GossipConfig(degree=2, degree_low=0, degree_high=10, degree_out=0, degree_score=0))
    for index, version in ((1, Version.V13), (2, Version.V12), (3, Version.V11), (4, Version.V10), (5, Version.V12)):
        lone.add(index, version)
        if index < 5:
            lone.says(index, graft=["t"])
    lone.add(6)
    lone.told()
    lone.says(6, message(1, size=2000))
    assert declined(lone) == [1, 2]


def test_peers_that_sent_idontwant_get_none() -> None:
    lone = Lone(peers=4)
    lone.says(3, idontwant=[message(1).id])
    lone.says(1, message(1, size=2000))
    assert declined(lone) == [2, 4]


def test_it_can_be_turned_off() -> None:
    lone = Lone(GossipConfig(idontwant=False), peers=4)
    lone.says(1, message(1, size=2000))
    assert declined(lone) == []


def test_messages_of_topics_we_are_not_in_are_not_declined() -> None:
    lone = Lone(peers=4)
    lone.says(1, message(1, topic="other", size=2000))
    assert declined(lone) == []


def test_a_forgery_beside_it_makes_no_difference() -> None:
    lone = Lone(peers=4)
    lone.says(1, message(1, size=2000))
    declined(lone)
    assert len(lone.says(2, message(1, size=2000, forged=True))) == 1
    assert declined(lone) == []


# ---- said to us


def test_a_declined_message_is_not_forwarded() -> None:
    lone = Lone(peers=4)
    (fresh,) = lone.says(1, message(1, size=2000))
    lone.says(3, idontwant=[fresh.id])
    assert lone.accept(fresh) == [2, 4]
    assert lone.core.counts()["saved"] == 1


def test_a_declined_message_is_not_published_to_the_peer_either() -> None:
    lone = Lone(peers=3)
    lone.says(3, idontwant=[message(1).id])
    assert lone.publish(message(1)) == [1, 2]


def test_a_copy_that_waits_in_a_queue_can_be_declined() -> None:
    lone = Lone(peers=2)
    assert lone.core.wants(peer_id(1), message(1).id)
    lone.says(1, idontwant=[message(1).id])
    assert not lone.core.wants(peer_id(1), message(1).id)
    assert lone.core.wants(peer_id(2), message(1).id)


def test_it_holds_for_three_heartbeats() -> None:
    lone = Lone(peers=2)
    lone.says(1, idontwant=[b"id"])
    lone.beat(2)
    assert not lone.core.wants(peer_id(1), b"id")
    lone.beat()
    assert lone.core.wants(peer_id(1), b"id")


def test_a_thousand_ids_are_remembered_between_two_heartbeats() -> None:
    lone = Lone(peers=2)
    ids = [number.to_bytes(4, "big") for number in range(3000)]
    lone.says(1, idontwant=ids[:600])
    lone.says(1, idontwant=ids[600:])
    kept = [each for each in ids if not lone.core.wants(peer_id(1), each)]
    assert kept == ids[:1000]
    assert lone.core.counts()["idontwant_ignored"] == 2000
    lone.says(2, idontwant=ids[2000:2001])
    assert not lone.core.wants(peer_id(2), ids[2000])
    lone.beat()
    lone.says(1, idontwant=ids[2000:])
    assert not lone.core.wants(peer_id(1), ids[2999])
