"""Who makes room where too many remotes dawdle: somebody of the largest crowd, whoever came first."""

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


class Room:
    """A waiting room with four places, and who had to leave it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.transient = Scope("transient", {Resource.STREAMS: 4})
        self.room = PendingLimit(self.transient)
        self.left: list[str] = []
        self._nursery = nursery

    async def enter(self, name: str) -> None:
        """Let somebody in whose crowd is the first letter of its name, to wait for ever."""
        reservation = self.room.admit(lambda: self.transient.reserve(Resource.STREAMS))

        async def wait() -> None:
            with reservation:
                try:
                    with self.room.wait(reservation, 100, name[0]):
                        await trio.sleep_forever()
                except LimitExceeded:
                    self.left.append(name)

        self._nursery.start_soon(wait)
        await settle()


async def test_the_oldest_of_the_largest_crowd_makes_room(nursery: trio.Nursery) -> None:
    room = Room(nursery)
    for name in ("a1", "b1", "c1", "b2"):
        await room.enter(name)
    await room.enter("a2")
    await room.enter("a3")
    await room.enter("a4")
    assert room.left == ["b1", "a1", "a2"]


async def test_where_all_crowds_are_alike_the_first_to_come_makes_room(nursery: trio.Nursery) -> None:
    room = Room(nursery)
    for name in "abcdef":
        await room.enter(name)
    assert room.left == ["a", "b"]


async def test_nobody_waits_for_longer_than_allowed(nursery: trio.Nursery, autojump_clock: Clock) -> None:
    room = Room(nursery)
    reservation = room.transient.reserve(Resource.STREAMS)
    with pytest.raises(trio.TooSlowError, match="no answer within 3 s"), room.room.wait(reservation, 3, "a"):
        await trio.sleep_forever()
    for name in ("b1", "b2", "b3", "b4"):  # the one that left is in no crowd any more
        await room.enter(name)
    assert room.left == ["b1"]


# ---- arriving connections


async def honest_handshake() -> MuxedConnection:
    """One on a slow line."""
    await trio.sleep(2)
    return await connection_of(inbound())


FLOODS = {
    "one /24": [Multiaddr(f"/ip4/198.51.100.{number}/tcp/1") for number in range(200)],
    "two /24": [Multiaddr(f"/ip4/198.51.{100 + number % 2}.{number}/tcp/1") for number in range(200)],
    "one /48": [Multiaddr(f"/ip6/2001:db8:1:{number:x}00::1/tcp/1") for number in range(1, 100)],
}


@pytest.mark.parametrize("addresses", FLOODS.values(), ids=FLOODS)
async def test_a_flood_from_a_few_networks_pushes_out_its_own(
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


async def test_a_connection_that_its_own_address_can_not_have_pushes_out_nobody(
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


async def test_streams_of_a_peer_that_dawdles_push_out_those_of_no_other(autojump_clock: Clock) -> None:
    async with serving(limits=Limits(pending_streams=4)) as served, muxed_pair(Yamux(), Yamux()) as (near, far):
        info, scopes = near.connection.info, served.scopes
        other = Connection(near.connection, scopes.connected(scopes.dial(), info.remote_peer, info.remote_address))
        served.nursery.start_soon(served.streams.accept, other, served.nursery)
        slow = await far.connection.open_stream()
        await slow.send_all(b"\x13")
        await settle()
        dawdling = []
        for _ in range(10):
            dawdling.append(await served.far.open_stream())
            await dawdling[-1].send_all(b"\x13")
            await settle()
        for stream in dawdling[:7]:
            assert await reset_of(stream) == StreamCode.RESOURCE_LIMIT
        await slow.send_all(b"/multistream/1.0.0\n" + b"\x08/echo/1\n" + b"hello")
        assert await slow.receive_some(20) == b"\x13/multistream/1.0.0\n"
        other.drop_streams()
        other.scope.close()
