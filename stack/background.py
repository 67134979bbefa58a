"""Small trio building blocks: fault containment, hidden nurseries, a one-task waiter, a guard, shared checkpoints."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio


class Guard:
    """Turn "two tasks at once" into `trio.BusyResourceError` instead of corruption; used as a context manager."""

    __slots__ = ("_held", "_message")

    def __init__(self, message: str) -> None:
        self._message = message
        self._held = False

    @property
    def held(self) -> bool:
        """Whether a task is inside."""
        return self._held

    def __enter__(self) -> None:
        if self._held:
            raise trio.BusyResourceError(self._message)
        self._held = True

    def __exit__(self, *args: object) -> None:
        self._held = False


class Waiter:
    """Lets at most one task wait until another calls `wake`.

    Cheaper than `trio.Event`, which matters where every message wakes a task. The waiting task must check
    its condition again afterwards.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Wait for the next `wake`. One task at a time."""
        if self._task is not None:
            raise trio.BusyResourceError("another task is already waiting")
        self._task = trio.lowlevel.current_task()

        def abort(_: Callable[[], Any]) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Let the waiting task run, if there is one."""
        task = self._task
        if task is not None:
            self._task = None
            trio.lowlevel.reschedule(task)


class SharedWait:
    """Lets many tasks share a question that costs a round trip: one is under way at a time.

    Calling it returns after a whole run of `question` that began after the call, and raises what that raised. It runs
    in one of the tasks that wait; if that is cancelled, in the next.
    """

    __slots__ = ("_begun", "_finished", "_question", "_running", "_waiting")

    def __init__(self, question: Callable[[], Awaitable[None]]) -> None:
        self._question = question
        self._running = False
        self._begun = self._finished = 0
        """Counted from 1: the newest run that began, and the newest that ended well."""
        self._waiting = trio.lowlevel.ParkingLot()

    async def __call__(self) -> None:
        """Wait for the outcome of a run that begins from now on."""
        wanted = self._begun + 1
        while self._finished < wanted:
            if self._running:
                await self._waiting.park()
            else:
                await self._run()

    async def _run(self) -> None:
        self._running = True
        self._begun += 1
        try:
            await self._question()
            self._finished = self._begun
        finally:
            self._running = False
            self._waiting.unpark_all()


WORK_PER_CHECKPOINT: Final = 32 * 1024
"""Work between two checkpoints, in bytes: half a millisecond of signing and sending."""
WORK_PER_ITEM: Final = 2 * 1024
"""Work that an item is besides its bytes."""


