"""Small trio building blocks: hidden nurseries, a one-task waiter, and a guard against misuse by two tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

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

    Cheaper than `trio.Event`, which matters where every message wakes a task. Whoever waits must look at its
    condition again afterwards.
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


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """Open a nursery that users do not see: what their block raises leaves as itself, not inside a group.

    When the block ends, the nursery is cancelled. A task in it that crashes is a bug, and leaves as a group.
    """
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
    except BaseExceptionGroup as crash:
        if failure is None:
            raise
        raise failure from crash
    if failure is not None:
        raise failure


def _split(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """Part what is cancellation from what is not; a nursery in the block makes groups of both."""
    if isinstance(error, BaseExceptionGroup) and error.subgroup(trio.Cancelled) is not None:
        return error.split(trio.Cancelled)
    return (error, None) if isinstance(error, trio.Cancelled) else (None, error)
