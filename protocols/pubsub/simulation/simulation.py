"""A simulation: builds the nodes of a scenario, runs them, and returns the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from peerstack.stack.identity import PeerId
from peerstack.stack.testing.deterministic import seeded_identity

from .honest_node import HonestNode
from .network import Network, Schedule
from .results import Census, Record, Results
from .scenario import Attack, Scenario
from .sybil import Sybil

STEP = 1.0
"""Simulated seconds from one pause of `run` to the next."""


class Simulation:
    """One simulation. Iterate over `run()` to its end, then ask for the `results()`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._schedule = Schedule()
        self._network = Network(scenario, self._schedule)
        self._record = Record()
        self._random = Random(f"{scenario.seed}/script")
        ids = Random(f"{scenario.seed}/identities")
        self._routers = [
            HonestNode(index, seeded_identity(ids).peer_id, scenario, self._network, self._record)
            for index in range(scenario.nodes)
        ]
        chosen = self._random.sample(range(scenario.nodes), min(scenario.sources + 1, scenario.nodes))
        self._sources = chosen[: scenario.sources]
        self._target = chosen[-1] if scenario.attack is Attack.ECLIPSE else chosen[0]
        self._sybils = [self._sybil(number, seeded_identity(ids).peer_id) for number in range(scenario.sybils)]
        self._census = Census({}, 0, 0)
        self._connect()
        self._plan()

    # ---- the nodes

    def _sybil(self, number: int, peer_id: PeerId) -> Sybil:
        target = self._routers[self._target].peer_id
        index = self.scenario.nodes + number
        return Sybil(index, number, peer_id, self.scenario, self._network, target=target)

    def _connect(self) -> None:
        scenario = self.scenario
        random = Random(f"{scenario.seed}/topology")
        count = min(scenario.connections, scenario.nodes - 1)
        for router in self._routers:
            # One more than needed, since the node itself may be among them.
            chosen = random.sample(self._routers, count + 1)
            for other in [other for other in chosen if other is not router][:count]:
                router.connect(other)
        for sybil in self._sybils:
            if scenario.attack is Attack.ECLIPSE:
                victims = [self._routers[self._target]]
            else:
                victims = random.sample(self._routers, min(scenario.sybil_connections, scenario.nodes))
            comes_late = scenario.attack in (Attack.ECLIPSE, Attack.CENSOR)
            self._schedule.at(scenario.attack_at if comes_late else 0.0, sybil.connect, victims)

    def _plan(self) -> None:
        scenario = self.scenario
        for number in range(scenario.messages):
            source = self._routers[self._random.choice(self._sources)]
            payload = self._random.randbytes(scenario.size)
            self._schedule.at(scenario.warm_up + number * scenario.interval, source.publish, payload)
        self._schedule.at(scenario.ends - scenario.linger, self._count)

    def _count(self) -> None:
        """Look at the meshes at the end of the traffic; silence would change the scores."""
        meshes = [router.mesh() for router in self._routers]
        self._census = Census(
            degrees=dict(sorted(Counter(map(len, meshes)).items())),
            sybils=sum(not isinstance(node, HonestNode) for mesh in meshes for node in mesh),
            suspects=sum(len(router.suspects()) for router in self._routers),
        )

    # ---- running

    def run(self) -> Iterator[float]:
        """Run second by second, and yield the share that is done after each."""
        ends = self.scenario.ends
        while self._schedule.now < ends:
            self._schedule.run(min(self._schedule.now + STEP, ends))
            yield self._schedule.now / ends

    # ---- results

    def results(self) -> Results:
        """Return the results."""
        scenario, record = self.scenario, self._record
        nodes, author = self._aim()
        return Results(
            trace_hash=self._network.trace.hash(),
            connections=self._network.connections,
            traffic=self._network.traffic,
            deliveries=record.deliveries + record.published,
            duplicates=record.copies_received - record.deliveries,
            lateness=record.lateness(range(len(self._routers))),
            affected=record.lateness(nodes, since=scenario.attack_at, author=author),
            settled=record.lateness(nodes, since=scenario.last_quarter, author=author),
            histogram=record.histogram(),
            messages=record.messages(nodes, author=author),
            census=self._census,
        )

    def _aim(self) -> tuple[Sequence[int], int | None]:
        """Return the nodes that the attack targets, and the author whose messages it targets, None for all."""
        match self.scenario.attack:
            case Attack.ECLIPSE:
                return [self._target], None
            case Attack.CENSOR:
                return range(len(self._routers)), self._target
            case _:
                return range(len(self._routers)), None
