"""Streams of hostile peers: garbage on them, too many of them, and peers that do not read."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import DeliveryState, PubsubConfig, QueueConfig, Receipt
from peerstack.protocols.pubsub.api.events import ForwardDropped, MalformedRpc, PubsubPeerRemoved
from peerstack.protocols.pubsub.router.router import GossipsubRouter
from peerstack.protocols.pubsub.router.state import PeerState
from peerstack.protocols.pubsub.streams.peer_streams import PeerStreams
from peerstack.protocols.pubsub.streams.send_queue import SendQueue
from peerstack.protocols.pubsub.wire import frame
from peerstack.stack.wire.varint import encode_uint64

from .pubsub_peers import TOPIC, Hostile, field_of_battle, hostile_peer, kept

Clock = trio.testing.MockClock
SMALL_QUEUES = PubsubConfig(queues=QueueConfig(max_messages=100, max_bytes=1 << 20, stall_timeout=20))


# ---- frames


async def test_empty_frames_are_skipped(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        before = kept(place.victim)
        await peer.raw(b"\0" * 1_000_000)
        assert kept(place.victim) == before
        await peer.publish(peer.message(b"after all"))
        assert (await place.at_victim.receive()).data == b"after all"
        await place.at_honest.receive()


async def test_what_came_before_garbage_counts(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await peer.try_raw(frame([peer.message(b"a good frame").entry]) + b"\x05HELLO")
        assert (await place.at_victim.receive()).data == b"a good frame"
        await place.at_honest.receive()
        assert len(place.victim.events.of(MalformedRpc)) == 1


@pytest.mark.parametrize("size", [(4 << 20) + 1, 2**31, 2**63 - 1])
async def test_a_frame_over_the_limit_is_refused_before_it_came(autojump_clock: Clock, size: int) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await peer.try_raw(encode_uint64(size))
        (event,) = place.victim.events.of(MalformedRpc)
        assert event.reason == f"message of {size} bytes is over the limit of {4 << 20}"


@pytest.mark.parametrize("prefix", [b"\xff" * 9 + b"\x01", b"\x80\x80\x00", b"\x81\x00"])
async def test_a_length_that_is_none_is_refused(autojump_clock: Clock, prefix: bytes) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await peer.try_raw(prefix)
        assert len(place.victim.events.of(MalformedRpc)) == 1


async def test_a_message_over_the_limit_is_rejected_and_the_stream_goes_on(autojump_clock: Clock) -> None:
    async with field_of_battle(PubsubConfig(max_message=1000)) as place, hostile_peer(place, TOPIC) as peer:
        await peer.publish(peer.message(bytes(1001)), peer.message(bytes(1000)))
        assert len((await place.at_victim.receive()).data) == 1000
        await place.at_honest.receive()
        assert place.victim.pubsub.statistics().rejected == {"too_large": 1}
        assert peer.score < 0


async def test_a_peer_that_sends_one_byte_at_a_time_is_understood(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        data = frame([peer.message(b"slow but true").entry])
        for index in range(len(data)):
            await peer.raw(data[index : index + 1])
            if index % 50 == 0:
                await place.honest_exchange()
        assert (await place.at_victim.receive()).data == b"slow but true"
        await place.at_honest.receive()


# ---- too many streams


async def test_of_a_hundred_streams_of_one_peer_the_last_four_are_read(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        before = place.victim.host.statistics().swarm.streams
        streams = [peer.stream]
        for number in range(100):
            await peer.begin()
            streams.append(peer.stream)
            await peer.publish(peer.message(b"on stream %d" % number))
            assert (await place.at_victim.receive()).data == b"on stream %d" % number
            await place.at_honest.receive()
        assert place.victim.host.statistics().swarm.streams == before + 3
        assert peer.streams == 1  # and one of ours, still the same
        for stream in streams[:-4]:
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"\0")


async def test_two_thousand_streams_one_after_the_other_leave_nothing(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place) as peer:
        before = kept(place.victim)
        in_use = place.victim.host.statistics().swarm.streams
        for number in range(2000):
            if number % 100 == 0:
                await trio.sleep(1)  # those who reset streams faster lose the connection
            stream = await peer.host.open_stream(place.victim.peer_id, peer.protocol)
            await stream.send_all(b"\0")
            stream.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert kept(place.victim) == before
        assert place.victim.host.statistics().swarm.streams <= in_use


def living(*kinds: type) -> dict[str, int]:
    gc.collect()
    return {kind.__name__: sum(isinstance(item, kind) for item in gc.get_objects()) for kind in kinds}


async def test_peers_that_come_and_go_leave_nothing(autojump_clock: Clock) -> None:
    async with field_of_battle() as place:
        before, objects = kept(place.victim), living(PeerStreams, SendQueue, PeerState, GossipsubRouter)
        for _ in range(6):
            async with AsyncExitStack() as stack:
                for _ in range(10):
                    peer = await stack.enter_async_context(hostile_peer(place, TOPIC, "other"))
                    await peer.graft(TOPIC, "other")
        await trio.testing.wait_all_tasks_blocked()
        assert kept(place.victim) == before
        assert living(PeerStreams, SendQueue, PeerState, GossipsubRouter) == objects
        assert len(place.victim.events.of(PubsubPeerRemoved)) == 60


# ---- peers that do not read


async def test_a_peer_that_never_reads_is_dropped_and_the_receipts_say_so(autojump_clock: Clock) -> None:
    async with field_of_battle(SMALL_QUEUES) as place, hostile_peer(place, TOPIC, reads=Hostile.never_read) as peer:
        receipts: list[Receipt] = []
        began = trio.current_time()
        most = 0
        for _ in range(400):
            receipts.append(await place.at_victim.publish(bytes(10_000)))
            assert len((await place.at_honest.receive()).data) == 10_000
            queued = place.victim.pubsub.statistics().peers.get(str(peer.peer_id))
            most = max(most, queued.queued_bytes if queued else 0)
        assert most <= 1.1 * 2**20
        assert trio.current_time() - began < 20 + 5  # publishing waited, but once
        (removed,) = place.victim.events.of(PubsubPeerRemoved)
        assert (removed.peer, removed.reason) == (peer.peer_id, "the peer took nothing for 20 s")
        for receipt in receipts:
            assert receipt.peers[place.honest.peer_id].state is not DeliveryState.DROPPED
        reasons = {
            receipt.peers[peer.peer_id].reason
            for receipt in receipts
            if peer.peer_id in receipt.peers and receipt.peers[peer.peer_id].state is DeliveryState.DROPPED
        }
        assert "the peer took nothing for 20 s" in reasons


async def test_what_is_passed_on_to_a_peer_that_never_reads_is_dropped_and_told(autojump_clock: Clock) -> None:
    async with field_of_battle(SMALL_QUEUES) as place, hostile_peer(place, TOPIC, reads=Hostile.never_read) as peer:
        await trio.sleep(2)
        assert peer.peer_id in place.at_victim.mesh
        for number in range(600):
            await place.at_honest.publish(b"%d" % number + bytes(9990))
            with trio.fail_after(10):
                assert (await place.at_victim.receive()).data.rstrip(b"\0") == b"%d" % number
        link = place.victim.pubsub.statistics().peers.get(str(peer.peer_id))
        assert link is None or link.queued_bytes <= 2.2 * 2**20
        assert place.victim.events.of(ForwardDropped)[0].peer == peer.peer_id


async def test_publishing_reaches_the_others_before_it_waits_for_one_that_does_not_read(
    autojump_clock: Clock,
) -> None:
    async with field_of_battle(SMALL_QUEUES) as place, AsyncExitStack() as stack:
        await place.honest.host.disconnect(place.victim.peer_id)
        deaf = [await stack.enter_async_context(hostile_peer(place, TOPIC, reads=Hostile.never_read)) for _ in range(3)]
        await place.honest.host.connect(*place.victim.host.addresses)  # now the deaf ones come first
        await place.at_victim.wait_peers(4)
        assert place.at_victim.peers[-1] == place.honest.peer_id
        arrived = 0
        with trio.move_on_after(5) as scope:
            while True:
                await place.at_victim.publish(bytes(10_000))
                arrived += 1
                await place.at_honest.receive()
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        # It waits for the deaf ones, and was cancelled; those who read have it all the same.
        assert place.at_honest.statistics().waiting == 1
        await place.at_honest.receive()
        assert all(peer.streams == 1 for peer in deaf)
        assert arrived > 50


async def test_control_for_a_peer_that_never_reads_is_bounded(autojump_clock: Clock) -> None:
    config = PubsubConfig(queues=QueueConfig(max_control=10_000, stall_timeout=20))
    async with field_of_battle(config) as place, hostile_peer(place, TOPIC, reads=Hostile.never_read) as peer:
        queue = place.victim.pubsub._peers.streams[peer.peer_id].queue
        with trio.move_on_after(30):
            for number in range(100_000):
                place.victim.pubsub._peers.announce([b"\x0a\x05\x08\x01\x12\x01" + b"%d" % (number % 10)] * 100)
                assert queue._control_bytes <= 10_000 + 800
                if queue.reason:
                    break
                await trio.testing.wait_all_tasks_blocked()
        assert queue.reason == "the peer does not read: too many control messages wait for it"


async def test_a_peer_that_reads_one_byte_at_a_time_does_not_hold_up_others_for_long(autojump_clock: Clock) -> None:
    async with field_of_battle(SMALL_QUEUES) as place, hostile_peer(place, TOPIC, reads=Hostile.trickle) as peer:
        await trio.sleep(2)
        assert peer.peer_id in place.at_victim.mesh
        began = trio.current_time()
        for number in range(600):
            await place.at_honest.publish(b"%d" % number + bytes(9990))
            assert (await place.at_victim.receive()).data.rstrip(b"\0") == b"%d" % number
        assert trio.current_time() - began < 10
        link = place.victim.pubsub._peers.streams[peer.peer_id]
        assert link.queue.size <= 2.2 * 2**20
        await trio.sleep(25)
        (removed,) = place.victim.events.of(PubsubPeerRemoved)
        assert (removed.peer, removed.reason) == (peer.peer_id, "the peer took nothing for 20 s")
        await peer.begin()  # a peer that wants to go on, may
        await peer.subscribe(TOPIC)
        assert peer.peer_id in place.at_victim.peers
