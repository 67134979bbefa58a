"""Hosts that reach one another through a relay-shaped double, and then directly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host, ping
from peerstack.stack.abc import ConnectionLimits, Direction, Stream
from peerstack.stack.addressing import parse_address, with_peer
from peerstack.stack.errors import LimitedConnection
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.swarm import SwarmConfig
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .relayed import LIMITS, Relay, open_relayed

Clock = trio.testing.MockClock
ECHO = "/echo/1"


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@dataclass
class Network:
    """Alice dials and Bob listens, directly and through a relay."""

    alice: Host
    bob: Host
    relay: Relay
    relay_id: PeerId
    circuit: Multiaddr
    """Bob's address through the relay, with his id."""

    async def connect_by_relay(self) -> None:
        assert await self.alice.connect(self.circuit) == self.bob.peer_id
        (connection,) = self.alice.connections(self.bob.peer_id)
        assert connection.info.relay == self.relay_id


@asynccontextmanager
async def network(
    limits: ConnectionLimits = LIMITS, *, limited: bool = True, delay: float = 0, bob_is_lower: bool = False
) -> AsyncIterator[Network]:
    lower, higher = sorted((Identity.generate(), Identity.generate()), key=lambda item: item.peer_id)
    alice_id, bob_id = (higher, lower) if bob_is_lower else (lower, higher)
    memory = MemoryNetwork()
    told = limits if limited else None
    config = SwarmConfig(raise_handler_errors=True)

    def host(identity: Identity, listen: str | tuple[()] = ()):  # type: ignore[no-untyped-def]
        transports = [MemoryTransport(memory)]
        return open_host(identity=identity, transports=transports, listen=listen, swarm=config)

    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(host(Identity.generate(), "/memory/1"))
        bob = await stack.enter_async_context(host(bob_id, "/memory/2"))
        alice = await stack.enter_async_context(host(alice_id))
        for each in (alice, bob):
            await stack.enter_async_context(open_relayed(each, told))
            each.handle(ECHO, echo)
        circuit = parse_address(f"/memory/1/p2p/{relay.peer_id}/p2p-circuit")
        double = Relay(relay, limits, delay=delay)
        await bob.listen(circuit)
        yield Network(alice, bob, double, relay.peer_id, with_peer(circuit, bob.peer_id))


async def say_hello(stream: Stream) -> None:
    await stream.send_all(b"hello")
    assert await stream.receive_some() == b"hello"


async def test_both_ends_know_the_relay_and_its_limits(autojump_clock: Clock) -> None:
    async with network() as net:
        await net.connect_by_relay()
        for host, peer, direction in (
            (net.alice, net.bob, Direction.OUTBOUND),
            (net.bob, net.alice, Direction.INBOUND),
        ):
            (connection,) = host.connections(peer.peer_id)
            info = connection.info
            assert (info.relay, info.limited, info.direction) == (net.relay_id, LIMITS, direction)
            assert (info.security, info.muxer) == ("/noise", "/yamux/1.0.0")
        assert net.alice.peerstore.protocols(net.bob.peer_id)  # identify made do with the limits


async def test_ordinary_protocols_are_refused_and_those_that_ask_are_served(autojump_clock: Clock) -> None:
    async with network() as net:
        await net.connect_by_relay()
        with pytest.raises(LimitedConnection, match=f"relay {net.relay_id}, which allows 60 s and 65536 bytes each"):
            await net.alice.open_stream(net.bob.peer_id, ECHO)
        async with await net.alice.open_stream(net.bob.peer_id, ECHO, allow_limited=True) as stream:
            await say_hello(stream)
        assert await ping(net.alice, net.bob.peer_id) >= 0


async def test_a_relay_without_limits_serves_every_protocol(autojump_clock: Clock) -> None:
    async with network(ConnectionLimits(), limited=False) as net:
        await net.connect_by_relay()
        async with await net.alice.open_stream(net.bob.peer_id, ECHO) as stream:
            await say_hello(stream)


