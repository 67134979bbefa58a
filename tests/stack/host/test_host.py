"""What applications do with a host: open streams, serve protocols, say what peers are worth, look at it."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.abc import MuxedConnection, Stream
from peerstack.stack.errors import (
    DialError,
    InvalidAddress,
    InvalidInput,
    NegotiationError,
    StreamReset,
)
from peerstack.stack.events import AddressesChanged, ConnectionOpened
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId
from peerstack.stack.report import DialReport
from peerstack.stack.swarm.optimistic import OptimisticStream
from peerstack.stack.testing import RecordingObserver

from .pair import ECHO, Pair, echo

Clock = trio.testing.MockClock


@pytest.fixture
def pair() -> Pair:
    return Pair()


# ---- streams


async def test_a_stream_to_a_known_peer_dials_it(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        alice.add_addresses(bob.peer_id, bob.addresses)
        async with await alice.open_stream(bob.peer_id, ECHO) as stream:
            assert stream.remote_peer == bob.peer_id
            assert isinstance(stream.connection, MuxedConnection)


async def test_a_stream_for_what_identify_told_of_is_opened_early(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        assert isinstance(await alice.open_stream(bob.peer_id, ECHO), OptimisticStream)
        stream = await alice.open_stream(bob.peer_id, "/unknown/1", ECHO)
        assert not isinstance(stream, OptimisticStream)
        assert stream.protocol == ECHO


async def test_a_protocol_the_peer_does_not_have(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        with pytest.raises(NegotiationError, match="the peer supports none of"):
            await alice.open_stream(bob.peer_id, "/unknown/1")


async def test_a_stream_needs_a_protocol(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        with pytest.raises(InvalidInput, match="one or more protocol ids"):
            await alice.open_stream(bob.peer_id)
        with pytest.raises(InvalidInput, match=r"each a str, not \(\['/chat/1'\],\)"):
            await alice.open_stream(bob.peer_id, ["/chat/1"])  # type: ignore[arg-type]


async def test_a_peer_that_hangs_up_before_the_stream(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):

        class Fleeting(Host):
            async def connect_with_report(self, *targets: object, direct: bool = False) -> tuple[PeerId, DialReport]:
                return bob.peer_id, DialReport(None)

        fleeting = Fleeting(identity=alice.identity, swarm=alice.swarm, peerstore=alice.peerstore, events=alice.events)
        with pytest.raises(DialError, match="hung up at once"):
            await fleeting.open_stream(bob.peer_id, ECHO)


async def test_streams_wake_when_the_peer_leaves(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        stream = await alice.open_stream(bob.peer_id, ECHO)
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        async with trio.open_nursery() as nursery:

            async def expect_broken() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()

            nursery.start_soon(expect_broken)
            await trio.testing.wait_all_tasks_blocked()
            await bob.disconnect(alice.peer_id)


async def test_handlers_wake_when_the_connection_is_lost(pair: Pair, autojump_clock: Clock) -> None:
    woken: list[tuple[str, float]] = []

    async def reading(stream: Stream) -> None:
        try:
            await echo(stream)
        except trio.BrokenResourceError:
            woken.append(("reading", trio.current_time()))
            raise

    async def busy(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            woken.append(("busy", trio.current_time()))
            raise

    async with pair.open() as (alice, bob):
        bob.handle(ECHO, reading)
        bob.handle("/busy/1", busy)
        await alice.connect(*bob.addresses)
        for protocol in (ECHO, "/busy/1"):
            await (await alice.open_stream(bob.peer_id, protocol)).send_all(b"x")
        await trio.testing.wait_all_tasks_blocked()
        (connection,) = bob.swarm.connections(alice.peer_id)
        await alice.disconnect(bob.peer_id)
        await connection.gone.wait()
        lost = trio.current_time()
        await trio.sleep(5)
        # A handler that waits for the peer knows at once; one that does something else has a second to finish it.
        assert woken == [("reading", lost), ("busy", lost + 1)]
        assert bob.swarm.statistics().limits["system"] == {}


# ---- protocols


async def test_a_handler_can_be_replaced_and_taken_back(pair: Pair, autojump_clock: Clock) -> None:
    async def greet(stream: Stream) -> None:
        await stream.send_all(b"welcome")

    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        bob.handle(ECHO, greet)
        stream = await alice.open_stream(bob.peer_id, ECHO)
        assert await stream.receive_some() == b"welcome"
        bob.unhandle(ECHO)
        bob.unhandle(ECHO)
        assert ECHO not in bob.protocols
        late = await alice.open_stream(bob.peer_id, ECHO)  # not yet told that it is gone
        with pytest.raises((NegotiationError, StreamReset)):
            await late.receive_some()


# ---- where we are


async def test_addresses_end_in_our_id(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        assert bob.addresses == [Multiaddr(f"/memory/7/p2p/{bob.peer_id}")]
        assert alice.addresses == []
        assert await bob.listen("/memory/8") == [Multiaddr(f"/memory/8/p2p/{bob.peer_id}")]
        assert len(bob.addresses) == 2


async def test_announced_addresses_are_told_once(pair: Pair, autojump_clock: Clock) -> None:
    external = Multiaddr("/ip4/203.0.113.1/tcp/4001")
    async with pair.open() as (_, bob):
        await trio.testing.wait_all_tasks_blocked()
        bob.announce([external])
        bob.announce([external])
        assert bob.announced_addresses == [Multiaddr("/memory/7"), external]
        await trio.sleep(5)
        assert [event.addresses for event in pair.observer.of(AddressesChanged)] == [(Multiaddr("/memory/7"), external)]
        bob.announce([])
        assert bob.announced_addresses == [Multiaddr("/memory/7")]


async def test_unspecified_addresses_are_listed_out() -> None:
    async with open_host(listen=["/ip4/0.0.0.0/tcp/0"]) as host:
        port = host.swarm.listen_addresses[0].value_for_protocol("tcp")
        assert Multiaddr(f"/ip4/127.0.0.1/tcp/{port}") in host.announced_addresses
        assert not any("0.0.0.0" in str(address) for address in host.addresses)
        more = await host.listen("/ip4/0.0.0.0/tcp/0")
        assert not any("0.0.0.0" in str(address) for address in more)


async def test_what_cannot_be_listened_on(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, _):
        with pytest.raises(InvalidAddress, match="no transport of this host can listen on"):
            await alice.listen("/ip4/127.0.0.1/tcp/0")
        with pytest.raises(OSError, match="in use"):
            await alice.listen("/memory/7")
        with pytest.raises(InvalidAddress):
            await alice.listen("nonsense")


# ---- the rest


async def test_worth_and_protection_reach_the_trimmer(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        alice.tag(bob.peer_id, "useful", 3)
        alice.tag(bob.peer_id, "kind", 4)
        alice.protect(bob.peer_id, "friend")
        assert alice.swarm.trimmer.value(bob.peer_id) == 7
        assert alice.swarm.trimmer.is_protected(bob.peer_id)
        alice.untag(bob.peer_id, "useful")
        assert alice.swarm.trimmer.value(bob.peer_id) == 4
        alice.unprotect(bob.peer_id, "friend")
        assert not alice.swarm.trimmer.is_protected(bob.peer_id)


async def test_an_observer_may_come_later(pair: Pair, autojump_clock: Clock) -> None:
    late = RecordingObserver()
    async with pair.open() as (alice, bob):
        alice.observe(late)
        await alice.connect(*bob.addresses)
        assert len(late.of(ConnectionOpened)) == 1


async def test_statistics(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        await trio.testing.wait_all_tasks_blocked()
        async with await alice.open_stream(bob.peer_id, ECHO) as stream:
            await stream.send_all(b"hello")
            await stream.receive_some()
            statistics = bob.statistics()
            assert statistics.peer_id == str(bob.peer_id)
            assert ECHO in statistics.protocols
            swarm = statistics.swarm
            assert (swarm.peers, swarm.connections, swarm.inbound_connections, swarm.streams) == (1, 1, 1, 1)
            assert swarm.limits["system"] == {
                "connections": 1,
                "inbound connections": 1,
                "streams": 1,
                "inbound streams": 1,
            }
