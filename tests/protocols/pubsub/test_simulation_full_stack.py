"""Twelve whole hosts with Noise, yamux and publish/subscribe over a simulated network: complete and repeatable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from peerstack import Host, open_host
from peerstack.protocols.pubsub import JoinedTopic, Pubsub, open_pubsub
from peerstack.stack.testing import LinkConditions, SimulatedNetwork, run_deterministic, seeded_identity

NODES, DIALS, MESSAGES = 12, 3, 10
WIDE_AREA = LinkConditions(latency=0.03, jitter=0.01, bandwidth=1e6)
LOSSY = LinkConditions(latency=0.03, jitter=0.01, loss=0.05)


@dataclass(frozen=True)
class Node:
    """A host with its pubsub, in one topic."""

    host: Host
    pubsub: Pubsub
    topic: JoinedTopic[bytes]


@asynccontextmanager
async def open_nodes(network: SimulatedNetwork, count: int) -> AsyncIterator[list[Node]]:
    if not count:
        yield []
        return
    opened = open_host(
        listen=["/memory/0"],
        identity=seeded_identity(network.random),
        transports=[network.node(f"n{count}")],
    )
    async with opened as host, open_pubsub(host, seed=count) as pubsub, pubsub.join("news") as topic:
        async with open_nodes(network, count - 1) as others:
            yield [Node(host, pubsub, topic), *others]


async def collect(node: Node, count: int, heard: dict[str, list[bytes]]) -> None:
    for _ in range(count):
        heard.setdefault(str(node.host.peer_id), []).append((await node.topic.receive()).data)


async def gossip(conditions: LinkConditions) -> tuple[str, dict[str, list[bytes]]]:
    """Let every node dial some others, and some publish; return the hash of what was sent and what was received."""
    async with SimulatedNetwork(7, conditions) as network:
        heard: dict[str, list[bytes]] = {}
        async with open_nodes(network, NODES) as nodes:
            for node in nodes:
                for other in network.random.sample([other for other in nodes if other is not node], DIALS):
                    await node.host.connect(*other.host.addresses)
            await trio.sleep(3)  # the clock of the simulation: for some heartbeats, in which meshes grow
            assert all(node.topic.mesh for node in nodes)
            authors = [network.random.choice(nodes) for _ in range(MESSAGES)]
            async with trio.open_nursery() as nursery:
                for node in nodes:
                    foreign = sum(author is not node for author in authors)
                    nursery.start_soon(collect, node, foreign, heard)
                for number, author in enumerate(authors):
                    await author.topic.publish(b"message %d" % number)
                    await trio.sleep(0.2)
        return network.trace_hash(contents=False), heard


@pytest.mark.slow
@pytest.mark.parametrize("conditions", [WIDE_AREA, LOSSY], ids=["wide area", "lossy"])
def test_every_node_gets_every_message_once_and_each_run_is_the_same(conditions: LinkConditions) -> None:
    trace, heard = run_deterministic(gossip, conditions, seed=3)
    everything = {b"message %d" % number for number in range(MESSAGES)}
    assert len(heard) == NODES
    for found in heard.values():
        assert len(found) == len(set(found))
        assert set(found) <= everything
    assert sum(map(len, heard.values())) == MESSAGES * (NODES - 1)
    assert run_deterministic(gossip, conditions, seed=3) == (trace, heard)
