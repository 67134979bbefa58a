"""Trimming closes what is worth least, spares what is protected or new, and happens in rounds."""

from __future__ import annotations

import pytest

from peerstack.stack.identity import PeerId
from peerstack.stack.swarm.trim import Candidate, TrimConfig, Trimmer

PEERS = [PeerId.from_bytes(b"\x12\x20" + number.to_bytes(32, "big")) for number in range(300)]
NOW = 1000.0


def candidate(
    number: int, *, opened_at: float = 0.0, streams: int = 0, inbound: bool = True, peer: int | None = None
) -> Candidate[int]:
    return Candidate(number, PEERS[number if peer is None else peer], opened_at, streams, inbound)


def small() -> Trimmer:
    return Trimmer(TrimConfig(low=1, high=2))


@pytest.mark.parametrize("marks", [(-1, 2), (3, 2)])
def test_water_marks_out_of_order_are_refused(marks: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="water marks"):
        TrimConfig(low=marks[0], high=marks[1])


def test_negative_times_are_refused() -> None:
    with pytest.raises(ValueError, match="times"):
        TrimConfig(grace=-1)


def test_nothing_is_trimmed_up_to_the_high_mark_and_down_to_the_low_one_above_it() -> None:
    trimmer = Trimmer()
    assert trimmer.choose_to_trim([candidate(n) for n in range(192)], NOW) == []
    assert len(trimmer.choose_to_trim([candidate(n) for n in range(193)], NOW)) == 33


def test_the_least_valuable_go_first() -> None:
    trimmer = small()
    trimmer.tag(PEERS[0], "dht", 5)
    trimmer.tag(PEERS[0], "pubsub", 3)
    trimmer.tag(PEERS[1], "dht", 7)
    assert trimmer.value(PEERS[0]) == 8
    assert trimmer.choose_to_trim([candidate(n) for n in range(3)], NOW) == [2, 1]


def test_tags_replace_one_another_and_leave_nothing_behind() -> None:
    trimmer = small()
    trimmer.tag(PEERS[0], "dht", 5)
    trimmer.tag(PEERS[0], "dht", 1)
    assert trimmer.value(PEERS[0]) == 1
    trimmer.untag(PEERS[0], "dht")
    trimmer.untag(PEERS[0], "dht")
    trimmer.tag(PEERS[1], "a", 1)
    trimmer.tag(PEERS[1], "b", 1)
    trimmer.untag(PEERS[1], "a")
    assert trimmer.value(PEERS[1]) == 1
    trimmer.forget(PEERS[1])
    assert trimmer._tags == {}


def test_protected_peers_stay_until_the_last_protection_is_lifted() -> None:
    trimmer = small()
    trimmer.protect(PEERS[0], "user")
    trimmer.protect(PEERS[0], "relay")
    trimmer.forget(PEERS[0])
    assert trimmer.unprotect(PEERS[0], "user")
    assert trimmer.choose_to_trim([candidate(n) for n in range(3)], NOW) == [1, 2]
    assert not trimmer.unprotect(PEERS[0], "relay")
    assert not trimmer.unprotect(PEERS[0], "relay")
    assert not trimmer.is_protected(PEERS[0])
    assert trimmer._protected == {}


def test_new_connections_have_time_to_prove_their_worth() -> None:
    connections = [candidate(0, opened_at=NOW - 59), candidate(1, opened_at=NOW - 60), candidate(2, opened_at=NOW)]
    assert small().choose_to_trim(connections, NOW) == [1]


def test_connections_without_streams_go_first_then_inbound_then_younger_ones() -> None:
    connections = [
        candidate(0, streams=1, inbound=True),
        candidate(1, streams=0, inbound=False),
        candidate(2, streams=0, inbound=True, opened_at=1.0),
        candidate(3, streams=0, inbound=True, opened_at=2.0),
    ]
    assert Trimmer(TrimConfig(low=0, high=2)).choose_to_trim(connections, NOW) == [3, 2, 1, 0]


def test_rounds_are_apart() -> None:
    trimmer = small()
    connections = [candidate(n) for n in range(3)]
    assert trimmer.choose_to_trim(connections, NOW)
    assert trimmer.choose_to_trim(connections, NOW + 9.9) == []
    assert trimmer.choose_to_trim(connections, NOW + 10)
