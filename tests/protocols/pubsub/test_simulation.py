"""Simulated networks: repeatable to the byte, complete in peace, and as costly as published."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from peerstack.protocols.pubsub.scoring.score import PeerScore
from peerstack.protocols.pubsub.simulation import Lateness, Protocol, Results, Scenario, Simulation, score_config
from peerstack.protocols.pubsub.simulation.network import Edge, Network, Schedule, content_of
from peerstack.protocols.pubsub.simulation.scenario import TOPIC
from peerstack.protocols.pubsub.wire import decode_rpc
from peerstack.stack.identity import PeerId

SMALL = Scenario(nodes=40, messages=12, interval=0.5, connections=8, warm_up=5.0, linger=5.0)


def simulate(scenario: Scenario) -> Results:
    world = Simulation(scenario)
    assert list(world.run())[-1] == 1.0
    return world.results()


def peer(number: int) -> PeerId:
    return PeerId.from_bytes(b"\x00\x24\x08\x01\x12\x20" + number.to_bytes(32, "big"))


class Listener:
    """A node that only notes what it hears."""

    def __init__(self, index: int, schedule: Schedule) -> None:
        self.index, self.name, self.peer_id = index, f"n{index}", peer(index)
        self.heard: list[bytes] = []
        self.times: list[float] = []
        self.lost = 0
        self._schedule = schedule

    def take(self, edge: Edge, frame: bytes) -> None:
        self.heard.append(frame)
        self.times.append(self._schedule.now)

    def lose(self, edge: Edge) -> None:
        self.lost += 1


def two(scenario: Scenario) -> tuple[Schedule, Network, Edge, Listener]:
    schedule = Schedule()
    network = Network(scenario, schedule)
    near, far = Listener(0, schedule), Listener(1, schedule)
    edge = network.connect(near, far)
    assert edge is not None
    return schedule, network, edge, far


# ---- the clock


def test_calls_are_made_in_the_order_of_their_times_and_then_of_their_coming() -> None:
    schedule = Schedule()
    made: list[tuple[str, float]] = []

    def note(name: str) -> None:
        made.append((name, schedule.now))

    schedule.at(2.0, note, "late")
    schedule.at(1.0, note, "first")
    schedule.at(1.0, note, "second")
    schedule.at(9.0, note, "too late")
    schedule.run(5.0)
    assert made == [("first", 1.0), ("second", 1.0), ("late", 2.0)]
    assert schedule.now == 5.0


def test_a_call_for_the_past_is_made_now() -> None:
    schedule = Schedule()
    schedule.run(3.0)
    times: list[float] = []
    schedule.at(1.0, lambda: times.append(schedule.now))
    schedule.run(4.0)
    assert times == [3.0]


# ---- the links


def test_frames_arrive_in_order_however_they_are_jittered() -> None:
    schedule, network, edge, far = two(replace(SMALL, latency=(0.1, 0.1), jitter=5.0))
    sent = [bytes([number]) for number in range(50)]
    for frame in sent:
        network.send(edge, frame)
    schedule.run(10.0)
    assert far.heard == sent
    assert far.times == sorted(far.times)
    assert 0.1 <= far.times[0] < far.times[-1] <= 0.6


def test_bandwidth_holds_frames_up() -> None:
    schedule, network, edge, far = two(replace(SMALL, latency=(0.0, 0.0), bandwidth=1000.0))
    network.send(edge, bytes(500))
    network.send(edge, bytes(500))
    schedule.run(2.0)
    assert far.times == pytest.approx([0.5, 1.0])


def test_what_is_under_way_when_a_peer_hangs_up_is_lost() -> None:
    schedule, network, edge, far = two(replace(SMALL, latency=(0.1, 0.1)))
    network.send(edge, b"x")
    network.hang_up(edge)
    schedule.run(1.0)
    assert (far.heard, far.lost) == ([], 1)


def test_two_nodes_connect_once() -> None:
    _, network, edge, far = two(SMALL)
    assert network.connect(far, edge.source) is None
    assert network.connections == 1


# ---- whole networks


@pytest.mark.parametrize("protocol", Protocol)
def test_in_peace_every_message_comes_to_every_node_once(protocol: Protocol) -> None:
    results = simulate(replace(SMALL, protocol=protocol))
    assert results.lateness.missing == 0
    assert results.lateness.expected == 12 * 39
    assert sum(results.histogram) == 12 * 39
    assert results.deliveries == 12 * 40
    # Every copy is a first one or a duplicate.
    assert results.traffic.copies == results.duplicates + 12 * 39
    assert results.census.sybils == 0


def test_no_message_is_faster_than_the_links() -> None:
    lateness = simulate(replace(SMALL, latency=(0.3, 0.3), jitter=0.0)).lateness
    assert lateness.median == pytest.approx(0.6)
    assert lateness.max is not None
    assert lateness.max >= 0.6


def test_what_travels_are_rpcs(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: set[str] = set()
    send = Network.send

    def look(self: Network, edge: Edge, frame: bytes, digest: str | None = None) -> None:
        rpc = decode_rpc(content_of(frame))
        kinds.update(name for name in ("subscriptions", "messages", "ihave", "iwant", "graft") if getattr(rpc, name))
        assert rpc.ignored == 0
        send(self, edge, frame, digest)

    monkeypatch.setattr(Network, "send", look)
    simulate(replace(SMALL, nodes=80))
    assert kinds >= {"subscriptions", "messages", "ihave", "iwant", "graft"}


def test_large_messages_are_declined_from_version_12_on() -> None:
    counts = {
        protocol: simulate(replace(SMALL, protocol=protocol, size=4096, bandwidth=100_000.0)) for protocol in Protocol
    }
    assert counts[Protocol.V11].traffic.idontwant == 0
    assert counts[Protocol.V12].traffic.idontwant > 0
    assert counts[Protocol.V12].duplicates < counts[Protocol.V11].duplicates


def test_another_seed_is_another_run() -> None:
    assert simulate(SMALL).trace_hash == simulate(SMALL).trace_hash
    assert simulate(SMALL).trace_hash != simulate(replace(SMALL, seed=2)).trace_hash


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--version", "1.0"], ["--version", "1.2", "--attack", "flash"]], ids=" ".join)
def test_the_run_is_the_same_in_every_process(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "peerstack.cli", "simulate", "gossip", "--json"]
    command += ["--nodes", "40", "--messages", "8", "--degree", "8", *arguments]
    told = []
    for hash_seed in ("1", "2"):
        ran = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": hash_seed}
        )
        event = json.loads(ran.stdout)
        del event["wall_seconds"], event["peak_memory_bytes"]
        told.append(event)
    assert told[0] == told[1]


@pytest.mark.slow
def test_a_delivery_costs_about_as_many_sends_as_published() -> None:
    # 6.28 for 100 nodes and 10 messages in the README of simsub; docs/notes/simulation.md has the larger ones.
    results = simulate(Scenario(nodes=100, messages=10))
    assert results.sends_per_delivery == pytest.approx(6.28, rel=0.1)
    assert results.lateness.missing == 0
    assert results.lateness.max is not None
    assert results.lateness.max < 0.4


# ---- the account


def test_what_never_came_counts_as_later_than_all() -> None:
    assert Lateness.of([0.3, 0.1, 0.2], 4) == Lateness(4, 3, 0.2, None, 0.3)
    assert Lateness.of([0.3, 0.1, 0.2], 3).p99 == 0.3
    assert Lateness.of([0.5], 3) == Lateness(3, 1, None, None, 0.5)
    assert Lateness.of([], 0) == Lateness(0, 0, None, None, None)
    assert Lateness.of([0.5], 3).missing == 2


# ---- scores that fit


def test_a_silent_mesh_peer_falls_below_zero_and_a_working_one_does_not() -> None:
    rate = 5.0
    scores = PeerScore(score_config(rate), 0.0)
    for number in (1, 2):
        scores.add_peer(peer(number), [], 0.0)
        scores.graft(peer(number), TOPIC, 0.0)
    for second in range(1, 61):
        for number in range(int(rate)):
            message = bytes((second, number))
            scores.validate(message, TOPIC, float(second))
            scores.deliver(message, TOPIC, peer(3), float(second))
            # A quarter of the messages come from this peer, though never first.
            if number == 0:
                scores.duplicate(message, TOPIC, peer(1), second + 0.2)
        scores.decay(float(second))
    assert scores.score(peer(1)) > 0
    assert scores.score(peer(2)) < -90


def test_a_rate_of_nothing_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="must have messages"):
        score_config(0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 1},
        {"sources": 0},
        {"sources": 41},
        {"messages": 0},
        {"interval": 0.0},
        {"latency": (0.2, 0.1)},
        {"jitter": -1.0},
        {"loss": 1.0},
        {"bandwidth": 0.0},
        {"sybils": 3},
        {"attack": "sybil"},
    ],
    ids=str,
)
def test_impossible_scenarios_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(SMALL, **wrong)  # type: ignore[arg-type]  # deliberately any field
