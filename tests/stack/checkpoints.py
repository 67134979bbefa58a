"""Work that ends at a checkpoint of its own: a test runs its scenario once for each, until there is none left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator
from types import coroutine
from typing import Any, TypeVar

import trio

T = TypeVar("T")


class ByTheUser(BaseException):
    """What is no Exception."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("a bug"),
    "OSError": lambda: OSError(24, "Too many open files"),
    "groups": lambda: BaseExceptionGroup("a", [BaseExceptionGroup("b", [ByTheUser("a bug"), ValueError("another")])]),
}
INTERRUPTS: dict[str, Callable[[], BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(3),
    "group": lambda: BaseExceptionGroup("a", [ExceptionGroup("b", [ValueError("a bug")]), KeyboardInterrupt()]),
}


class Strike:
    """Ends the first work it is given at its checkpoint number `at`, by what `error` makes.

    The wait at that checkpoint is cancelled, as trio does it, and the work raises the error instead.
    """

    def __init__(self, at: int, error: Callable[[], BaseException]) -> None:
        self.at = at
        self.struck = False
        """Whether there was such a checkpoint."""
        self.raised = False
        """Whether the error was raised: a checkpoint may be shielded, and no other follow."""
        self._error = error
        self._taken = False

    async def __call__(self, work: Awaitable[T]) -> T:
        """Do the work."""
        if self._taken:
            return await work
        self._taken = True
        with trio.CancelScope() as scope:
            return await self._counted(work, scope)
        self.raised = True
        raise self._error()

    @coroutine
    def _counted(self, work: Awaitable[T], scope: trio.CancelScope) -> Generator[Any, Any, T]:
        running = work.__await__()
        step: Callable[[], Any] = lambda: next(running)  # noqa: E731
        for number in self._numbers():
            try:
                trap = step()
            except StopIteration as ended:
                result: T = ended.value
                return result
            if number == self.at:
                self.struck = True
                scope.cancel()
            try:
                value = yield trap
            except BaseException as error:  # noqa: BLE001 - it is the work that gets it
                step = _throwing(running, error)
            else:
                step = _sending(running, value)
        raise AssertionError

    @staticmethod
    def _numbers() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1


def _throwing(running: Any, error: BaseException) -> Callable[[], Any]:
    return lambda: running.throw(error)


def _sending(running: Any, value: Any) -> Callable[[], Any]:
    return lambda: running.send(value)