class SharedCheckpoint:
    """Yields to other tasks now and then in a loop: many items share one pass through the scheduler (3 to 5 µs)."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = WORK_PER_CHECKPOINT

    async def count(self, size: int) -> None:
        """Count an item of `size` bytes, and yield if enough was done since the last time; never cancelled."""
        self._left -= WORK_PER_ITEM + size
        if self._left <= 0:
            self._left = WORK_PER_CHECKPOINT
            await trio.lowlevel.cancel_shielded_checkpoint()


class contained:
    """Contain what one piece of work for a peer or a plug-in raises: `failed` gets it, and nothing else ends.

    This is the only supervisor: each handler, validator, hook, dial and connection runs inside one, as
    `with contained(self._failed): await handler(stream)`. What leaves the block is

    - a cancellation, as itself, while the task is being cancelled, also out of a group in which exceptions are mixed
      with it, such as a nursery of the work's own raises when its clean-up fails. `failed` gets the exceptions;
    - KeyboardInterrupt or SystemExit, as itself, out of any group;
    - GeneratorExit, as itself, while the interpreter throws the task away;
    - what `failed` raises, for the tests that want to see it.

    Everything else is an `Exception` or an `ExceptionGroup` that `failed` gets. What is no `Exception` is reported as a
    `RuntimeError` with it as the cause: a cancellation that nothing asked for (a `trio.Cancelled` kept from another
    task), a GeneratorExit or a `BaseException` of the work's own.
    """

    __slots__ = ("_failed", "_task")

    def __init__(self, failed: Callable[[Exception], object]) -> None:
        self._failed = failed

    def __enter__(self) -> None:
        self._task = _current_task()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        if error is None:
            return False
        leaving, failure = _sort(error, thrown_away=_current_task() is not self._task)
        if failure is not None:
            self._failed(failure)
        if leaving is error:
            return False
        if leaving is not None:
            raise leaving from None
        return True


def failure_of(error: BaseException) -> Exception | None:
    """Return what `contained` would report of this, or None if it is only a cancellation or an exit."""
    return _sort(error, thrown_away=False)[1]


def _only_exceptions(error: BaseException) -> Exception | None:
    """Return the exceptions of a group without cancellations and exits, a single one as itself, or None."""
    if isinstance(error, Exception):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    rest = error.subgroup(lambda leaf: isinstance(leaf, Exception) and not isinstance(leaf, BaseExceptionGroup))
    while isinstance(rest, BaseExceptionGroup) and len(rest.exceptions) == 1:
        rest = rest.exceptions[0]
    return rest if isinstance(rest, Exception) else None


def _sort(error: BaseException, *, thrown_away: bool) -> tuple[BaseException | None, Exception | None]:
    """Return what must leave a contained block, and what is reported instead."""
    if isinstance(error, Exception):
        return None, error
    leaving, ending, failure = _interrupt(error), None, _only_exceptions(error)
    for leaf in _leaves(error):
        if isinstance(leaf, (Exception, KeyboardInterrupt, SystemExit)):
            continue
        if thrown_away or (isinstance(leaf, trio.Cancelled) and _being_cancelled()):
            ending = ending or leaf
            continue
        what = "a cancellation that nothing asked for" if isinstance(leaf, trio.Cancelled) else type(leaf).__name__
        failure = RuntimeError(f"the work ended with {what}: {leaf}")
        failure.__cause__ = error
    return leaving or ending, failure


def _being_cancelled() -> bool:
    return trio.lowlevel.in_trio_task() and trio.current_effective_deadline() == -math.inf


def _current_task() -> trio.lowlevel.Task | None:
    try:
        return trio.lowlevel.current_task()
    except RuntimeError:
        return None  # outside of trio


def _interrupt(error: BaseException) -> BaseException | None:
    """Return the KeyboardInterrupt or SystemExit that `error` is, or that is in it."""
    return next((leaf for leaf in _leaves(error) if isinstance(leaf, (KeyboardInterrupt, SystemExit))), None)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def require_trio(what: str) -> None:
    """Raise RuntimeError, with what to do, unless trio runs this task; `what` was called."""
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            f"{what} works in tasks of trio, and this is none (asyncio?): start with trio.run(main), in a cell of a "
            "notebook, too, and there without await; with anyio it is anyio.run(main, backend='trio')"
        )


async def close_at_once(resource: trio.abc.AsyncResource) -> None:
    """Close a resource without waiting, for clean-up: a cancellation must not take the place of what was raised."""
    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(resource)


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that users do not see: what their block raises leaves as itself, not inside a group.

    When the block ends, the nursery is cancelled. A task in it that crashes is a bug, and leaves as a group. A
    KeyboardInterrupt or SystemExit leaves as itself, wherever it was raised: a program that catches it must get it.
    """
    require_trio("peerstack")
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except BaseException as error:
                # A cancellation may come from this very nursery, when a background task crashed: let it pass.
                cancelled, failure = _split(error)
                if failure is None:
                    raise
                if cancelled is not None:
                    raise cancelled from None
            nursery.cancel_scope.cancel()
    except BaseException as crash:
        interrupt = _interrupt(crash)
        if interrupt is crash:
            raise
        if interrupt is not None:
            raise interrupt from _only_exceptions(crash)
        if failure is None:
            raise
        raise failure from crash
    if failure is not None:
        raise failure


def _split(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Part what is cancellation from what is not; a nursery in the block makes groups of both."""
    if not isinstance(error, BaseExceptionGroup):
        return (error, None) if isinstance(error, trio.Cancelled) else (None, error)
    cancelled, rest = error.split(trio.Cancelled)
    interrupt = _interrupt(error)
    if interrupt is not None:
        interrupt.__cause__ = _only_exceptions(error)
        return cancelled, interrupt
    return (cancelled, rest) if cancelled is not None else (None, error)
