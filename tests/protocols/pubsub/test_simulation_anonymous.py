"""A network such as Ethereum's (unsigned, ids of the content, a heartbeat of 0.7 s): every node gets every message."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from peerstack.protocols.pubsub import GossipConfig, sha256_of_data
from peerstack.protocols.pubsub.router.events import AcceptStatus
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.simulation import Protocol, Scenario, Simulation, simulation
from peerstack.protocols.pubsub.simulation.honest_node import HonestNode
from peerstack.protocols.pubsub.simulation.network import Edge, Network, content_of
from peerstack.protocols.pubsub.simulation.results import Record
from peerstack.protocols.pubsub.simulation.scenario import TOPIC
from peerstack.protocols.pubsub.wire import decode_rpc, make_message
from peerstack.stack.identity import PeerId


@dataclass(frozen=True, kw_only=True)
class Anonymous(Scenario):
    """Fourteen nodes, of which the first does nothing for a while: as one that gets no processor."""

    frozen: float = 0.0
    flood_publish: bool = True

    @property
    def gossip(self) -> GossipConfig:
        return GossipConfig(heartbeat_interval=0.7, flood_publish=self.flood_publish)

    @property
    def score(self) -> ScoreConfig:
        return ScoreConfig.recommended()


class AnonymousRouter(HonestNode):
    """Signs nothing, and makes ids of the content."""

    def __init__(self, index: int, peer_id: PeerId, scenario: Scenario, network: Network, record: Record) -> None:
        super().__init__(index, peer_id, scenario, network, record)
        assert isinstance(scenario, Anonymous)
        thaws = scenario.warm_up + 1 + scenario.frozen
        self._frozen = (scenario.warm_up + 1, thaws) if scenario.frozen and not index else (0.0, 0.0)

    def take(self, edge: Edge, frame: bytes) -> None:
        core, sender, now = self.router, edge.source.peer_id, self._schedule.now
        if self._frozen[0] <= now < self._frozen[1]:
            self._schedule.at(self._frozen[1], self.take, edge, frame)
            return
        if sender not in self._edges:
            self._begin(edge.back, outbound=False)
        rpc = decode_rpc(content_of(frame))
        if rpc.messages and core.accept_from(sender, now) is not AcceptStatus.ALL:
            rpc.messages = []
        for message in rpc.messages:
            message.id = sha256_of_data(message)
        fresh = core.receive(sender, rpc, now)
        self._flush()
        for message in fresh:
            self._record.deliver(message.id, self.index, now)
            self._forward(message, core.accept(message, now))
        self._flush()

    def publish(self, payload: bytes) -> None:
        now = self._schedule.now
        if self._frozen[0] <= now < self._frozen[1]:
            self._schedule.at(self._frozen[1], self.publish, payload)
            return
        message = make_message(TOPIC, payload)
        message.id = sha256_of_data(message)
        self._record.publish(message.id, self.index, now)
        self._forward(message, self.router.publish(message, now) or [])
        self._flush()

    def _on_deadline(self) -> None:
        if self._frozen[0] <= self._schedule.now < self._frozen[1]:
            self._schedule.at(self._frozen[1], self._on_deadline)
        else:
            super()._on_deadline()


NEAR = (0.0005, 0.003)
FAR = (0.001, 0.1)
SCENARIOS = {
    "a burst": Anonymous(interval=0.001, connections=13, latency=NEAR),
    "slow and thin lines": Anonymous(interval=0.005, connections=3, latency=FAR, bandwidth=300_000.0),
    "lossy lines": Anonymous(interval=0.005, connections=4, latency=FAR, loss=0.05),
    "a node that freezes": Anonymous(interval=0.05, connections=13, latency=NEAR, frozen=5.0),
    "no flood, and one freezes": Anonymous(interval=0.05, connections=4, latency=FAR, frozen=3.0, flood_publish=False),
}


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("size", [200, 2000])  # with and without IDONTWANT
def test_every_node_gets_every_message(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = SCENARIOS[name]
    monkeypatch.setattr(simulation, "HonestNode", AnonymousRouter)
    scenario = Anonymous(
        nodes=14,
        sources=14,
        messages=56,
        size=size,
        seed=size,
        protocol=Protocol.V12,
        warm_up=3.0,
        linger=8.0,
        interval=chosen.interval,
        connections=chosen.connections,
        latency=chosen.latency,
        bandwidth=chosen.bandwidth,
        loss=chosen.loss,
        frozen=chosen.frozen,
        flood_publish=chosen.flood_publish,
    )
    simulated = Simulation(scenario)
    list(simulated.run())
    results = simulated.results()
    assert results.deliveries == 14 * 56
    assert results.lateness.missing == results.census.suspects == 0
    assert bool(results.traffic.idontwant) == (size >= 1024)
