"""Our stream to a peer ends while the connection lives: another is opened, and nothing is lost silently."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import trio
import trio.testing

from peerstack import open_host
from peerstack.protocols.pubsub import DeliveryState, JoinedTopic, PubsubConfig, QueueConfig, Receipt
from peerstack.protocols.pubsub.api.events import PubsubPeerAdded
from peerstack.protocols.pubsub.wire import MESHSUB_12, Subscription, decode_rpc, encode_subscriptions, frame
from peerstack.stack.abc import Stream
from peerstack.stack.framing import FrameReader
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .parts import Node, open_nodes, open_topics

Clock = trio.testing.MockClock
TOPIC = "news"
QUICK = PubsubConfig(queues=QueueConfig(max_messages=50, max_bytes=1 << 20, stall_timeout=10))


@dataclass
class Foreign:
    """A peer that serves our streams by hand."""

    host: Host
    serve: Callable[[Foreign, Stream], Awaitable[None]]
    streams: int = 0
    opened_at: list[float] = field(default_factory=list)
    got: list[bytes] = field(default_factory=list)
    subscribed: list[str] = field(default_factory=list)
    reading: list[Stream] = field(default_factory=list)

    @property
    def peer_id(self) -> PeerId:
        return self.host.peer_id

    async def handle(self, stream: Stream) -> None:
        self.streams += 1
        self.opened_at.append(trio.current_time())
        await self.serve(self, stream)

    async def read(self, stream: Stream, *, limit: int = 1 << 24) -> None:
        """Read RPCs; one over the limit breaks the stream, as with others."""
        reader = FrameReader(stream, limit=1 << 24)
        self.reading.append(stream)
        while True:
            for data in await reader.receive():
                if len(data) > limit:
                    stream.reset()
                    return
                rpc = decode_rpc(data)
                self.got += [message.data for message in rpc.messages]
                self.subscribed += [item.topic for item in rpc.subscriptions]


@asynccontextmanager
async def foreign(
    serve: Callable[[Foreign, Stream], Awaitable[None]], config: PubsubConfig = QUICK, *, subscribes: bool = True
) -> AsyncIterator[tuple[Node, JoinedTopic[bytes], Foreign]]:
    """Connect a peer that serves our streams by hand, and subscribes on one of its own."""
    network = MemoryNetwork()
    async with (
        open_nodes(1, config, network=network) as (alice,),
        open_host(transports=[MemoryTransport(network)]) as host,
        alice.pubsub.join(TOPIC) as joined,
    ):
        peer = Foreign(host, serve)
        host.handle(MESHSUB_12, peer.handle)
        await host.connect(*alice.host.addresses)
        if subscribes:
            await subscribe(peer, alice)
            with trio.fail_after(30):
                await joined.wait_peers()
        yield alice, joined, peer


async def subscribe(peer: Foreign, alice: Node) -> Stream:
    """Open the stream of a peer, and say on it what it subscribes to."""
    stream = await peer.host.open_stream(alice.peer_id, MESHSUB_12)
    await stream.send_all(frame(encode_subscriptions([Subscription(True, TOPIC)])))
    return stream


# ---- it is opened again


async def close_first(peer: Foreign, stream: Stream) -> None:
    if peer.streams == 1:
        await trio.sleep(5)
        return  # the host closes the stream
    await peer.read(stream)


async def reset_first(peer: Foreign, stream: Stream) -> None:
    if peer.streams == 1:
        await trio.sleep(5)
        stream.reset()
    await peer.read(stream)


async def deaf_first(peer: Foreign, stream: Stream) -> None:
    if peer.streams == 1:
        await trio.sleep_forever()
    await peer.read(stream)


async def never_read(peer: Foreign, stream: Stream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("serve", [close_first, reset_first])
async def test_whichever_way_the_peer_ends_our_stream_there_is_another(
    autojump_clock: Clock, serve: Callable[[Foreign, Stream], Awaitable[None]]
) -> None:
    async with foreign(serve) as (_, joined, peer):
        await trio.sleep(10)
        assert peer.streams == 2
        assert peer.subscribed == [TOPIC]
        await joined.publish(b"hello")
        await trio.sleep(1)
        assert peer.got == [b"hello"]


async def test_a_peer_that_took_nothing_for_too_long_gets_another_stream(autojump_clock: Clock) -> None:
    async with foreign(deaf_first) as (alice, joined, peer):
        receipts = [await joined.publish(bytes(20_000)) for _ in range(100)]
        await trio.sleep(15)
        assert {state.state for receipt in receipts for state in receipt.peers.values()} == {
            DeliveryState.UNCERTAIN,
            DeliveryState.DROPPED,
        }
        assert peer.streams == 2
        assert joined.peers == [peer.peer_id]
        await joined.publish(b"after all")
        await trio.sleep(1)
        assert peer.got == [b"after all"]
        assert alice.pubsub.statistics().streams == {"opened": 2, "stalled": 1}


async def test_a_peer_that_stalls_again_and_again_delays_publishers_once(autojump_clock: Clock) -> None:
    async with foreign(never_read) as (_, joined, peer):
        began = trio.current_time()
        for _ in range(3000):
            await joined.publish(bytes(20_000))
            await trio.sleep(0.1)
        assert trio.current_time() - began < 300 + 10 + 2 * peer.streams
        assert 3 <= peer.streams <= 12


async def test_streams_that_break_at_once_are_opened_ever_more_rarely_but_for_ever(autojump_clock: Clock) -> None:
    async def break_it(peer: Foreign, stream: Stream) -> None:
        stream.reset()

    async with foreign(break_it, subscribes=False) as (_, _, peer):
        await trio.sleep(600)
        assert 10 <= peer.streams <= 16
        await trio.sleep(600)
        assert 20 <= peer.streams <= 26


async def test_a_peer_that_hurries_us_gets_no_more_than_two_streams_a_second(autojump_clock: Clock) -> None:
    async def break_it(peer: Foreign, stream: Stream) -> None:
        stream.reset()

    async with foreign(break_it, subscribes=False) as (alice, _, peer):
        for _ in range(200):
            stream = await peer.host.open_stream(alice.peer_id, MESHSUB_12)
            await stream.send_all(b"\0")
            await trio.sleep(0.05)
        assert peer.streams <= 22


async def test_a_peer_that_never_agrees_to_a_protocol_holds_a_stream_for_a_while_only(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = MemoryNetwork()
    async with open_nodes(2, network=network, connect=False) as (alice, bob):
        tries: list[float] = []
        held = 0
        open_stream = alice.host.open_stream

        async def silent(peer: PeerId, *protocols: str) -> Stream:
            nonlocal held
            if len(tries) == 3:
                return await open_stream(peer, *protocols)
            tries.append(trio.current_time())
            held += 1
            try:
                await trio.sleep_forever()
            finally:
                held -= 1
            raise AssertionError

        monkeypatch.setattr(alice.host, "open_stream", silent)
        await alice.host.connect(*bob.host.addresses)
        await trio.sleep(9)
        assert held == 1
        await trio.sleep(1.2)
        assert held == 0
        await trio.sleep(60)
        assert [round(later - earlier, 1) for earlier, later in pairwise(tries)] == [10.5, 12.0]
        assert alice.pubsub.statistics().streams == {"not opened": 3, "opened": 1}
        async with open_topics([alice, bob]) as (at_alice, at_bob):
            await at_alice.publish(b"at last")
            assert (await at_bob.receive()).data == b"at last"


# ---- publishing in the task that reads


async def test_two_peers_that_publish_in_the_task_that_reads_stay_linked(autojump_clock: Clock) -> None:
    """Each waits for the other to read. What has no place is dropped, in seconds, and the receipts say so."""
    config = PubsubConfig(queues=QueueConfig(max_bytes=1 << 20))
    receipts: dict[str, list[Receipt]] = {"alice": [], "bob": []}
    got = {"alice": 0, "bob": 0}
    async with open_nodes(2, config) as (alice, bob):
        async with alice.pubsub.join(TOPIC, buffer=8) as at_alice, bob.pubsub.join(TOPIC, buffer=8) as at_bob:
            await at_alice.wait_peers()
            await at_bob.wait_peers()

            async def talk(name: str, joined: JoinedTopic[bytes]) -> None:
                for _ in range(250):
                    receipts[name].append(await joined.publish(bytes(64 * 1024)))
                    with trio.move_on_after(0):
                        await joined.receive()
                        got[name] += 1
                with trio.move_on_after(5):
                    while True:
                        await joined.receive()
                        got[name] += 1

            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk, "alice", at_alice)
                nursery.start_soon(talk, "bob", at_bob)
            assert trio.current_time() - began < 15
            for name, other in (("alice", "bob"), ("bob", "alice")):
                sent = sum(len(receipt.sent) for receipt in receipts[name])
                dropped = sum(len(receipt.dropped) for receipt in receipts[name])
                assert sent + dropped == 250
                assert got[other] >= sent > 0  # and what was fetched by gossip, though it found no place
            assert len(alice.events.of(PubsubPeerAdded)) == 1
            await at_alice.publish(b"still here")
            assert (await at_bob.receive()).data == b"still here"


# ---- what was on the stream


async def test_what_a_broken_stream_may_have_lost_is_sent_again(autojump_clock: Clock) -> None:
    async def break_half_way(peer: Foreign, stream: Stream) -> None:
        if peer.streams == 1:
            await trio.sleep(5)
            stream.reset()  # nothing of it was read
            return
        await peer.read(stream)

    async with foreign(break_half_way) as (_, joined, peer):
        receipts = [await joined.publish(b"%d" % number) for number in range(30)]
        await trio.sleep(20)
        assert peer.got == [b"%d" % number for number in range(30)]
        assert all(receipt.sent == (peer.peer_id,) for receipt in receipts)


async def test_a_message_that_the_peer_is_too_small_for_costs_the_others_nothing(autojump_clock: Clock) -> None:
    async def read_little(peer: Foreign, stream: Stream) -> None:
        await peer.read(stream, limit=65_536)

    async with foreign(read_little, PubsubConfig()) as (_, joined, peer):
        small: list[Receipt] = []

        async def publish(numbers: range) -> None:
            for number in numbers:
                small.append(await joined.publish(b"%d" % number))
                await trio.sleep(0.01)

        await publish(range(401))
        large = await joined.publish(bytes(1_000_000))
        await publish(range(401, 800))
        await trio.sleep(30)
        assert sorted(map(int, set(peer.got))) == list(range(800))
        assert all(receipt.sent for receipt in small)
        (delivery,) = large.peers.values()
        assert delivery.state is DeliveryState.DROPPED
        assert "its streams broke at that size" in delivery.reason
        streams = peer.streams
        again = await joined.publish(bytes(1_000_000))
        assert again.reached_no_peer
        await joined.publish(b"800")
        await trio.sleep(5)
        assert peer.got[-1] == b"800"
        assert peer.streams == streams == 3


async def test_what_a_lost_connection_had_taken_is_called_uncertain(autojump_clock: Clock) -> None:
    async with foreign(never_read) as (alice, joined, peer):
        receipt = await joined.publish(b"hello")
        await receipt.wait_sent()
        assert receipt.sent == (peer.peer_id,)
        (connection,) = peer.host.connections(alice.peer_id)
        await connection._channel.aclose()  # type: ignore[attr-defined] # without a word
        await trio.sleep(5)
        assert receipt.uncertain == (peer.peer_id,)
        assert not receipt.sent


async def test_a_peer_that_begins_anew_hears_nothing_of_before(autojump_clock: Clock) -> None:
    async def serve(peer: Foreign, stream: Stream) -> None:
        await peer.read(stream)

    async with foreign(serve, subscribes=False) as (alice, joined, peer):
        own = await subscribe(peer, alice)
        await joined.wait_peers()
        await joined.publish(b"before")
        await trio.sleep(5)
        peer.reading[0].reset()
        own.reset()
        await trio.sleep(0.1)
        await subscribe(peer, alice)
        await trio.sleep(5)
        await joined.publish(b"after")
        await trio.sleep(5)
        assert peer.got == [b"before", b"after"]


async def test_no_message_is_published_that_no_peer_takes(autojump_clock: Clock) -> None:
    async def serve(peer: Foreign, stream: Stream) -> None:
        await peer.read(stream)

    async with foreign(serve) as (_, joined, peer):
        receipt = await joined.publish(bytes((1 << 20) - 300))
        await receipt.wait_sent()
        assert receipt.sent == (peer.peer_id,)
        too_large = await joined.publish(bytes(1 << 20))
        (delivery,) = too_large.peers.values()
        assert delivery.state is DeliveryState.DROPPED
        assert "more than the 1048576 that the peer reads" in delivery.reason
