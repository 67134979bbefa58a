"""Backoffs end when they should, whatever number a peer sends, and the memory of them is bounded."""

import pytest

from peerstack.protocols.pubsub.router.backoff import Backoffs
from peerstack.protocols.pubsub.router.config import GossipConfig

from .routers import Lone, peer_id

HUGE = [2**31, 2**63, 2**64 - 1]


def test_a_backoff_holds_for_its_time_and_a_slack_that_only_binds_us() -> None:
    backoffs = Backoffs(slack=1.0, limit=10)
    backoffs.add("t", peer_id(1), 10.0, now=100.0)
    assert backoffs.until("t", peer_id(1)) == 110.0
    assert not backoffs.graftable("t", peer_id(1), 110.9)
    assert backoffs.graftable("t", peer_id(1), 111.0)
    assert backoffs.graftable("t", peer_id(2), 100.0)
    assert backoffs.graftable("other", peer_id(1), 100.0)


def test_a_backoff_is_prolonged_but_never_shortened() -> None:
    backoffs = Backoffs(slack=0.0, limit=10)
    backoffs.add("t", peer_id(1), 60.0, now=100.0)
    backoffs.add("t", peer_id(1), 10.0, now=101.0)
    assert backoffs.until("t", peer_id(1)) == 160.0
    backoffs.add("t", peer_id(1), 60.0, now=110.0)
    assert backoffs.until("t", peer_id(1)) == 170.0


@pytest.mark.parametrize("seconds", HUGE)
def test_a_huge_backoff_is_an_hour(seconds: int) -> None:
    backoffs = Backoffs(slack=1.0, limit=10)
    backoffs.add("t", peer_id(1), float(seconds), now=100.0)
    assert backoffs.until("t", peer_id(1)) == 3700.0


def test_no_backoff_is_none() -> None:
    backoffs = Backoffs(slack=1.0, limit=10)
    backoffs.add("t", peer_id(1), 0.0, now=100.0)
    assert backoffs.graftable("t", peer_id(1), 100.0)
    assert len(backoffs) == 0


def test_what_is_over_is_forgotten() -> None:
    backoffs = Backoffs(slack=1.0, limit=10)
    backoffs.add("t", peer_id(1), 10.0, now=100.0)
    backoffs.add("t", peer_id(2), 20.0, now=100.0)
    backoffs.expire(111.0)
    assert backoffs.until("t", peer_id(1)) is None
    assert len(backoffs) == 1
    backoffs.expire(121.0)
    assert len(backoffs) == 0


def test_the_oldest_is_dropped_first() -> None:
    backoffs = Backoffs(slack=1.0, limit=3)
    for index in range(1, 6):
        backoffs.add("t", peer_id(index), 60.0, now=100.0)
    assert [backoffs.until("t", peer_id(index)) is not None for index in range(1, 6)] == [
        False,
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("seconds", HUGE)
def test_a_huge_backoff_survives_many_heartbeats(seconds: int) -> None:
    lone = Lone(peers=1)
    assert lone.mesh() == [1]
    lone.says(1, prune=["t"], backoff=seconds)
    assert lone.mesh() == []
    lone.beat(50)
    assert lone.mesh() == []
    lone.wait(3500)
    assert lone.mesh() == []
    lone.wait(100)
    assert lone.mesh() == [1]


def test_a_prune_without_a_backoff_gets_ours() -> None:
    lone = Lone(GossipConfig(prune_backoff=30.0), peers=1)
    lone.says(1, prune=["t"], backoff=0)
    lone.wait(30)
    assert lone.mesh() == []
    lone.wait(3)
    assert lone.mesh() == [1]


def test_a_backoff_outlasts_the_connection() -> None:
    lone = Lone(peers=1)
    lone.says(1, prune=["t"], backoff=60)
    lone.remove(1)
    lone.add(1)
    lone.wait(50)
    assert lone.mesh() == []
    lone.wait(15)
    assert lone.mesh() == [1]
