"""A host opened with the defaults tells peers who it is, learns who they are, and tells them what changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack import open_host
from peerstack.stack.abc import Stream
from peerstack.stack.events import AddressesChanged, PeerIdentified
from peerstack.stack.host import Host
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport


@asynccontextmanager
async def two_hosts(observer: RecordingObserver) -> AsyncIterator[tuple[Host, Host]]:
    network = MemoryNetwork()
    async with open_host(transports=[MemoryTransport(network)], listen=["/memory/7"], agent="listener/1") as listener:
        async with open_host(transports=[MemoryTransport(network)], observers=[observer]) as dialer:
            yield listener, dialer


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


async def test_connect_returns_when_the_peer_is_known(
    observer: RecordingObserver, autojump_clock: trio.testing.MockClock
) -> None:
    async with two_hosts(observer) as (listener, dialer):
        listener.handle("/echo/1", echo)
        peer = await dialer.connect(listener.addresses[0])
        assert dialer.peerstore.agent(peer) == "listener/1"
        assert dialer.peerstore.protocol_version(peer) == "ipfs/0.1.0"
        assert set(dialer.peerstore.protocols(peer)) == set(listener.protocols) >= {"/echo/1", "/ipfs/id/1.0.0"}
        assert dialer.peerstore.certified_addresses(peer) == tuple(listener.announced_addresses)
        assert dialer.peerstore.observed(peer) == dialer.connections(peer)[0].info.local_address
        (identified,) = observer.of(PeerIdentified)
        assert identified.signed


async def test_the_listener_asks_too(observer: RecordingObserver, autojump_clock: trio.testing.MockClock) -> None:
    async with two_hosts(observer) as (listener, dialer):
        await dialer.connect(listener.addresses[0])
        await trio.testing.wait_all_tasks_blocked()
        assert listener.peerstore.agent(dialer.peer_id).startswith("peerstack/")


async def test_a_new_handler_is_pushed(observer: RecordingObserver, autojump_clock: trio.testing.MockClock) -> None:
    async with two_hosts(observer) as (listener, dialer):
        peer = await dialer.connect(listener.addresses[0])
        listener.handle("/late/1", echo)
        await trio.sleep(5)
        assert "/late/1" in dialer.peerstore.protocols(peer)
        listener.unhandle("/late/1")
        await trio.sleep(5)
        assert "/late/1" not in dialer.peerstore.protocols(peer)


async def test_a_new_address_is_pushed_and_told_to_observers_once(
    observer: RecordingObserver, autojump_clock: trio.testing.MockClock
) -> None:
    async with two_hosts(RecordingObserver()) as (listener, dialer):
        listener.observe(observer)
        peer = await dialer.connect(listener.addresses[0])
        await trio.sleep(5)
        observer.events.clear()
        await listener.listen("/memory/8")
        await trio.sleep(5)
        assert set(dialer.peerstore.certified_addresses(peer)) == set(listener.announced_addresses)
        assert [event.addresses for event in observer.of(AddressesChanged)] == [tuple(listener.announced_addresses)]


async def test_what_a_peer_said_begins_to_expire_when_it_goes(
    observer: RecordingObserver, autojump_clock: trio.testing.MockClock
) -> None:
    async with two_hosts(observer) as (listener, dialer):
        peer = await dialer.connect(listener.addresses[0])
        await trio.sleep(3600)
        assert dialer.peerstore.addresses(peer)
        await dialer.disconnect(peer)
        assert dialer.peerstore.addresses(peer)
        await trio.sleep(3600)  # the address was dialed: it is remembered for an hour
        assert not dialer.peerstore.addresses(peer)
