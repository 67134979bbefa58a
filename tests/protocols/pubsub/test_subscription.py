"""What a slow reader gets: waiting, dropping that is visible, or an error."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub.api.subscription import PubsubMessage, Subscription, SubscriptionOverflow, WhenFull


def message(number: int) -> PubsubMessage[bytes]:
    data = b"%d" % number
    return PubsubMessage("news", data, data, None, number, None, data)


def subscription(when_full: WhenFull, buffer: int = 3) -> Subscription[bytes]:
    return Subscription("news", buffer=buffer, when_full=when_full)


async def attend(reading: Subscription[bytes]) -> None:
    """Read one message, so that a reader has begun."""
    reading.put(message(0))
    assert (await reading.get()).seqno == 0


async def test_messages_come_in_order() -> None:
    reading = subscription(WhenFull.WAIT)
    for number in range(3):
        reading.put(message(number))
    assert [(await reading.get()).seqno for _ in range(3)] == [0, 1, 2]


async def test_a_reader_waits_for_the_next_message() -> None:
    reading = subscription(WhenFull.WAIT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attend, reading)


async def test_wait_asks_the_network_to_wait_and_loses_nothing() -> None:
    reading = subscription(WhenFull.WAIT)
    await attend(reading)
    for number in range(1, 6):
        reading.put(message(number))
    assert reading.full
    assert [(await reading.get()).seqno for _ in range(5)] == [1, 2, 3, 4, 5]
    assert not reading.full
    assert reading.missed == 0


async def test_a_reader_that_never_waits_can_be_cancelled_and_loses_nothing() -> None:
    reading = subscription(WhenFull.WAIT)
    await attend(reading)
    reading.put(message(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await reading.get()
    assert scope.cancelled_caught
    assert (await reading.get()).seqno == 1


async def test_a_reader_that_never_waits_lets_the_others_run() -> None:
    reading = subscription(WhenFull.WAIT)
    await attend(reading)
    ran = trio.Event()

    async def another() -> None:
        ran.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(another)
        for number in range(1, 100):
            reading.put(message(number))
            await reading.get()
        assert ran.is_set()


async def test_a_waiting_producer_goes_on_when_messages_are_read() -> None:
    reading = subscription(WhenFull.WAIT)
    await attend(reading)
    for number in range(1, 5):
        reading.put(message(number))
    went_on = []

    async def bring() -> None:
        await reading.wait_space()
        went_on.append(len(reading))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bring)
        await trio.testing.wait_all_tasks_blocked()
        await reading.get()
        await trio.testing.wait_all_tasks_blocked()
        assert went_on == []
        await reading.get()
    assert went_on == [2]


async def test_a_topic_that_is_not_read_holds_up_no_peer() -> None:
    reading = subscription(WhenFull.WAIT)
    for number in range(10):
        reading.put(message(number))
        assert not reading.full
    first = await reading.get()
    assert (first.seqno, first.missed) == (7, 7)


async def test_drop_oldest_counts_and_the_next_message_tells() -> None:
    reading = subscription(WhenFull.DROP_OLDEST)
    await attend(reading)
    for number in range(1, 6):
        reading.put(message(number))
    got = [await reading.get() for _ in range(3)]
    assert [(one.seqno, one.missed) for one in got] == [(3, 2), (4, 0), (5, 0)]
    assert reading.missed == 2


async def test_raise_gives_what_was_buffered_and_then_the_error() -> None:
    reading = subscription(WhenFull.RAISE)
    for number in range(5):
        reading.put(message(number))
    assert [(await reading.get()).seqno for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SubscriptionOverflow, match="'news' lagged more than 3 messages behind"):
        await reading.get()


async def test_a_closed_subscription_ends_after_what_is_buffered() -> None:
    reading = subscription(WhenFull.WAIT)
    reading.put(message(1))
    reading.close()
    reading.put(message(2))
    assert (await reading.get()).seqno == 1
    with pytest.raises(trio.EndOfChannel):
        await reading.get()


async def test_closing_wakes_tasks_that_wait_for_space() -> None:
    reading = subscription(WhenFull.WAIT, buffer=1)
    await attend(reading)
    reading.put(message(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading.wait_space)
        await trio.testing.wait_all_tasks_blocked()
        reading.close()


async def test_two_readers_of_one_subscription_are_refused() -> None:
    reading = subscription(WhenFull.WAIT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reading.get)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await reading.get()
        reading.put(message(1))


def test_a_buffer_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        subscription(WhenFull.WAIT, buffer=0)
