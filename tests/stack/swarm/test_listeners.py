"""Listeners with several addresses that change, and `unlisten`."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.events import AddressesChanged, ConnectionOpened, ListenStarted, ListenStopped
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport
from peerstack.transports.websocket import WebSocketTransport

from ...transports.websocket.in_memory import MemoryTcp
from .parts import FakeListener, ListeningTransport, connection_of, inbound, running, tcp

ONE, TWO, THREE = tcp(1), tcp(2), tcp(3)


async def test_a_listener_may_have_several_addresses_and_change_them() -> None:
    listener = FakeListener(ONE, TWO)
    async with running(ListeningTransport(listener)) as (swarm, observer):
        changes: list[list[Multiaddr]] = []
        swarm.on_listen_addresses_changed.add(lambda: changes.append(swarm.listen_addresses), name="test")
        assert await swarm.listen(ONE) == (ONE, TWO)
        listener.addresses = (TWO, THREE)
        assert swarm.listen_addresses == [TWO, THREE]
        listener.addresses = (TWO, THREE)  # nothing new
        listener.addresses = ()
        assert swarm.listen_addresses == []
        listener.addresses = (ONE,)
    assert changes == [[ONE, TWO], [TWO, THREE], [], [ONE]], "the end of a swarm is not told"
    started = [event.address for event in observer.of(ListenStarted)]
    assert started == [ONE, TWO, THREE, ONE]
    assert [event.address for event in observer.of(ListenStopped)] == [ONE, TWO, THREE, ONE]
    listener.addresses = (TWO,)
    assert len(observer.of(ListenStarted)) == 4, "a listener that is closed has no news"


async def test_nothing_listens_on_an_address_of_many_hosts() -> None:
    transport = ListeningTransport(FakeListener(ONE))
    transport.can_listen = lambda address: True  # type: ignore[method-assign]
    async with running(transport) as (swarm, _):
        with pytest.raises(
            InvalidAddress, match=r"cannot listen on .*: 224\.0\.0\.1 is the address of a group of hosts"
        ):
            await swarm.listen(Multiaddr("/ip4/224.0.0.1/tcp/1"))


async def test_a_listener_may_begin_without_an_address() -> None:
    listener = FakeListener()
    transport = ListeningTransport(listener)
    transport.can_listen = lambda address: True  # type: ignore[method-assign]
    async with running(transport) as (swarm, observer):
        assert await swarm.listen(ONE) == ()
        listener.addresses = (TWO,)
        assert swarm.listen_addresses == [TWO]
        await swarm.unlisten(ONE)  # as it was asked for
        assert swarm.listen_addresses == []
        assert observer.of(ListenStopped) == [ListenStopped(TWO, None)]


async def test_addresses_that_are_none_are_a_bug_of_the_listener(caplog: pytest.LogCaptureFixture) -> None:
    listener = FakeListener(ONE)
    async with running(ListeningTransport(listener)) as (swarm, _):
        await swarm.listen(ONE)
        listener.addresses = ("/ip4/1.2.3.4/tcp/1",)  # type: ignore[assignment]
        assert swarm.listen_addresses == [ONE]
        assert "must be Multiaddrs" in caplog.text


async def test_unlisten_closes_the_listener_and_no_connection() -> None:
    listener = FakeListener(ONE, TWO)
    async with running(ListeningTransport(listener)) as (swarm, observer):
        await swarm.listen(ONE)
        listener.arrive(lambda: connection_of(inbound()))
        await observer.wait_for(ConnectionOpened)
        with pytest.raises(InvalidAddress, match=f"does not listen on {THREE}; it listens on {ONE}, {TWO}"):
            await swarm.unlisten(THREE)
        await swarm.unlisten(TWO)
        assert observer.of(ListenStopped) == [ListenStopped(ONE, None), ListenStopped(TWO, None)]
        assert (swarm.listen_addresses, len(swarm.peers)) == ([], 1)
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()
        with pytest.raises(InvalidAddress, match="it listens on nothing"):
            await swarm.unlisten(TWO)


async def test_unlisten_waits_for_no_listener_that_does_not_close(autojump_clock: trio.testing.MockClock) -> None:
    class Stuck(FakeListener):
        async def aclose(self) -> None:
            await trio.sleep_forever()

    async with running(ListeningTransport(Stuck(ONE))) as (swarm, _):
        await swarm.listen(ONE)
        with trio.fail_after(5):
            await swarm.unlisten(ONE)
        assert swarm.listen_addresses == []


async def test_what_wraps_a_listener_follows_its_addresses(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    below = MemoryTransport(network)
    inner = await below.listen(Multiaddr("/memory/0"))

    async def listen(address: Multiaddr) -> object:
        return inner

    below.listen = listen  # type: ignore[assignment,method-assign]
    async with open_host(transports=[below]) as host:
        await host.listen("/memory/0")
        inner.addresses = (Multiaddr("/memory/77"), Multiaddr("/memory/78"))
        assert host.swarm.listen_addresses == [Multiaddr("/memory/77"), Multiaddr("/memory/78")]

    websocket = await WebSocketTransport(MemoryTcp(network)).listen(Multiaddr("/ip4/127.0.0.1/tcp/0/ws"))
    websocket._below.addresses = (ONE, TWO)  # type: ignore[attr-defined]
    assert websocket.addresses == (ONE.encapsulate(Multiaddr("/ws")), TWO.encapsulate(Multiaddr("/ws")))
    await websocket.aclose()


async def test_a_host_tells_its_peers_of_listeners_that_change_and_end(autojump_clock: trio.testing.MockClock) -> None:
    network, observer = MemoryNetwork(), RecordingObserver()
    async with (
        open_host(transports=[MemoryTransport(network)], observers=[observer]) as alice,
        open_host(transports=[MemoryTransport(network)]) as bob,
    ):
        (first,), (second,) = await alice.listen("/memory/5"), await alice.listen("/memory/6")
        await bob.connect(first)
        await trio.sleep(5)
        assert Multiaddr("/memory/6") in bob.peerstore.addresses(alice.peer_id)
        await alice.unlisten(second)
        assert alice.addresses == [first]
        await trio.sleep(5)
        assert observer.of(AddressesChanged)[-1].addresses == (Multiaddr("/memory/5"),)
        assert alice.peers == [bob.peer_id]
        await alice.listen("/memory/6")  # the number is free again
        await alice.unlisten("/memory/5")
        await trio.sleep(5)
        assert bob.peers == [alice.peer_id], "connections stay"


async def test_a_listener_that_fails_is_announced_no_more(autojump_clock: trio.testing.MockClock) -> None:
    observer = RecordingObserver()
    async with open_host(transports=[MemoryTransport(MemoryNetwork())], observers=[observer]) as host:
        await host.listen("/memory/5")
        await host.listen("/memory/6")
        await trio.sleep(5)
        inner = host.swarm._listeners._open[0].listener._listener  # type: ignore[attr-defined]
        await inner.aclose()
        await trio.sleep(5)
        assert observer.of(AddressesChanged)[-1].addresses == (Multiaddr("/memory/6"),)


async def test_unlisten_on_all_interfaces_and_names() -> None:
    async with open_host() as host:
        addresses = await host.listen("/ip4/0.0.0.0/tcp/0")
        await host.unlisten(addresses[0])  # one that it is listed out as
        assert host.addresses == []
        with pytest.raises(InvalidAddress, match="another peer"):
            await host.unlisten("/ip4/127.0.0.1/tcp/1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo")
