"""Simultaneous dials between two hosts come to one connection on both sides, and no stream or datum is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from peerstack import open_host
from peerstack.stack.abc import ConnectionInfo, Direction, Stream
from peerstack.stack.errors import DialError
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, HandlerFailed
from peerstack.stack.host import Host
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.testing import (
    LinkConditions,
    RecordingObserver,
    SimulatedNetwork,
    run_deterministic,
    seeded_identity,
)

ECHO = "/echo/1"
PERFECT = LinkConditions()
WIDE = LinkConditions(latency=0.05, jitter=0.03)
LOSSY = LinkConditions(latency=0.02, jitter=0.02, loss=0.1)
STRICT = SwarmConfig(raise_handler_errors=True)


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@asynccontextmanager
async def two_hosts(network: SimulatedNetwork) -> AsyncIterator[tuple[Host, Host, RecordingObserver]]:
    observer = RecordingObserver()
    async with open_host(
        listen=["/memory/1"],
        identity=seeded_identity(network.random),
        transports=[network.node("alice")],
        observers=[observer],
        swarm=STRICT,
    ) as alice:
        async with open_host(
            listen=["/memory/2"],
            identity=seeded_identity(network.random),
            transports=[network.node("bob")],
            observers=[observer],
            swarm=STRICT,
        ) as bob:
            for host in (alice, bob):
                host.handle(ECHO, echo)
            yield alice, bob, observer


def directions(host: Host, other: Host) -> list[tuple[Direction, str]]:
    return [(item.info.direction, str(item.info.remote_address)) for item in host.connections(other.peer_id)]


def dialer_of(connection: ConnectionInfo, host: Host, other: Host) -> Host:
    return host if connection.direction is Direction.OUTBOUND else other


async def both_dial(conditions: LinkConditions, seed: int, gap: float) -> int:
    """Let both dial, one `gap` seconds after the other; return how many connections were made meanwhile."""
    async with SimulatedNetwork(seed, conditions) as network:
        async with two_hosts(network) as (alice, bob, observer):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.connect, *bob.addresses)
                await trio.sleep(gap)
                nursery.start_soon(bob.connect, *alice.addresses)
            made = len(observer.of(ConnectionOpened)) // 2
            await trio.sleep(20)
            (near,), (far,) = alice.connections(), bob.connections()
            dialer = dialer_of(near.info, alice, bob)
            assert dialer is dialer_of(far.info, bob, alice)
            if made == 2:
                assert dialer.peer_id == min(alice.peer_id, bob.peer_id)
            assert all(event.reason is None for event in observer.of(ConnectionClosed))
            for one, other in ((alice, bob), (bob, alice)):
                async with await one.open_stream(other.peer_id, ECHO) as stream:
                    await stream.send_all(b"hello")
                    assert await stream.receive_some() == b"hello"
            return made


@pytest.mark.parametrize("conditions", [PERFECT, WIDE, LOSSY], ids=["perfect", "wide", "lossy"])
def test_two_who_dial_each_other_at_once_end_with_one_connection(conditions: LinkConditions) -> None:
    made = [run_deterministic(both_dial, conditions, seed, 0.0, seed=seed) for seed in range(15)]
    assert 2 in made  # else nothing was simultaneous


@pytest.mark.parametrize("gap", [0.02, 0.06, 0.1, 0.15])
def test_or_nearly_at_once(gap: float) -> None:
    for seed in range(5):
        run_deterministic(both_dial, WIDE, seed, gap, seed=seed)


async def work_while_both_dial(seed: int) -> None:
    """Open streams at any moment of a simultaneous dial, hold some of them, and use every one."""
    async with SimulatedNetwork(seed, WIDE) as network:
        async with two_hosts(network) as (alice, bob, observer):
            alice.add_addresses(bob.peer_id, bob.addresses)
            bob.add_addresses(alice.peer_id, alice.addresses)

            async def use(host: Host, other: Host, begin: float, hold: float) -> None:
                await trio.sleep(begin)
                async with await host.open_stream(other.peer_id, ECHO) as stream:
                    await stream.send_all(b"one")
                    await trio.sleep(hold)
                    await stream.send_all(b"two")
                    await stream.send_eof()
                    assert b"".join([bytes(data) async for data in stream]) == b"onetwo"

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    begin, hold = network.random.uniform(0, 1), network.random.choice([0, 0.3, 5])
                    nursery.start_soon(use, alice, bob, begin, hold)
                    begin, hold = network.random.uniform(0, 1), network.random.choice([0, 0.3, 5])
                    nursery.start_soon(use, bob, alice, begin, hold)
            await trio.sleep(20)
            assert (len(alice.connections()), len(bob.connections())) == (1, 1)
            assert observer.of(HandlerFailed) == []


@pytest.mark.parametrize("seed", range(8))
def test_streams_opened_meanwhile_all_work(seed: int) -> None:
    run_deterministic(work_while_both_dial, seed, seed=seed)


async def redial_after_failures() -> None:
    async with SimulatedNetwork(1, WIDE) as network:
        async with open_host(identity=seeded_identity(network.random), transports=[network.node("alice")]) as alice:
            bobs = seeded_identity(network.random)
            address = f"/memory/7/p2p/{bobs.peer_id}"
            for _ in range(10):
                with pytest.raises(DialError):
                    await alice.connect(address)
            async with open_host(listen=["/memory/7"], identity=bobs, transports=[network.node("bob")]):
                began = trio.current_time()
                await alice.connect(address)
                assert trio.current_time() - began < 1


def test_a_dial_is_never_refused_for_an_earlier_failure() -> None:
    run_deterministic(redial_after_failures, seed=1)


async def fire_and_forget(seed: int) -> None:
    """Send and leave at once, block and all: what was sent must be served."""
    received: list[bytes] = []

    async def keep(stream: Stream) -> None:
        data = b"".join([bytes(piece) async for piece in stream])
        await trio.sleep(0.1)  # as if it were written to a disk
        received.append(data)

    async with SimulatedNetwork(seed, WIDE) as network:
        async with open_host(
            listen=["/memory/1"],
            identity=seeded_identity(network.random),
            transports=[network.node("bob")],
            swarm=STRICT,
        ) as bob:
            bob.handle("/keep/1", keep)
            async with open_host(identity=seeded_identity(network.random), transports=[network.node("alice")]) as alice:
                peer = await alice.connect(*bob.addresses)
                for number in range(10):
                    stream = await alice.open_stream(peer, "/keep/1")
                    await stream.send_all(b"message %d" % number)
                    await stream.aclose()
            await trio.sleep(2)
    assert sorted(received) == [b"message %d" % number for number in range(10)]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_sent_right_before_leaving_is_served(seed: int) -> None:
    run_deterministic(fire_and_forget, seed, seed=seed)
