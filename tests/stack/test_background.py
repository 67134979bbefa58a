"""Guards, waiters and hidden nurseries: what they let through, and what leaves them."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from peerstack.stack.background import Guard, SharedWait, Waiter, contained, open_background

Clock = trio.testing.MockClock


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


# ---- shared waits


class Question:
    """Takes a second, and counts; raises after that if it should."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked = self.at_once = self.most_at_once = 0
        self.error = error

    async def __call__(self) -> None:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await trio.sleep(1)
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error


async def test_one_question_answers_all_who_asked_before_it_began(autojump_clock: Clock) -> None:
    question = Question()
    wait = SharedWait(question)
    ended: list[float] = []
    began = trio.current_time()

    async def ask(after: float) -> None:
        await trio.sleep(after)
        await wait()
        ended.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(ask, 0.5 * bool(number))
    assert ended == pytest.approx([1.0] + [2.0] * 99)  # those that came while it was under way need another
    assert (question.asked, question.most_at_once) == (2, 1)


async def test_when_the_task_that_asks_is_cancelled_another_asks(autojump_clock: Clock) -> None:
    question = Question()
    wait = SharedWait(question)
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            nursery.start_soon(wait)
            await wait()
    assert (question.asked, question.most_at_once) == (2, 1)


async def test_all_who_wait_hear_what_the_question_raises(autojump_clock: Clock) -> None:
    wait = SharedWait(Question(KeyError("gone")))
    raised: list[KeyError] = []

    async def ask() -> None:
        try:
            await wait()
        except KeyError as error:
            raised.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
    assert len(raised) == 3


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


async def test_a_wake_without_a_waiting_task_is_forgotten() -> None:
    waiter = Waiter()
    waiter.wake()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiter.wait)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


async def test_two_cannot_wait() -> None:
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


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("crash_with", [[], [OSError("a bug, too")]], ids=["alone", "beside a bug"])
@pytest.mark.parametrize("failure", [None, KeyError("x")], ids=["the block waits", "the block fails"])
async def test_an_interrupt_in_the_background_leaves_as_itself(
    interrupt: BaseException, crash_with: list[Exception], failure: Exception | None
) -> None:
    async def interrupted() -> None:
        try:
            await trio.sleep_forever() if failure else None
        finally:
            raise _group(interrupt, *crash_with) if crash_with else interrupt

    with pytest.raises(type(interrupt)) as caught:
        await block(failure, interrupted)
    assert caught.value is interrupt


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(3)])
async def test_an_interrupt_in_a_nursery_of_the_block_leaves_as_itself(interrupt: BaseException) -> None:
    async def interrupted() -> None:
        raise interrupt

    async def open_and_wait() -> None:
        async with open_background() as nursery, trio.open_nursery() as users:
            nursery.start_soon(crash_when_cancelled)
            users.start_soon(trio.sleep_forever)
            users.start_soon(interrupted)

    with pytest.raises(type(interrupt)) as caught:
        await open_and_wait()
    assert caught.value is interrupt


async def test_a_failure_beside_a_cancellation_is_not_lost() -> None:
    async def fail(scope: trio.CancelScope) -> None:
        async with open_background(), trio.open_nursery() as users:
            users.start_soon(trio.sleep_forever)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            raise KeyError("x")

    with trio.CancelScope() as scope, pytest.raises(ExceptionGroup) as caught:
        await fail(scope)
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


# ---- containment


class ByTheUser(BaseException):
    """What no supervisor knows of."""


def _group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("mixed", errors)


@pytest.mark.parametrize("error", [ValueError("a"), OSError("b"), ExceptionGroup("c", [ValueError(), OSError()])])
async def test_what_a_contained_block_raises_is_told_and_ends_nothing(error: Exception) -> None:
    told: list[Exception] = []
    with contained(told.append):
        raise error
    assert told == [error]


async def test_a_contained_block_that_raises_nothing_tells_nothing() -> None:
    told: list[Exception] = []
    with contained(told.append):
        await trio.lowlevel.checkpoint()
    assert told == []


async def test_a_cancelled_block_whose_clean_up_fails_is_cancelled_and_the_failure_told() -> None:
    told: list[Exception] = []

    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("bye failed")

    with trio.CancelScope() as scope:
        with contained(told.append):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(fail_when_cancelled)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        pytest.fail("the cancellation was swallowed")
    assert scope.cancelled_caught
    (failure,) = told
    assert isinstance(failure, OSError)


async def test_a_cancellation_that_is_another_task_s_is_told_and_does_not_spread() -> None:
    kept: list[trio.Cancelled] = []
    told: list[Exception] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise
    with contained(told.append):
        raise _group(kept[0], ValueError("with it"))
    (failure,) = told
    assert isinstance(failure, RuntimeError)
    assert isinstance(failure.__cause__, BaseExceptionGroup)


@pytest.mark.parametrize("leaving", [KeyboardInterrupt(), SystemExit(3)])
async def test_an_interrupt_leaves_as_itself_out_of_any_group(leaving: BaseException) -> None:
    told: list[Exception] = []
    with pytest.raises(type(leaving)) as caught, contained(told.append):
        raise _group(_group(leaving, ValueError("told")), OSError("told, too"))
    assert caught.value is leaving
    assert [type(error) for error in told] == [ExceptionGroup]


@pytest.mark.parametrize("kind", [ByTheUser, GeneratorExit])
@pytest.mark.parametrize("grouped", [False, True])
async def test_what_is_no_exception_is_told_as_one(kind: type[BaseException], grouped: bool) -> None:
    told: list[Exception] = []
    error = _group(kind("x"), _group(OSError())) if grouped else kind("x")
    with contained(told.append):
        raise error
    (failure,) = told
    assert isinstance(failure, RuntimeError)
    assert kind.__name__ in str(failure)
    assert failure.__cause__ is error


async def test_a_block_whose_task_is_thrown_away_goes_quietly() -> None:
    told: list[Exception] = []

    async def work() -> None:
        with contained(told.append):
            await trio.sleep_forever()
        pytest.fail("it went on")

    coroutine = work()
    await trio.to_thread.run_sync(lambda: coroutine.send(None))
    coroutine.close()
    assert told == []


async def test_what_is_told_may_raise() -> None:
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(KeyError), contained(fail):
        raise KeyError
