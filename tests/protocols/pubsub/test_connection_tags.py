"""Peers in a mesh are worth more to the host than others, and direct ones are never trimmed."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio
import trio.testing

from peerstack import open_host
from peerstack.protocols.pubsub import open_pubsub
from peerstack.protocols.pubsub.router.events import Grafted, Pruned
from peerstack.protocols.pubsub.streams.connections import MESH_VALUE
from peerstack.stack.abc import Stream
from peerstack.stack.identity import PeerId
from peerstack.stack.swarm import TrimConfig
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .parts import Node, open_nodes, open_topics

Clock = trio.testing.MockClock


def value(node: Node, peer: PeerId) -> int:
    return node.host.swarm.trimmer.value(peer)


async def grafted(nodes: list[Node], count: int) -> None:
    with trio.fail_after(30):
        for node in nodes:
            await node.events.wait_for(Grafted, count=count)


async def test_a_peer_is_tagged_for_each_mesh_it_is_in_and_untagged_as_it_leaves(autojump_clock: Clock) -> None:
    async with open_nodes(2) as nodes:
        alice, bob = nodes
        async with open_topics(nodes, "news"):
            await grafted(nodes, 1)
            assert value(alice, bob.peer_id) == value(bob, alice.peer_id) == MESH_VALUE
            async with alice.pubsub.join("sport"):
                async with bob.pubsub.join("sport"):
                    await grafted(nodes, 2)
                    assert value(alice, bob.peer_id) == value(bob, alice.peer_id) == 2 * MESH_VALUE
                with trio.fail_after(30):  # alice is pruned, and stays in the topic
                    await alice.events.wait_for(Pruned)
                assert value(alice, bob.peer_id) == value(bob, alice.peer_id) == MESH_VALUE
        with trio.fail_after(30):
            await alice.events.wait_for(Pruned, count=2)
        assert value(alice, bob.peer_id) == value(bob, alice.peer_id) == 0


async def test_a_pubsub_that_is_closed_leaves_no_tags(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_nodes(1, network=network) as (alice,), alice.pubsub.join("news"):
        async with open_host(transports=[MemoryTransport(network)]) as host:
            async with open_pubsub(host) as pubsub, pubsub.join("news"):
                await host.connect(*alice.host.addresses)
                await grafted([alice], 1)
                assert host.swarm.trimmer.value(alice.peer_id) == MESH_VALUE
            assert host.peers == [alice.peer_id]
            assert host.swarm.trimmer.value(alice.peer_id) == 0


# ---- what is trimmed


async def wait_for_ever(stream: Stream) -> None:
    await trio.sleep_forever()


async def kept_of_five(*, direct: bool, low: int) -> tuple[int, int]:
    """Connect three peers that keep a stream open, then two who share a topic; return how many of each stay.

    But for pubsub the two would go first: they are the youngest.
    """
    network, trim = MemoryNetwork(), TrimConfig(low=low, high=4, grace=1.0)
    async with AsyncExitStack() as stack:
        nodes = await stack.enter_async_context(open_nodes(2, connect=False, network=network))
        opened = open_host(listen=["/memory/0"], transports=[MemoryTransport(network)], trim=trim)
        host = await stack.enter_async_context(opened)
        host.handle("/wait", wait_for_ever)
        others = [await stack.enter_async_context(open_host(transports=[MemoryTransport(network)])) for _ in "123"]
        for other in others:
            await other.connect(*host.addresses)
            await (await other.open_stream(host.peer_id, "/wait")).send_all(b"hello")
        await trio.sleep(1)
        chosen = [node.peer_id for node in nodes] if direct else []
        pubsub = await stack.enter_async_context(open_pubsub(host, direct=chosen, seed=0))
        await stack.enter_async_context(pubsub.join("news"))
        for node in nodes:
            await stack.enter_async_context(node.pubsub.join("news"))
            await node.host.connect(*host.addresses)
        await trio.sleep(25)  # two looks of the swarm at how many there are
        ours = {node.peer_id for node in nodes}
        return len(set(host.peers) - ours), len(set(host.peers) & ours)


async def test_those_in_no_mesh_are_trimmed_before_those_in_one(autojump_clock: Clock) -> None:
    assert await kept_of_five(direct=False, low=2) == (0, 2)


async def test_peers_in_a_mesh_can_be_trimmed_since_any_peer_can_enter_one(autojump_clock: Clock) -> None:
    assert await kept_of_five(direct=False, low=0) == (0, 0)


async def test_direct_peers_are_never_trimmed(autojump_clock: Clock) -> None:
    assert await kept_of_five(direct=True, low=0) == (0, 2)


async def test_direct_peers_are_protected_as_long_as_pubsub_is_open(autojump_clock: Clock) -> None:
    async with open_nodes(1) as (alice,), open_host() as host:
        trimmer = host.swarm.trimmer
        async with open_pubsub(host, direct=iter([alice.peer_id])):
            assert trimmer.is_protected(alice.peer_id)
        assert not trimmer.is_protected(alice.peer_id)
