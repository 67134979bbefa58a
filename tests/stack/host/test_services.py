"""Services of one host: each registers under its name and takes back its own, without knowing the others."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import InvalidInput, PeerConnected, PeerId
from peerstack.stack.errors import StreamReset
from peerstack.stack.host import Host, Reachability, Service, open_service
from peerstack.stack.swarm import Connection
from peerstack.stack.testing import RecordingObserver

from .pair import PEER, Pair, echo

ADDRESS, OTHER = Multiaddr("/ip4/203.0.113.1/tcp/1"), Multiaddr("/ip4/203.0.113.1/tcp/2")


@pytest.fixture
def pair() -> Pair:
    return Pair()


class Recorder:
    """A service that registers all there is."""

    def __init__(self, service: Service, protocol: str, addresses: list[Multiaddr]) -> None:
        self.connections: list[Connection] = []
        self.gone: list[Connection] = []
        self.peers: list[PeerId] = []
        self.changes = 0
        self.observer = RecordingObserver()
        service.handle(protocol, echo)
        service.announce(addresses)
        service.report_reachability({addresses[0]: Reachability.REACHABLE})
        service.on_connection(self.opened)
        service.on_connection_gone(self.gone.append)
        service.on_disconnected(self.peers.append)
        service.on_changed(self.changed)
        service.observe(self.observer)
        service.tag(PEER, 5)
        service.protect(PEER)

    async def opened(self, connection: Connection) -> None:
        self.connections.append(connection)

    def changed(self) -> None:
        self.changes += 1


async def test_two_services_share_a_host_and_one_leaves_without_the_other_noticing(
    pair: Pair, autojump_clock: trio.testing.MockClock
) -> None:
    async with pair.open() as (alice, bob), open_service(alice, "mapper") as second:
        before = alice.announced_addresses
        staying = Recorder(second, "/staying/1", [OTHER])
        async with open_service(alice, "relay") as first:
            leaving = Recorder(first, "/leaving/1", [ADDRESS, OTHER])
            await meet(alice, bob)
            assert set(alice.announced_addresses) == {*before, ADDRESS, OTHER}
        await meet(alice, bob)
        assert alice.announced_addresses == [*before, OTHER]
        assert alice.reachability == {OTHER: Reachability.REACHABLE}
        assert "/staying/1" in alice.protocols
        assert "/leaving/1" not in alice.protocols
        for recorder, times in ((leaving, 1), (staying, 2)):
            assert len(recorder.connections) == len(recorder.gone) == times
            assert recorder.peers == [bob.peer_id] * times
            assert len(recorder.observer.of(PeerConnected)) == times
        assert staying.changes > leaving.changes == 0


async def meet(alice: Host, bob: Host) -> None:
    await alice.connect(*bob.addresses)
    await trio.testing.wait_all_tasks_blocked()
    await alice.disconnect(bob.peer_id)


async def test_a_name_and_a_protocol_are_taken_once(pair: Pair) -> None:
    async with pair.open() as (alice, _), open_service(alice, "relay") as relay:
        with pytest.raises(InvalidInput, match="this host has relay already"):
            async with open_service(alice, "relay"):
                pass
        relay.handle("/x/1", echo)
        async with open_service(alice, "other") as other:
            with pytest.raises(InvalidInput, match="serves /x/1 already; other cannot"):
                other.handle("/x/1", echo)
        assert "/x/1" in alice.protocols


async def test_tasks_end_with_the_block_and_with_the_host(pair: Pair, autojump_clock: trio.testing.MockClock) -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async def outlive(host: Host) -> None:
        async with open_service(host, "long") as long:
            long.nursery.start_soon(work, "long")
            await host.ended.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert ended == ["short", "long"]

    async with trio.open_nursery() as nursery, pair.open() as (alice, _):
        async with open_service(alice, "short") as short:
            short.nursery.start_soon(work, "short")
            await trio.testing.wait_all_tasks_blocked()
        assert ended == ["short"]
        nursery.start_soon(outlive, alice)
        await trio.testing.wait_all_tasks_blocked()


async def test_what_the_block_raises_leaves_as_itself_and_all_is_taken_back(pair: Pair) -> None:
    async with pair.open() as (alice, _):
        before = alice.protocols
        with pytest.raises(KeyError):  # noqa: PT012 - the block of the service is what raises
            async with open_service(alice, "broken") as service:
                Recorder(service, "/x/1", [ADDRESS])
                raise KeyError
        assert (alice.protocols, list(alice.services)) == (before, ["identify"])


async def test_a_protocol_says_how_many_streams_of_one_peer_it_needs(
    pair: Pair, autojump_clock: trio.testing.MockClock
) -> None:
    async with pair.open() as (alice, bob):
        bob.handle("/two/1", echo, max_streams_per_peer=2)
        await alice.connect(*bob.addresses)
        for _ in range(2):
            stream = await alice.open_stream(bob.peer_id, "/two/1")
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"
        stream = await alice.open_stream(bob.peer_id, "/two/1")
        with pytest.raises(StreamReset), trio.fail_after(5):
            await stream.receive_some()
        with pytest.raises(InvalidInput, match="must be positive, not 0"):
            bob.handle("/two/1", echo, max_streams_per_peer=0)