@pytest.mark.parametrize("bob_is_lower", [False, True])
async def test_a_direct_dial_beside_it_wins_and_the_relayed_one_goes(bob_is_lower: bool, autojump_clock: Clock) -> None:
    async with network(bob_is_lower=bob_is_lower) as net:
        alice, bob = net.alice, net.bob.peer_id
        await net.connect_by_relay()
        old = await alice.open_stream(bob, ECHO, allow_limited=True)
        await alice.connect(bob, direct=True)  # identify has told his addresses
        direct, relayed = alice.connections(bob)
        assert (direct.info.relay, relayed.info.relay) == (None, net.relay_id)
        new = await alice.open_stream(bob, ECHO)
        assert (old.connection, new.connection) == (relayed, direct)
        for stream in (old, new):
            await say_hello(stream)
        await trio.sleep(10)
        assert net.relay.open_circuits == 1  # a stream still uses it
        await old.aclose()
        await trio.sleep(3)
        assert alice.connections(bob) == [direct]
        assert net.relay.open_circuits == 0
        await say_hello(new)
        await new.aclose()


@pytest.mark.parametrize("bob_is_lower", [False, True])
async def test_one_that_arrives_beside_a_direct_one_closes_nothing_but_itself(
    bob_is_lower: bool, autojump_clock: Clock
) -> None:
    async with network(delay=1, bob_is_lower=bob_is_lower) as net, trio.open_nursery() as nursery:
        alice, bob = net.alice, net.bob.peer_id
        nursery.start_soon(alice.connect, net.circuit)
        await trio.sleep(0.5)
        await alice.connect(bob, "/memory/2", direct=True)
        (direct,) = alice.connections(bob)
        stream = await alice.open_stream(bob, ECHO)
        await trio.sleep(1)
        assert [item.info.relay for item in alice.connections(bob)] == [None, net.relay_id]
        assert len(net.bob.connections(alice.peer_id)) == 2
        await trio.sleep(100)
        assert alice.connections(bob) == [direct]
        assert [item.info.relay for item in net.bob.connections(alice.peer_id)] == [None]
        await say_hello(stream)
        await stream.aclose()


@pytest.mark.parametrize("dead", [False, True])
async def test_a_direct_one_in_doubt_is_tried_before_one_with_limits(
    dead: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock
) -> None:
    async with network() as net:
        alice, bob = net.alice, net.bob.peer_id
        await net.connect_by_relay()
        kept = await alice.open_stream(bob, ECHO, allow_limited=True)
        await alice.connect(bob, direct=True)
        await trio.sleep(1)
        direct, relayed = alice.connections(bob)
        direct.doubted = True
        assert alice.connections(bob) == [relayed, direct]
        if dead:
            monkeypatch.setattr(direct, "open_stream", trio.sleep_forever)
            monkeypatch.setattr(direct, "probe", trio.sleep_forever)
        async with await alice.open_stream(bob, ECHO) as stream:
            await say_hello(stream)
            assert stream.connection.info.relay is None
            assert (stream.connection is direct) is not dead
        await kept.aclose()


async def test_the_end_of_its_time_costs_the_relayed_connection_only(autojump_clock: Clock) -> None:
    async with network() as net:
        await net.connect_by_relay()
        await trio.sleep(61)
        assert net.alice.connections(net.bob.peer_id) == []
        assert net.relay_id in net.alice.peers


async def test_more_data_than_it_allows_costs_the_relayed_connection_only(autojump_clock: Clock) -> None:
    async with network() as net:
        await net.connect_by_relay()
        stream = await net.alice.open_stream(net.bob.peer_id, ECHO, allow_limited=True)

        async def overdo() -> None:
            for _ in range(100):
                await stream.send_all(bytes(1 << 12))
                await stream.receive_some()

        with pytest.raises(trio.BrokenResourceError):
            await overdo()
        assert net.relay_id in net.alice.peers
