"""The teams of publish/subscribe: who is connected with whom, and what counts as delivered."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import pubsub
from benchmarks.entrants import Entrants
from benchmarks.measures import GROUPS, OURS, QUICK
from benchmarks.pubsub import TEAM_WORK, Sent, open_team, ring
from benchmarks.rounds import measure, plan
from interop.matrix import Program
from interop.peer import CommandFailed

FAKE = str(Path(__file__).with_name("fake_bench_peer.py"))


def fake(fault: str = "") -> Program:
    return Program(name="fake", argv=[sys.executable, FAKE, fault])


def test_each_of_ten_has_six_neighbours() -> None:
    links = ring(10, 6)
    assert set(Counter(peer for link in links for peer in link).values()) == {6}
    assert len({frozenset(link) for link in links}) == 30


def test_two_have_one_connection() -> None:
    assert ring(2, 1) == [(0, 1)]


def test_rate_is_that_of_messages_that_all_have() -> None:
    sent = Sent(expected=90, delivered=45, receivers=9, seconds=0.5, processor_seconds=1)
    assert sent.rate == 10


async def test_everything_that_all_receive_is_delivered() -> None:
    async with open_team(fake(), 3) as team:
        sent = [await team.publish(count, 64) for count in (5, 7)]
    assert [(one.expected, one.delivered) for one in sent] == [(10, 10), (14, 14)]


async def test_what_does_not_come_is_lost_and_ends_the_waiting() -> None:
    async with open_team(fake("lossy"), 3) as team:
        sent = [await team.publish(count, 64) for count in (5, 7)]
    assert [(one.expected, one.delivered) for one in sent] == [(10, 4), (14, 8)]


async def test_many_messages_are_published_by_several_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "AT_ONCE", 4)
    async with open_team(fake(), 2) as team:
        for count in (10, 3):  # the fake refuses numbers that do not follow what it has published
            assert (await team.publish(count, 64)).delivered == count


async def test_a_peer_that_sees_no_other_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "READY_SECONDS", 0)
    with pytest.raises(ValueError, match=r"fake \(1\) did not see 1 subscribers"):
        async with open_team(fake("alone"), 2):
            raise AssertionError("no peer is ready")


async def test_failure_leaves_as_itself() -> None:
    with pytest.raises(CommandFailed, match="not today"):
        async with open_team(fake("publish"), 2) as team:
            await team.publish(1, 64)


async def test_each_group_finds_all_its_measures() -> None:
    groups = [group for group in GROUPS if group.key in TEAM_WORK]
    entrants = Entrants(programs={OURS: fake()})
    results = await measure(entrants, groups, 1, QUICK, "bench")
    assert results.failures == []
    assert results.samples.keys() == {measure.key for group in groups for measure in group.measures}
    assert {key: results.of(key, OURS) for key in results.samples if "lost" in key} == {
        "lost_2": [0],
        "lost_10": [0],
        "burst_lost_2": [0],
        "burst_lost_10": [0],
    }
    rates = [value for key in results.samples if "rate" in key for value in results.of(key, OURS)]
    assert all(rate and rate > 0 for rate in rates)


def test_what_takes_long_is_taken_in_few_rounds() -> None:
    turns = plan(Entrants(programs={OURS: fake()}), [group for group in GROUPS if group.key in TEAM_WORK], 5)
    assert Counter(turn.group.key for turn in turns) == {"pubsub": 3, "pubsub10": 1, "burst": 1, "burst10": 1}
