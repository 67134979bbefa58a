"""Publish/subscribe between hosts that meet through a relay: its streams move when a direct connection arrives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import JoinedTopic, Pubsub, open_pubsub
from peerstack.protocols.pubsub.api.events import PubsubPeerRemoved
from peerstack.stack.abc import ConnectionLimits
from peerstack.stack.identity import PeerId
from peerstack.stack.testing import RecordingObserver

from .test_relayed import Network, network

Clock = trio.testing.MockClock


@dataclass
class Room:
    """Alice and Bob in one topic."""

    net: Network
    at_alice: JoinedTopic[bytes]
    at_bob: JoinedTopic[bytes]
    pubsubs: list[Pubsub]
    observer: RecordingObserver

    async def join_directly(self) -> None:
        await self.net.alice.connect(self.net.bob.peer_id, direct=True)

    def paths(self) -> list[PeerId | None]:
        """Return the relays of the connections that pubsub's own streams use."""
        found: list[PeerId | None] = []
        for pubsub in self.pubsubs:
            (streams,) = [item for peer, item in pubsub._peers.streams.items() if peer != self.net.relay_id]
            found.append(None if streams.stream is None else streams.stream.connection.info.relay)
        return found


@asynccontextmanager
async def room(*, limited: bool) -> AsyncIterator[Room]:
    limits = ConnectionLimits(seconds=10_000, data=1 << 24) if limited else ConnectionLimits()
    async with network(limits, limited=limited) as net, AsyncExitStack() as stack:
        observer = RecordingObserver()
        pubsubs = [await stack.enter_async_context(open_pubsub(host, seed=1)) for host in (net.alice, net.bob)]
        at_alice, at_bob = [await stack.enter_async_context(pubsub.join("news")) for pubsub in pubsubs]
        await net.connect_by_relay()
        for host in (net.alice, net.bob):
            host.observe(observer)
        yield Room(net, at_alice, at_bob, pubsubs, observer)


@pytest.mark.parametrize("busy", [False, True])
async def test_streams_move_to_a_direct_connection_and_lose_nothing(busy: bool, autojump_clock: Clock) -> None:
    async with room(limited=False) as scene, trio.open_nursery() as nursery:
        await scene.at_alice.wait_peers()
        await scene.at_bob.wait_peers()
        await trio.sleep(3)
        assert scene.paths() == [scene.net.relay_id] * 2
        sent: list[bytes] = []
        got: list[bytes] = []
        enough = False

        async def read() -> None:
            while got[-1:] != [b"last"]:
                got.append((await scene.at_bob.receive()).data)

        async def publish() -> None:
            while not enough:
                sent.append(b"%d" % len(sent) + bytes(20_000))
                await scene.at_alice.publish(sent[-1])
                await trio.sleep(0.01)

        nursery.start_soon(read)
        if busy:
            nursery.start_soon(publish)
        await trio.sleep(1)
        await scene.join_directly()
        await trio.sleep(2)
        assert scene.paths() == [None, None]
        await trio.sleep(5)
        assert scene.net.relay.open_circuits == 0  # no stream holds the old connection any more
        enough = True
        await trio.sleep(1)
        sent.append(b"last")
        await scene.at_alice.publish(sent[-1])
        await trio.sleep(1)
        assert sorted(got) == sorted(sent)  # each once; around the move the two streams may overtake one another
        assert scene.observer.of(PubsubPeerRemoved) == []
        assert [pubsub.statistics().malformed for pubsub in scene.pubsubs] == [0, 0]
        assert [pubsub.statistics().streams.get("moved") for pubsub in scene.pubsubs] == [1, 1]


async def test_nothing_is_opened_on_a_limited_connection_and_at_once_on_a_direct_one(autojump_clock: Clock) -> None:
    async with room(limited=True) as scene:
        await trio.sleep(100)
        assert scene.at_alice.peers == []
        await scene.join_directly()
        with trio.fail_after(3):
            await scene.at_alice.wait_peers()
            await scene.at_bob.wait_peers()
        await scene.at_alice.publish(b"hello")
        assert (await scene.at_bob.receive()).data == b"hello"
