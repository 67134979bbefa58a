"""Guards, waiters and hidden nurseries: what they let through, and what leaves them."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from peerstack.stack.background import Guard, Waiter, open_background


async def test_a_guard_admits_one_at_a_time_and_opens_again() -> None:
    guard = Guard("one at a time")
    for _ in range(2):
        with guard:
            with pytest.raises(trio.BusyResourceError, match="one at a time"), guard:
                pass
            with pytest.raises(trio.BusyResourceError), guard:
                pass
    with pytest.raises(KeyError), guard:
        raise KeyError
    with guard:
        pass


# ---- waiters


async def test_a_waiter_is_woken_once_for_each_wait() -> None:
    waiter = Waiter()
    woken = 0

    async def wait() -> None:
        nonlocal woken
        while True:
            await waiter.wait()
            woken += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for number in range(1, 4):
            await trio.testing.wait_all_tasks_blocked()
            waiter.wake()
            waiter.wake()
            await trio.testing.wait_all_tasks_blocked()
            assert woken == number
        nursery.cancel_scope.cancel()


async def test_waking_nobody_is_forgotten() -> None:
    waiter = Waiter()
    waiter.wake()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiter.wait)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_two_can_not_wait() -> None:
    waiter = Waiter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter.wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await waiter.wait()
        waiter.wake()


async def test_one_who_was_cancelled_is_not_woken_and_another_may_wait() -> None:
    waiter = Waiter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter.wait)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    waiter.wake()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waiter.wait)
        await trio.testing.wait_all_tasks_blocked()
        waiter.wake()


# ---- hidden nurseries


async def test_the_nursery_is_cancelled_when_the_block_ends() -> None:
    cancelled = False

    async def background() -> None:
        nonlocal cancelled
        try:
            await trio.sleep_forever()
        finally:
            cancelled = True

    async with open_background() as nursery:
        nursery.start_soon(background)
        await trio.testing.wait_all_tasks_blocked()
    assert cancelled


async def crash() -> None:
    raise RuntimeError("a bug")


async def crash_when_cancelled() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise RuntimeError("a bug")


async def block(error: BaseException | None, background: Callable[[], Awaitable[object]]) -> None:
    """Run a block that raises the error, or waits for ever if there is none."""
    async with open_background() as nursery:
        nursery.start_soon(background)
        if error is None:
            await trio.sleep_forever()
        await trio.testing.wait_all_tasks_blocked()
        raise error or AssertionError("the block went on after a crash")


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt(), ExceptionGroup("group", [ValueError()])])
async def test_what_the_block_raises_leaves_as_itself(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        await block(error, trio.sleep_forever)
    assert caught.value is error


async def test_a_crash_in_the_background_ends_the_block_and_leaves_as_a_group() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await block(None, crash)
    assert [type(error) for error in caught.value.exceptions] == [RuntimeError]


async def test_what_the_block_raises_comes_before_a_crash_and_keeps_it_as_its_cause() -> None:
    with pytest.raises(KeyError) as caught:
        await block(KeyError("x"), crash_when_cancelled)
    assert isinstance(caught.value.__cause__, BaseExceptionGroup)


async def test_cancelling_from_outside_passes_through() -> None:
    with trio.CancelScope() as scope:
        async with open_background() as nursery:
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
