"""Which pending handshake or stream is evicted at the limit: the oldest of the source with the most."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import MuxedConnection
from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import LimitExceeded
from peerstack.stack.events import ConnectionOpened, InboundRefused
from peerstack.stack.limits import Limits, Resource, Scope
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.swarm import Connection
from peerstack.stack.swarm.pending import PendingLimit
from peerstack.stack.testing import muxed_pair

from .parts import (
    LISTEN,
    FakeListener,
    ListeningTransport,
    connection_of,
    in_use,
    inbound,
    running,
    settle,
    tcp,
)
from .serving import reset_of, serving

Clock = trio.testing.MockClock


class Pending:
    """A limit of four, and which were evicted."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.transient = Scope("transient", {Resource.STREAMS: 4})
        self.limit = PendingLimit(self.transient)
        self.evicted: list[str] = []
        self._nursery = nursery

    async def add(self, name: str) -> None:
        """Add one that waits for ever; its source is the first letter of its name."""
        reservation = self.limit.admit(lambda: self.transient.reserve(Resource.STREAMS))

        async def wait() -> None:
            with reservation:
                try:
                    with self.limit.wait(reservation, 100, name[0]):
                        await trio.sleep_forever()
                except LimitExceeded:
                    self.evicted.append(name)

        self._nursery.start_soon(wait)
        await settle()


async def test_the_oldest_of_the_largest_source_is_evicted(nursery: trio.Nursery) -> None:
    pending = Pending(nursery)
    for name in ("a1", "b1", "c1", "b2"):
        await pending.add(name)
    await pending.add("a2")
    await pending.add("a3")
    await pending.add("a4")
    assert pending.evicted == ["b1", "a1", "a2"]


async def test_of_equal_sources_the_first_is_evicted(nursery: trio.Nursery) -> None:
    pending = Pending(nursery)
    for name in "abcdef":
        await pending.add(name)
    assert pending.evicted == ["a", "b"]


async def test_each_waits_no_longer_than_allowed(nursery: trio.Nursery, autojump_clock: Clock) -> None:
    pending = Pending(nursery)
    reservation = pending.transient.reserve(Resource.STREAMS)
    with pytest.raises(trio.TooSlowError, match="no answer within 3 s"), pending.limit.wait(reservation, 3, "a"):
        await trio.sleep_forever()
    for name in ("b1", "b2", "b3", "b4"):  # the one that timed out is not counted any more
        await pending.add(name)
    assert pending.evicted == ["b1"]


# ---- arriving connections


async def honest_handshake() -> MuxedConnection:
    """One on a slow link."""
    await trio.sleep(2)
    return await connection_of(inbound())


FLOODS = {
    "one /24": [Multiaddr(f"/ip4/198.51.100.{number}/tcp/1") for number in range(200)],
    "two /24": [Multiaddr(f"/ip4/198.51.{100 + number % 2}.{number}/tcp/1") for number in range(200)],
    "one /48": [Multiaddr(f"/ip6/2001:db8:1:{number:x}00::1/tcp/1") for number in range(1, 100)],
}


@pytest.mark.parametrize("addresses", FLOODS.values(), ids=FLOODS)
async def test_a_flood_from_a_few_networks_evicts_its_own(
    addresses: list[Multiaddr], transport: ListeningTransport, listener: FakeListener, autojump_clock: Clock
) -> None:
    async with running(transport, limits=Limits(pending_inbound=8)) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.arrive(honest_handshake, remote_address=tcp(7))
        await settle()
        for address in addresses:
            listener.arrive(remote_address=address)
            await settle()
        assert len(observer.of(InboundRefused)) == len(addresses) - 7
        assert tcp(7) not in [event.remote_address for event in observer.of(InboundRefused)]
        await trio.sleep(3)
        assert len(observer.of(ConnectionOpened)) == 1


async def test_a_connection_beyond_the_limit_of_its_address_evicts_no_other(
    transport: ListeningTransport, listener: FakeListener
) -> None:
    limits = Limits(pending_inbound=8, inbound_connections_per_ip=8)
    async with running(transport, limits=limits) as (swarm, observer):
        await swarm.listen(LISTEN)
        for _ in range(12):
            listener.arrive(remote_address=tcp(66))
            await settle()
        assert len(observer.of(InboundRefused)) == 4
        assert {event.reason for event in observer.of(InboundRefused)} == {
            "our limit of 8 inbound connections in scope 'IP 203.0.113.66' is reached"
        }
        assert in_use(swarm)["transient"]["inbound connections"] == 8


# ---- streams


async def test_streams_of_a_slow_peer_evict_only_its_own(autojump_clock: Clock) -> None:
    async with serving(limits=Limits(pending_streams=4)) as served, muxed_pair(Yamux(), Yamux()) as (near, far):
        info, scopes = near.connection.info, served.scopes
        other = Connection(near.connection, scopes.connected(scopes.dial(), info.remote_peer, info.remote_address))
        served.nursery.start_soon(served.streams.accept, other, served.nursery)
        slow = await far.connection.open_stream()
        await slow.send_all(b"\x13")
        await settle()
        flood = []
        for _ in range(10):
            flood.append(await served.far.open_stream())
            await flood[-1].send_all(b"\x13")
            await settle()
        for stream in flood[:7]:
            assert await reset_of(stream) == StreamCode.RESOURCE_LIMIT
        await slow.send_all(b"/multistream/1.0.0\n" + b"\x08/echo/1\n" + b"hello")
        assert await slow.receive_some(20) == b"\x13/multistream/1.0.0\n"
        other.drop_streams()
        other.scope.close()
