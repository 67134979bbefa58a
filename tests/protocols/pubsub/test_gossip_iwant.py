"""IWANT: served from the cache, within limits for each message, peer and heartbeat."""

from peerstack.protocols.pubsub.router.config import GossipConfig
from peerstack.protocols.pubsub.scoring.config import ScoreConfig

from .routers import Lone, message, peer_id


def served(lone: Lone, index: int, *ids: bytes) -> list[bytes]:
    lone.says(index, iwant=ids)
    return [each.id for each in lone.said_to(index).messages]


def holding(
    *numbers: int, config: GossipConfig | None = None, score: ScoreConfig | None = None, size: int = 10
) -> Lone:
    lone = Lone(config, peers=3, score=score)
    for number in numbers:
        lone.publish(message(number, size=size))
    return lone


def test_cached_messages_are_sent() -> None:
    lone = holding(1, 2)
    assert served(lone, 1, message(2).id, b"unknown", message(1).id) == [message(2).id, message(1).id]


def test_messages_are_cached_for_five_heartbeats() -> None:
    lone = holding(1)
    lone.beat(4)
    assert served(lone, 1, message(1).id) == [message(1).id]
    lone.beat()
    assert served(lone, 1, message(1).id) == []


def test_forwarded_messages_are_cached_too_but_only_once_they_are_valid() -> None:
    lone = Lone(peers=3)
    received = message(1)
    lone.says(1, received)
    assert served(lone, 2, received.id) == []
    lone.accept(received)
    assert served(lone, 2, received.id) == [received.id]


def test_each_peer_gets_a_message_three_times() -> None:
    lone = holding(1)
    answers = [served(lone, 1, message(1).id) for _ in range(6)]
    assert answers == [[message(1).id]] * 3 + [[]] * 3
    assert served(lone, 2, message(1).id) == [message(1).id]
    assert lone.core.counts()["iwant_refused"] == 3


def test_reconnecting_does_not_reset_that() -> None:
    lone = holding(1)
    for _ in range(3):
        served(lone, 1, message(1).id)
    lone.remove(1)
    lone.add(1)
    assert served(lone, 1, message(1).id) == []


def test_asking_many_times_in_one_rpc_gets_one() -> None:
    lone = holding(1)
    assert served(lone, 1, *[message(1).id] * 1000) == [message(1).id]


def test_a_peer_gets_so_many_bytes_between_two_heartbeats() -> None:
    size = len(message(1, size=1000).encoded)
    lone = holding(1, 2, 3, config=GossipConfig(max_iwant_bytes=2 * size), size=1000)
    wanted = [message(number).id for number in (1, 2, 3)]
    assert served(lone, 1, *wanted) == wanted[:2]
    assert served(lone, 2, *wanted) == wanted[:2]
    lone.beat()
    assert served(lone, 1, wanted[2]) == [wanted[2]]


def test_what_a_peer_does_not_want_is_not_sent() -> None:
    lone = holding(1)
    lone.says(1, idontwant=[message(1).id])
    assert served(lone, 1, message(1).id) == []


def test_peers_below_the_gossip_threshold_get_nothing() -> None:
    scores = {peer_id(1): -10.0, peer_id(2): -10.1}
    config = ScoreConfig(application_score=lambda peer: scores.get(peer, 0.0), application_weight=1.0)
    lone = holding(1, score=config)
    assert served(lone, 1, message(1).id) == [message(1).id]
    assert served(lone, 2, message(1).id) == []
