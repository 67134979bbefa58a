"""Sybils in simulated networks: what each kind does, what that does to the honest, and what scores do about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peerstack.protocols.pubsub.simulation import Attack, Protocol, Results, Scenario, Simulation
from peerstack.protocols.pubsub.simulation.honest_node import HELLO
from peerstack.protocols.pubsub.simulation.network import Edge, Network, Schedule, content_of
from peerstack.protocols.pubsub.simulation.scenario import TOPIC
from peerstack.protocols.pubsub.simulation.sybil import Sybil
from peerstack.protocols.pubsub.wire import Prune, Rpc, decode_rpc, encode_control, frame, make_message
from peerstack.stack.identity import PeerId

AUTHOR, TARGET = 7, 8
SMALL = Scenario(
    nodes=24,
    messages=60,
    interval=0.2,
    connections=6,
    sources=6,
    warm_up=5.0,
    linger=6.0,
    protocol=Protocol.V11,
    attack=Attack.SYBIL,
    sybils=48,
    sybil_connections=8,
)


def peer(number: int) -> PeerId:
    return PeerId.from_bytes(b"\x00\x24\x08\x01\x12\x20" + number.to_bytes(32, "big"))


def simulate(scenario: Scenario) -> Results:
    world = Simulation(scenario)
    for _ in world.run():
        pass
    return world.results()


class Honest:
    """A node that subscribes when a peer comes, and notes what it hears."""

    def __init__(self, index: int, network: Network) -> None:
        self.index, self.name, self.peer_id = index, f"n{index}", peer(index)
        self.heard: list[tuple[float, Rpc]] = []
        self.edge: Edge | None = None
        self._network = network

    def take(self, edge: Edge, frame: bytes) -> None:
        if self.edge is None:
            self.edge = edge.back
            self._network.send(self.edge, HELLO)
        self.heard.append((self._network.schedule.now, decode_rpc(content_of(frame))))

    def lose(self, edge: Edge) -> None:
        self.edge = None

    def say(self, *parts: bytes) -> None:
        assert self.edge is not None
        self._network.send(self.edge, frame(parts))

    @property
    def messages(self) -> list[bytes]:
        return [message.data for _, rpc in self.heard for message in rpc.messages]

    @property
    def grafts(self) -> list[float]:
        return [at for at, rpc in self.heard if rpc.graft]


class Scene:
    """One sybil between two honest nodes, into whose meshes it has come."""

    def __init__(self, attack: Attack) -> None:
        self.scenario = replace(SMALL, attack=attack, sybils=1, latency=(0.01, 0.01), jitter=0.0)
        self.schedule = Schedule()
        network = Network(self.scenario, self.schedule)
        self.one, self.other = Honest(0, network), Honest(1, network)
        self.sybil = Sybil(2, 0, peer(2), self.scenario, network, target=peer(TARGET))
        self.sybil.connect([self.one, self.other])
        self.schedule.run(1.0)

    def tell(self, data: bytes, author: int = AUTHOR) -> list[bytes]:
        """Let one node send a message to the sybil; return all that the other has got since the beginning."""
        self.one.say(make_message(TOPIC, data, author=peer(author).to_bytes(), seqno=data.rjust(8)).entry)
        self.schedule.run(self.schedule.now + 1)
        return self.other.messages


# ---- one sybil


@pytest.mark.parametrize("attack", [attack for attack in Attack if attack is not Attack.NONE])
def test_a_sybil_subscribes_and_grafts_all_subscribers(attack: Attack) -> None:
    scene = Scene(attack)
    for node in (scene.one, scene.other):
        assert [subscription.topic for subscription in node.heard[0][1].subscriptions] == [TOPIC]
        assert len(node.grafts) == 1


@pytest.mark.parametrize("attack", [Attack.SYBIL, Attack.SPAM, Attack.ECLIPSE])
def test_nothing_is_passed_on(attack: Attack) -> None:
    assert Scene(attack).tell(b"news") == []


def test_a_censor_passes_on_all_but_one_author() -> None:
    scene = Scene(Attack.CENSOR)
    assert scene.tell(b"news") == [b"news"]
    assert scene.tell(b"truth", TARGET) == [b"news"]


def test_a_flash_begins_when_it_is_time() -> None:
    scene = Scene(Attack.FLASH)
    assert scene.tell(b"before") == [b"before"]
    scene.schedule.run(scene.scenario.attack_at)
    assert scene.tell(b"after") == [b"before"]


def test_what_is_passed_on_goes_neither_back_nor_twice() -> None:
    scene = Scene(Attack.CENSOR)
    scene.tell(b"news")
    assert scene.tell(b"news") == [b"news"]
    assert scene.one.messages == []


def test_outside_a_mesh_nothing_is_sent() -> None:
    scene = Scene(Attack.CENSOR)
    scene.other.say(*encode_control(prune=[Prune(TOPIC)]))
    scene.schedule.run(2.0)
    assert scene.tell(b"news") == []
    scene.other.say(*encode_control(graft=[TOPIC]))
    scene.schedule.run(4.0)
    assert scene.tell(b"more") == [b"more"]


@pytest.mark.parametrize(("attack", "least", "most"), [(Attack.SPAM, 0.9, 1.1), (Attack.SYBIL, 60.0, 75.1)])
def test_a_pruned_sybil_comes_back(attack: Attack, least: float, most: float) -> None:
    scene = Scene(attack)
    pruned_at = scene.schedule.now
    scene.one.say(*encode_control(prune=[Prune(TOPIC)]))
    scene.schedule.run(pruned_at + 100.0)
    _, again = scene.one.grafts
    assert least < again - pruned_at < most


def test_a_sybil_that_was_hung_up_on_is_silent() -> None:
    scene = Scene(Attack.CENSOR)
    edge = scene.other.edge
    assert edge is not None
    edge.closed = edge.back.closed = True
    scene.sybil.lose(edge)
    assert scene.tell(b"news") == []


# ---- whole networks


def test_sybils_at_the_start_fill_the_meshes_and_make_messages_late() -> None:
    peace = simulate(replace(SMALL, attack=Attack.NONE, sybils=0))
    attacked = simulate(replace(SMALL, scored=False))
    assert attacked.census.sybil_share > 0.8
    assert peace.affected.p99 is not None
    assert attacked.affected.p99 is None or attacked.affected.p99 > 2 * peace.affected.p99
    assert attacked.affected == attacked.lateness


def test_an_eclipse_is_aimed_at_one_node_in_the_middle_of_the_run() -> None:
    scenario = replace(SMALL, attack=Attack.ECLIPSE, scored=False)
    results = simulate(scenario)
    assert results.connections == simulate(replace(SMALL, attack=Attack.NONE, sybils=0)).connections + 48
    assert results.affected.expected == 40
    assert results.settled.expected == 15
    assert scenario.attack_at == pytest.approx(5.0 + 20 * 0.2)


def test_a_censor_is_measured_by_the_messages_of_its_target() -> None:
    results = simulate(replace(SMALL, attack=Attack.CENSOR))
    assert len({message.author for message in results.messages}) == 1
    late = [message for message in results.messages if message.at >= replace(SMALL, attack=Attack.CENSOR).attack_at]
    assert results.affected.expected == len(late) * 23
    assert 0 < len(results.messages) < 60


def test_a_flash_is_not_felt_before_it_begins() -> None:
    scenario = replace(SMALL, protocol=Protocol.V10, attack=Attack.FLASH)
    results = simulate(scenario)
    before = [message.lateness.max or 9 for message in results.messages if message.at < scenario.attack_at - 0.5]
    after = [message.lateness.max or 9 for message in results.messages if message.at >= scenario.attack_at]
    assert max(before) < 0.5 < max(after)


@pytest.mark.slow
def test_scores_drive_out_those_who_pass_nothing_on() -> None:
    scenario = replace(SMALL, messages=360, sybils=24)
    with_scores, without = simulate(scenario), simulate(replace(scenario, scored=False))
    assert with_scores.census.sybil_share < without.census.sybil_share / 2
    assert with_scores.settled.p99 is not None
    assert without.settled.p99 is not None
    assert with_scores.settled.p99 < without.settled.p99
    # Hardly any honest peer is suspected: of those who see one another, less than one in fifty.
    assert with_scores.census.suspects <= 24 * 12 / 50


@pytest.mark.slow
def test_scores_cut_off_those_who_ignore_backoffs() -> None:
    scenario = replace(SMALL, messages=200, attack=Attack.SPAM, sybils=24)
    with_scores, without = simulate(scenario), simulate(replace(scenario, scored=False))
    assert with_scores.census.sybil_share < 0.05
    assert without.census.sybil_share > 0.3
