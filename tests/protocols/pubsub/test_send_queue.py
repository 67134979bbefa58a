"""What waits for one peer, and what the receipts say of it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub.api.config import QueueConfig
from peerstack.protocols.pubsub.api.receipt import NOT_NEEDED, SENT, Delivery, DeliveryState, Receipt
from peerstack.protocols.pubsub.streams.send_queue import BATCH, SendQueue, Wanted
from peerstack.protocols.pubsub.wire import (
    Message,
    Subscription,
    decode_rpc,
    encode_control,
    encode_subscriptions,
    make_message,
)
from peerstack.stack.framing import FrameReader
from peerstack.stack.identity import Identity

PEER = Identity.generate().peer_id
FRAME = 64 * 1024
CONTROL = 15 * 1024


def message(size: int = 100, data: bytes = b"x") -> Message:
    return make_message("news", data * size)


def receipt() -> Receipt:
    return Receipt("news", b"id", 1, 100)


def queue(*, messages: int = 4, size: int = 1 << 20, control: int = 1000, wanted: Wanted = lambda _: True) -> SendQueue:
    config = QueueConfig(max_messages=messages, max_bytes=size, max_control=control)
    return SendQueue(PEER, config, max_frame=FRAME, max_rpc=1 << 20, wanted=wanted)


async def frames(data: bytes) -> list[bytes]:
    one, other = trio.testing.memory_stream_one_way_pair()
    await one.send_all(data)
    return await FrameReader(other, limit=1 << 24).receive()


async def test_what_was_put_in_together_goes_out_in_one_frame_control_first() -> None:
    waiting = queue()
    for data in (b"a", b"b"):
        waiting.put(message(data=data))
    waiting.put_control(encode_subscriptions([Subscription(True, "news")]))
    (only,) = await frames(waiting.take().data)
    rpc = decode_rpc(only)
    assert [item.data[:1] for item in rpc.messages] == [b"a", b"b"]
    assert [item.topic for item in rpc.subscriptions] == ["news"]
    assert only.startswith(encode_subscriptions([Subscription(True, "news")])[0])


async def test_no_frame_is_larger_than_others_read_unless_one_message_is() -> None:
    waiting = queue(messages=1000)
    sizes = [30_000, 30_000, 30_000, 100_000, 10]
    for size in sizes:
        waiting.put(message(size))
    batch = waiting.take()
    rpcs = [decode_rpc(data) for data in await frames(batch.data)]
    assert [[len(item.data) for item in rpc.messages] for rpc in rpcs] == [[30_000, 30_000], [30_000], [100_000], [10]]


async def test_control_that_is_too_much_for_one_frame_is_split() -> None:
    waiting = queue(control=1 << 20)
    topics = [f"{number:04}" * 200 for number in range(100)]
    waiting.put_control(encode_subscriptions([Subscription(True, topic) for topic in topics]))
    all_frames = await frames(waiting.take().data)
    assert len(all_frames) == 6
    assert max(map(len, all_frames)) <= CONTROL
    assert [item.topic for data in all_frames for item in decode_rpc(data).subscriptions] == topics


async def test_a_batch_is_bounded_and_the_rest_waits() -> None:
    waiting = queue(messages=1000)
    for _ in range(20):
        waiting.put(message(FRAME))
    assert len(waiting.take().data) < BATCH + 2 * FRAME
    assert len(waiting) > 10


async def test_a_receipt_is_queued_then_sent() -> None:
    waiting, slip = queue(), receipt()
    waiting.put(message(), slip)
    assert slip.queued == (PEER,)
    assert not slip.reached_no_peer
    batch = waiting.take()
    assert slip.queued == (PEER,)
    waiting.settle(batch)
    assert slip.peers == {PEER: SENT}
    await slip.wait_sent()


async def test_a_task_that_waits_for_a_receipt_sees_the_drop() -> None:
    waiting, slip = queue(), receipt()
    waiting.put(message(), slip)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slip.wait_sent)
        await trio.testing.wait_all_tasks_blocked()
        assert waiting.close("the peer is gone") == 1
    assert slip.peers == {PEER: Delivery(DeliveryState.DROPPED, "the peer is gone")}
    assert slip.reached_no_peer


async def test_what_broke_while_it_was_sent_is_called_neither_sent_nor_dropped() -> None:
    waiting, slip = queue(), receipt()
    waiting.put(message(), slip)
    waiting.fail(waiting.take())
    assert slip.queued == (PEER,)
    waiting.close("the connection is gone")
    assert slip.peers == {PEER: Delivery(DeliveryState.UNCERTAIN, "the connection is gone")}
    await slip.wait_sent()


async def test_what_was_sent_stays_sent_when_pubsub_ends_and_the_connection_lives() -> None:
    waiting, slip = queue(), receipt()
    waiting.put(message(), slip)
    waiting.settle(waiting.take())
    waiting.close("pubsub was closed", lost=False)
    assert slip.peers == {PEER: SENT}


async def test_what_waits_to_be_sent_again_is_not_called_dropped() -> None:
    waiting, again, new = queue(), receipt(), receipt()
    first = message()
    first.id = b"first"
    waiting.put(first, again)
    waiting.settle(waiting.take())
    waiting.pause()
    waiting.restore()
    waiting.put(message(), new)
    assert (again.queued, new.queued) == ((PEER,), (PEER,))
    waiting.close("the connection is gone")
    assert again.peers == {PEER: Delivery(DeliveryState.UNCERTAIN, "the connection is gone")}
    assert new.peers == {PEER: Delivery(DeliveryState.DROPPED, "the connection is gone")}


async def test_a_peer_that_has_the_message_already_is_spared_it() -> None:
    unwanted = message()
    waiting, slip = queue(wanted=lambda item: item is not unwanted), receipt()
    waiting.put(unwanted, slip)
    waiting.put(message(data=b"b"))
    (only,) = await frames(waiting.take().data)
    assert [item.data[:1] for item in decode_rpc(only).messages] == [b"b"]
    assert slip.peers == {PEER: NOT_NEEDED}


@pytest.mark.parametrize("waiting", [queue(messages=4), queue(messages=1000, size=400)])
async def test_a_full_queue_makes_publishers_wait_until_some_went_out(waiting: SendQueue) -> None:
    for _ in range(4):
        assert not waiting.full
        waiting.put(message())
    assert waiting.full
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.wait_space)
        await trio.testing.wait_all_tasks_blocked()
        waiting.settle(waiting.take())
    assert not waiting.full


async def test_a_closed_queue_frees_who_waits() -> None:
    waiting = queue(messages=1)
    waiting.put(message())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiting.wait_space)
        nursery.start_soon(waiting.wait_idle)
        await trio.testing.wait_all_tasks_blocked()
        waiting.close("the peer is gone")
    assert (len(waiting), waiting.size, waiting.busy) == (0, 0, False)


async def test_idle_means_that_the_connection_took_all() -> None:
    waiting = queue()
    waiting.put(message())
    batch = waiting.take()
    idle = trio.Event()

    async def wait() -> None:
        await waiting.wait_idle()
        idle.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert not idle.is_set()
        waiting.settle(batch)
    assert idle.is_set()


async def test_for_a_peer_that_reads_no_control_messages_nothing_is_taken_until_the_next_stream() -> None:
    waiting = queue(control=100)
    waiting.put_control([bytes(60)])
    assert not waiting.reason
    waiting.put_control([bytes(60)])
    assert "does not read" in waiting.reason
    waiting.put_control([bytes(60)])
    assert not waiting.busy
    assert not waiting.closed
    waiting.begin([bytes(60)])
    assert (waiting.reason, waiting.busy) == ("", True)


async def test_a_new_stream_begins_with_the_hello() -> None:
    waiting = queue()
    waiting.put_control(encode_subscriptions([Subscription(False, "stale")]))
    waiting.put(message())
    waiting.begin(encode_subscriptions([Subscription(True, "news")]))
    rpc = decode_rpc((await frames(waiting.take().data))[0])
    assert [item.topic for item in rpc.subscriptions] == ["news"]
    assert len(rpc.messages) == 1


@pytest.mark.parametrize("field", ["max_messages", "max_bytes", "max_control", "stall_timeout", "forward_patience"])
def test_limits_below_one_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        QueueConfig(**{field: 0})


async def test_each_frame_has_one_control_field_at_most() -> None:
    waiting = queue(control=1 << 20)
    waiting.put_control(encode_control(idontwant=[bytes([number]) * 20 for number in range(25)], graft=["news"]))
    waiting.put(message())
    rpcs = [decode_rpc(data) for data in await frames(waiting.take().data)]
    assert [len(rpc.idontwant) for rpc in rpcs if rpc.idontwant] == [10, 10, 5]
    assert sum(len(rpc.graft) for rpc in rpcs) == 1
    assert [len(rpc.messages) for rpc in rpcs] == [0] * (len(rpcs) - 1) + [1]
