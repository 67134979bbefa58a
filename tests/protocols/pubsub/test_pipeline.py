"""What is read from peers while readers are slow, and while everything is closed in the midst of it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest
import trio
import trio.testing

from peerstack import open_host
from peerstack.protocols.pubsub import (
    DeliveryState,
    JoinedTopic,
    PubsubConfig,
    PubsubMessage,
    QueueConfig,
    Receipt,
    SubscriptionOverflow,
    ValidationResult,
    WhenFull,
    open_pubsub,
)
from peerstack.stack.events import HandlerFailed
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .parts import open_nodes, open_topics

Clock = trio.testing.MockClock


async def receive(topic: JoinedTopic[bytes]) -> PubsubMessage[bytes]:
    with trio.fail_after(10):
        return await topic.receive()


# ---- readers that do not read, while other topics flow


@pytest.mark.parametrize("when_full", [WhenFull.DROP_OLDEST, WhenFull.RAISE])
async def test_a_reader_that_never_reads_does_not_stop_other_topics(autojump_clock: Clock, when_full: WhenFull) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob], "other") as (_, at_bob):
        async with alice.pubsub.join("news") as news, bob.pubsub.join("news", buffer=5, when_full=when_full) as idle:
            await news.wait_peers()
            for number in range(1000):
                await news.publish(b"%d" % number)
                if number % 100 == 0:
                    await alice.pubsub.publish("other", b"%d" % number)
                    assert (await receive(at_bob)).data == b"%d" % number
            await trio.testing.wait_all_tasks_blocked()
            assert idle.statistics().waiting == 5
            if when_full is WhenFull.DROP_OLDEST:
                got = await receive(idle)
                assert (got.data, got.missed) == (b"995", 995)
            else:
                assert [(await receive(idle)).data for _ in range(5)] == [b"%d" % number for number in range(5)]
                with pytest.raises(SubscriptionOverflow):
                    await idle.receive()


async def test_a_reader_that_wants_to_be_waited_for_stops_only_the_peers_that_send_to_it(autojump_clock: Clock) -> None:
    async with open_nodes(3, connect=False) as (alice, bob, carol):
        await alice.host.connect(*bob.host.addresses)
        await carol.host.connect(*bob.host.addresses)
        async with alice.pubsub.join("news") as news, carol.pubsub.join("other") as other:
            async with bob.pubsub.join("news", buffer=5) as slow, bob.pubsub.join("other") as at_bob:
                await news.wait_peers()
                await other.wait_peers()
                await news.publish(b"first")
                await receive(slow)  # a reader has begun here, but reads no more for now
                for number in range(100):
                    await (await news.publish(b"%d" % number)).wait_sent()
                    await other.publish(b"%d" % number)
                    assert (await receive(at_bob)).data == b"%d" % number
                assert slow.statistics().waiting < 20
                assert [int((await receive(slow)).data) for _ in range(100)] == list(range(100))
                assert slow.statistics().missed == 0


# ---- publishing that is given up


async def test_publishing_that_is_cancelled_while_it_waits_leaves_the_queues_right(autojump_clock: Clock) -> None:
    config = PubsubConfig(queues=QueueConfig(max_messages=10, stall_timeout=1000))
    async with open_nodes(2, config) as (alice, bob):
        async with alice.pubsub.join("news") as at_alice, bob.pubsub.join("news", buffer=5) as at_bob:
            await at_alice.wait_peers()
            await at_alice.publish(b"first")
            await receive(at_bob)
            sent = 0
            for _ in range(5):
                with trio.move_on_after(5):
                    while True:
                        await at_alice.publish(b"%d" % sent + bytes(100_000))
                        sent += 1
            assert alice.pubsub.statistics().peers[str(bob.peer_id)].queued <= 11
            got = []
            with trio.move_on_after(10):
                while True:
                    got.append(int((await at_bob.receive()).data.rstrip(b"\0")))
            assert got == list(range(sent))


# ---- closing in the midst of it


class Living(trio.abc.Instrument):
    """Counts the tasks that live."""

    def __init__(self) -> None:
        self.tasks = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.tasks += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.tasks -= 1


@contextmanager
def no_task_is_left() -> Iterator[None]:
    living = Living()
    trio.lowlevel.add_instrument(living)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(living)
    assert living.tasks == 0


async def never(message: PubsubMessage[bytes]) -> ValidationResult:
    await trio.sleep_forever()
    raise AssertionError


async def flood(topic: JoinedTopic[bytes], receipts: list[Receipt]) -> None:
    while True:
        receipts.append(await topic.publish(bytes(10_000)))
        await trio.sleep(0.001)  # nothing waits for a peer that stalled before, and virtual time stands while all work


@pytest.mark.parametrize("moment", [0.0, 0.05, 1.0, 4.9])
async def test_closing_everything_in_the_midst_of_it_leaves_nothing(autojump_clock: Clock, moment: float) -> None:
    """While messages are published, validated, waited for, and not read."""
    config = PubsubConfig(
        validation_concurrency=4, close_timeout=1, queues=QueueConfig(max_messages=50, stall_timeout=3)
    )
    receipts: list[Receipt] = []
    with no_task_is_left():
        async with open_nodes(3, config) as nodes, AsyncExitStack() as stack:
            hanging = [await stack.enter_async_context(node.pubsub.join("hang", validators=[])) for node in nodes]
            await stack.enter_async_context(nodes[0].pubsub.join("hang", validators=[never]))
            topics = [await stack.enter_async_context(node.pubsub.join("news", buffer=3)) for node in nodes]
            for topic in (*topics, *hanging):
                await topic.wait_peers(2)
            await topics[1].publish(b"first")
            await receive(topics[0])
            async with trio.open_nursery() as nursery:
                for topic in (*topics[1:], *hanging[1:]):
                    nursery.start_soon(flood, topic, receipts)
                await trio.sleep(moment)
                nursery.cancel_scope.cancel()
            for node in nodes:
                assert node.events.of(HandlerFailed) == []
    assert len(receipts) > 10 or not moment
    assert not any(receipt.queued for receipt in receipts)


async def test_a_host_that_vanishes_settles_every_receipt(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_nodes(1, network=network) as (alice,), alice.pubsub.join("news") as at_alice:
        async with open_host(transports=[MemoryTransport(network)]) as host, open_pubsub(host) as pubsub:
            await host.connect(*alice.host.addresses)
            async with pubsub.join("news", buffer=1) as topic:
                await at_alice.wait_peers()
                await at_alice.publish(b"first")
                await receive(topic)
                receipts = [await at_alice.publish(bytes(20_000)) for _ in range(200)]
                assert receipts[-1].queued
        with trio.fail_after(5):
            await receipts[-1].wait_sent()
        assert not any(receipt.queued for receipt in receipts)
        (delivery,) = receipts[-1].peers.values()
        assert delivery.state is DeliveryState.DROPPED
        assert delivery.reason
        assert alice.pubsub.statistics().peers == {}


async def test_closing_while_a_message_waits_for_its_turn_to_be_validated(autojump_clock: Clock) -> None:
    """No validator is asked before there is room for what it may start."""
    config = PubsubConfig(validation_concurrency=1, validation_timeout=1000)
    asked = 0

    def count(message: PubsubMessage[bytes]) -> Awaitable[ValidationResult]:
        nonlocal asked
        asked += 1
        return never(message)

    with no_task_is_left():
        async with open_nodes(2, config) as (alice, bob), alice.pubsub.join("news") as at_alice:
            async with bob.pubsub.join("news", validators=[count]):
                await at_alice.wait_peers()
                for number in range(10):
                    await at_alice.publish(b"%d" % number)
                await trio.sleep(1)
                assert asked == 1


async def test_validators_that_answer_at_once_are_asked_again_when_one_that_takes_long_is_done(
    autojump_clock: Clock,
) -> None:
    def choose(message: PubsubMessage[bytes]) -> ValidationResult | Awaitable[ValidationResult]:
        return never(message) if message.data.startswith(b"long") else ValidationResult.ACCEPT

    config = PubsubConfig(validation_concurrency=1, validation_timeout=2)
    async with open_nodes(2, config) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[choose]) as at_bob:
            await at_alice.wait_peers()
            for number in range(3):
                await at_alice.publish(b"long %d" % number)
                await at_alice.publish(b"%d" % number)
            assert [(await receive(at_bob)).data for _ in range(3)] == [b"0", b"1", b"2"]
            assert bob.pubsub._topics["news"].validation_slots.value == 1
