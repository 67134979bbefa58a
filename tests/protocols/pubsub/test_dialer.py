"""Peers that others suggest, and direct ones: dialed in the background, a few at once, only with a valid record."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from peerstack import open_host
from peerstack.protocols.pubsub import GossipConfig, PubsubConfig, ScoreConfig, open_pubsub
from peerstack.protocols.pubsub.router.events import PeersSuggested
from peerstack.protocols.pubsub.streams.connections import DIRECT_INTERVAL, MAX_WAITING, WORKERS, PeerDialer
from peerstack.stack.host.peerstore import Ttl
from peerstack.stack.identity import Identity, PeerId
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .parts import Node, open_nodes

Clock = trio.testing.MockClock


def record_of(node: Node, known_to: Node) -> tuple[PeerId, bytes]:
    record = known_to.host.peerstore.record(node.peer_id)
    assert record is not None
    return node.peer_id, record


async def test_a_suggested_peer_with_its_record_is_dialed(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_nodes(2, network=network) as (alice, bob), open_nodes(1, network=network) as (carol,):
        carol.pubsub._dialer.suggest([record_of(alice, bob)])
        with trio.fail_after(10):
            while alice.peer_id not in carol.host.peers:
                await trio.testing.wait_all_tasks_blocked()
        assert carol.pubsub._dialer.refused == 0


async def test_records_of_others_and_garbage_are_refused(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_nodes(2, network=network) as (alice, bob), open_nodes(1, network=network) as (carol,):
        _, record = record_of(alice, bob)
        unknown = Identity.generate().peer_id
        dialer = carol.pubsub._dialer
        dialer.suggest([(unknown, record), (bob.peer_id, b"garbage"), (bob.peer_id, record[:-1])])
        await trio.testing.wait_all_tasks_blocked()
        assert dialer.refused == 3
        assert carol.host.peers == []


async def test_without_a_record_only_known_addresses_help(autojump_clock: Clock) -> None:
    async with open_nodes(2, connect=False) as (alice, bob):
        dialer = bob.pubsub._dialer
        dialer.suggest([(alice.peer_id, b""), (Identity.generate().peer_id, b"")])
        await trio.testing.wait_all_tasks_blocked()
        assert bob.host.peers == []
        bob.host.peerstore.add_addresses(alice.peer_id, alice.host.swarm.listen_addresses, Ttl.DISCOVERED)
        dialer.suggest([(alice.peer_id, b"")])
        await trio.testing.wait_all_tasks_blocked()
        assert bob.host.peers == [alice.peer_id]


async def test_we_and_our_peers_are_not_dialed(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_nodes(2) as (alice, bob):
        dialed: list[object] = []

        async def connect(*targets: object) -> None:
            dialed.extend(targets)

        monkeypatch.setattr(alice.host, "connect", connect)
        alice.pubsub._dialer.suggest([(alice.peer_id, b""), (bob.peer_id, b"")])
        await trio.testing.wait_all_tasks_blocked()
        assert dialed == []


async def test_dials_are_few_at_once_and_the_queue_is_bounded(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_nodes(1) as (alice,):
        at_once: list[object] = []

        async def connect(target: object) -> None:
            at_once.append(target)
            await trio.sleep_forever()

        monkeypatch.setattr(alice.host, "connect", connect)
        peers = [Identity.generate().peer_id for _ in range(300)]
        for peer in peers:
            alice.host.peerstore.add_addresses(peer, alice.host.swarm.listen_addresses, Ttl.DISCOVERED)
        alice.pubsub._dialer.suggest([(peer, b"") for peer in peers[:WORKERS]])
        await trio.testing.wait_all_tasks_blocked()
        alice.pubsub._dialer.suggest([(peer, b"") for peer in peers[WORKERS:]])
        await trio.testing.wait_all_tasks_blocked()
        assert len(at_once) == WORKERS
        await trio.sleep(31)  # each has half a minute
        assert len(at_once) == 2 * WORKERS
        await trio.sleep(31 * 40)
        assert len(at_once) == WORKERS + MAX_WAITING


async def test_a_pruned_peer_finds_others(autojump_clock: Clock) -> None:
    """A star: who is too many at the centre hears of others there, and dials them."""
    small = GossipConfig(degree=2, degree_low=1, degree_high=2, degree_out=0, degree_score=1, peer_exchange=True)
    config = PubsubConfig(gossip=small, score=ScoreConfig(accept_px_threshold=0))
    async with open_nodes(6, config, connect=False) as nodes, AsyncExitStack() as stack:
        for node in nodes[1:]:
            await node.host.connect(*nodes[0].host.addresses)
        for node in nodes:
            await stack.enter_async_context(node.pubsub.join("news"))
        await trio.sleep(10)
        suggested = [event for node in nodes[1:] for event in node.events.of(PeersSuggested)]
        assert suggested
        assert any(len(node.host.peers) > 1 for node in nodes[1:])


async def test_direct_peers_are_dialed_again_and_again(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_nodes(1, network=network) as (alice,):
        async with open_host(transports=[MemoryTransport(network)]) as host:
            host.peerstore.add_addresses(alice.peer_id, alice.host.swarm.listen_addresses, Ttl.DISCOVERED)
            async with open_pubsub(host, direct=[alice.peer_id]):
                await trio.sleep(1)
                assert host.peers == [alice.peer_id]
                await host.disconnect(alice.peer_id)
                await trio.sleep(1)
                assert host.peers == []
                await trio.sleep(DIRECT_INTERVAL)
                assert host.peers == [alice.peer_id]


async def test_a_direct_peer_that_cannot_be_reached_costs_nothing_but_the_try(autojump_clock: Clock) -> None:
    async with open_nodes(1) as (alice,):
        dialer = PeerDialer(alice.host, [Identity.generate().peer_id])
        with trio.move_on_after(DIRECT_INTERVAL * 3) as scope:
            await dialer.run()
        assert scope.cancelled_caught
