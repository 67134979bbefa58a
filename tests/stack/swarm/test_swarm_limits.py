"""What bounds a swarm: handshakes, connections by address and peer, and trimming."""

from __future__ import annotations

from functools import partial

import trio
import trio.testing

from peerstack.stack.abc import MuxedConnection
from peerstack.stack.errors import ConnectionLost
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, InboundRefused
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.limits import Limits
from peerstack.stack.swarm import TrimConfig, Trimmer

from .parts import (
    LISTEN,
    OTHER_PEER,
    PEER,
    FakeConnection,
    FakeListener,
    ListeningTransport,
    ScriptedTransport,
    answers,
    connection_of,
    in_use,
    inbound,
    info,
    running,
    settle,
    tcp,
)

Clock = trio.testing.MockClock


# ---- limits of arriving connections


async def test_one_address_has_only_so_many_handshakes_at_once(
    transport: ListeningTransport, listener: FakeListener
) -> None:
    async with running(transport, limits=Limits(inbound_connections_per_ip=8)) as (swarm, observer):
        await swarm.listen(LISTEN)
        incoming = [listener.arrive(remote_address=tcp(66)) for _ in range(12)]
        await observer.wait_for(InboundRefused, count=4)
        await settle()
        assert sum(item.refused for item in incoming) == 4
        reasons = {event.reason for event in observer.of(InboundRefused)}
        assert reasons == {"our limit of 8 inbound connections in scope 'IP 203.0.113.66' is reached"}
        listener.arrive(lambda: connection_of(inbound()), remote_address=tcp(7))
        await observer.wait_for(ConnectionOpened)


async def test_one_address_opens_connections_only_so_fast(
    transport: ListeningTransport, listener: FakeListener, autojump_clock: Clock
) -> None:
    async def fail() -> MuxedConnection:
        raise ConnectionLost("churn")

    limits = Limits(inbound_burst_per_ip=16, inbound_rate_per_ip=0.2)
    async with running(transport, limits=limits) as (swarm, observer):
        await swarm.listen(LISTEN)
        for _ in range(20):
            listener.arrive(fail, remote_address=tcp(66))
            await settle()
        reasons = [event.reason for event in observer.of(InboundRefused)]
        assert reasons.count("churn") == 16
        assert reasons[16:] == ["our limit of 16 connections in a short time in scope 'IP 203.0.113.66' is reached"] * 4
        await trio.sleep(6)
        listener.arrive(fail, remote_address=tcp(66))
        await settle()
        assert observer.of(InboundRefused)[-1].reason == "churn"


async def test_when_too_many_shake_hands_the_oldest_makes_room(
    transport: ListeningTransport, listener: FakeListener, autojump_clock: Clock
) -> None:
    """Slow handshakes, from many addresses, must not keep out an honest peer."""
    async with running(transport, limits=Limits(pending_inbound=8)) as (swarm, observer):
        await swarm.listen(LISTEN)
        idlers = []
        for number in range(8):
            idlers.append(listener.arrive(remote_address=tcp(100 + number)))
            await trio.sleep(0.1)
        listener.arrive(lambda: connection_of(inbound()), remote_address=tcp(7))
        await observer.wait_for(ConnectionOpened)
        await settle()
        (event,) = observer.of(InboundRefused)
        assert event.remote_address == idlers[0].remote_address
        assert event.reason == "our limit of 8 inbound connections in scope 'transient' is reached"
        assert in_use(swarm)["transient"] == {"inbound connections": 7, "connections": 7}


async def test_handshakes_stay_bounded_whatever_arrives(transport: ListeningTransport, listener: FakeListener) -> None:
    async with running(transport, limits=Limits(pending_inbound=8)) as (swarm, observer):
        await swarm.listen(LISTEN)
        for number in range(100):
            listener.arrive(remote_address=tcp(100 + number))
        await observer.wait_for(InboundRefused, count=92)
        await settle()
        assert in_use(swarm)["transient"] == {"inbound connections": 8, "connections": 8}


async def test_the_limit_of_all_inbound_connections_stays_hard(
    transport: ListeningTransport, listener: FakeListener
) -> None:
    limits = Limits(inbound_connections=2, inbound_connections_per_ip=2)
    async with running(transport, limits=limits) as (swarm, observer):
        await swarm.listen(LISTEN)
        for number in range(3):
            connection = inbound(Identity.generate().peer_id)
            listener.arrive(partial(connection_of, connection), remote_address=tcp(100 + number))
        event = await observer.wait_for(InboundRefused)
        assert event.reason == "our limit of 2 inbound connections in scope 'system' is reached"
        await settle()
        assert len(swarm.peers) == 2


async def test_the_limit_of_connections_of_one_peer(transport: ListeningTransport, listener: FakeListener) -> None:
    extra = inbound()
    async with running(transport, limits=Limits(connections_per_peer=1)) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.arrive(lambda: connection_of(inbound()))
        await observer.wait_for(ConnectionOpened)
        listener.arrive(lambda: connection_of(extra))
        event = await observer.wait_for(InboundRefused)
        assert event.reason == f"our limit of 1 connections in scope 'peer {PEER}' is reached"
        assert extra.closed


# ---- trimming


async def trimmed(*, tag: PeerId | None = None, protect: PeerId | None = None) -> list[PeerId]:
    """Connect to five peers where two may stay, and return who is left."""
    peers = [Identity.generate().peer_id for _ in range(3)] + [PEER, OTHER_PEER]
    scripts = {tcp(number): answers(FakeConnection(info(peer))) for number, peer in enumerate(peers)}
    trimmer = Trimmer(TrimConfig(low=2, high=3, grace=5, silence=1))
    async with running(ScriptedTransport(scripts), trimmer=trimmer) as (swarm, observer):
        for number, peer in enumerate(peers):
            await swarm.dial(peer, [tcp(number)])
            await trio.sleep(0.1)
        if tag is not None:
            trimmer.tag(tag, "useful", 10)
        if protect is not None:
            trimmer.protect(protect, "friend")
        await trio.sleep(9)
        assert observer.of(ConnectionClosed) == []
        await trio.sleep(2)
        return swarm.peers


async def test_too_many_connections_are_trimmed_to_the_low_mark(autojump_clock: Clock) -> None:
    left = await trimmed()
    assert len(left) == 2
    assert OTHER_PEER not in left  # the youngest


async def test_tagged_and_protected_peers_stay(autojump_clock: Clock) -> None:
    assert {PEER, OTHER_PEER} == set(await trimmed(tag=PEER, protect=OTHER_PEER))


async def test_the_tags_of_a_peer_that_left_are_forgotten(autojump_clock: Clock) -> None:
    async with running(ScriptedTransport({tcp(1): answers()})) as (swarm, _):
        await swarm.dial(PEER, [tcp(1)])
        swarm.trimmer.tag(PEER, "useful", 10)
        await swarm.disconnect(PEER)
        assert swarm.trimmer.value(PEER) == 0
