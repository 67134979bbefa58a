"""Whole hosts, with Noise, yamux and identify, over a simulated network that delays, loses, parts and breaks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from peerstack import open_host
from peerstack.protocols.ping import ping
from peerstack.stack.abc import Stream
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, PeerIdentified
from peerstack.stack.host import Host
from peerstack.stack.testing import (
    LinkConditions,
    RecordingObserver,
    SimulatedNetwork,
    run_deterministic,
    seeded_identity,
)

ECHO = "/echo/1"
WIDE = LinkConditions(latency=0.05, jitter=0.01, bandwidth=10e6)
LOSSY = LinkConditions(latency=0.02, jitter=0.02, loss=0.05)


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@asynccontextmanager
async def hosts(
    network: SimulatedNetwork, *names: str, observers: dict[str, RecordingObserver] | None = None
) -> AsyncIterator[list[Host]]:
    """Open a host on each node; each listens, and echoes."""
    if not names:
        yield []
        return
    first, *rest = names
    watching = [observers[first]] if observers and first in observers else []
    opened = open_host(
        listen=["/memory/0"],
        identity=seeded_identity(network.random),
        transports=[network.node(first)],
        observers=watching,
    )
    async with opened as host, hosts(network, *rest, observers=observers) as others:
        host.handle(ECHO, echo)
        yield [host, *others]


async def exchange(opener: Host, peer: Host, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    async with await opener.open_stream(peer.peer_id, ECHO) as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            await stream.send_all(data)
            await stream.send_eof()

        nursery.start_soon(send)
        assert b"".join([bytes(piece) async for piece in stream]) == data


async def talk(conditions: LinkConditions) -> str:
    """Let three hosts meet and talk; return the hash over all that happened but the (encrypted) bytes."""
    async with SimulatedNetwork(1, conditions) as network:
        async with hosts(network, "alice", "bob", "carol") as (alice, bob, carol):
            await alice.connect(*bob.addresses)
            await carol.connect(*bob.addresses)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(exchange, alice, bob, 300_000)
                nursery.start_soon(exchange, carol, bob, 300_000)
                nursery.start_soon(exchange, bob, alice, 1000)
            assert await ping(alice, bob.peer_id) >= 2 * conditions.latency
        return network.trace_hash(contents=False)


@pytest.mark.parametrize("conditions", [WIDE, LOSSY], ids=["wide", "lossy"])
def test_hosts_talk_over_bad_links_the_same_way_each_time(conditions: LinkConditions) -> None:
    first, again = (run_deterministic(talk, conditions, seed=1) for _ in range(2))
    assert first == again


async def parted() -> None:
    observer = RecordingObserver()
    async with SimulatedNetwork(1, WIDE) as network:
        async with hosts(network, "alice", "bob", observers={"alice": observer}) as (alice, bob):
            await alice.connect(*bob.addresses)
            await observer.wait_for(PeerIdentified)
            network.partition({"alice"}, {"bob"})
            with trio.fail_after(120):
                closed = await observer.wait_for(ConnectionClosed)
            assert closed.reason is not None
            assert "silent" in closed.reason
            assert not alice.connections()
            network.heal()
            await alice.connect(*bob.addresses)
            await exchange(alice, bob, 1000)
            assert len(observer.of(ConnectionOpened)) == 2


def test_a_partition_ends_connections_by_keepalive_and_they_can_be_made_again() -> None:
    run_deterministic(parted, seed=1)


async def severed() -> None:
    async with SimulatedNetwork(1, WIDE) as network:
        async with hosts(network, "alice", "bob") as (alice, bob):
            await alice.connect(*bob.addresses)
            async with trio.open_nursery() as nursery:

                async def expect_broken() -> None:
                    with pytest.raises(trio.BrokenResourceError):
                        await (await alice.open_stream(bob.peer_id, ECHO)).send_all(bytes(50_000_000))

                nursery.start_soon(expect_broken)
                await trio.sleep(1)
                network.sever("alice", "bob")
            await exchange(alice, bob, 1000)


def test_a_severed_connection_breaks_its_streams_and_is_dialed_anew() -> None:
    run_deterministic(severed, seed=1)


async def dial_across(partition_ends: float) -> None:
    async with SimulatedNetwork(1, WIDE) as network:
        async with hosts(network, "alice", "bob") as (alice, bob):
            network.partition({"alice"}, {"bob"})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(alice.connect, *bob.addresses))
                await trio.sleep(partition_ends)
                network.heal()
            assert bob.peer_id in {connection.remote_peer for connection in alice.connections()}


def test_a_dial_outlasts_a_short_partition() -> None:
    run_deterministic(dial_across, 2.0, seed=1)


async def many() -> None:
    async with SimulatedNetwork(3, LOSSY) as network:
        async with hosts(network, *(f"node{number}" for number in range(12))) as everyone:
            async with trio.open_nursery() as nursery:
                for host in everyone:
                    for other in network.random.sample([one for one in everyone if one is not host], 3):
                        nursery.start_soon(meet, host, other)


async def meet(host: Host, other: Host) -> None:
    await host.connect(*other.addresses)
    await exchange(host, other, 5000)


@pytest.mark.slow
def test_a_dozen_hosts_meet_at_random_over_lossy_links() -> None:
    run_deterministic(many, seed=1)
