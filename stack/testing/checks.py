"""What the conformance suites share: run checks, report what failed, clog streams, cancel step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from itertools import count
from random import Random
from typing import Final, Generic, Self, TypeVar

import trio

from ..abc import Pipe

PATIENCE: Final = 60.0
"""Seconds on trio's clock after which a check counts as hung; under a jumping `MockClock` that is at once."""

SETTLES: Final = 1000
"""How many times a check may wait for a stream to settle."""

MOST_BUFFERED: Final = 64 * 1024 * 1024
"""Bytes that a stream may take without a reader before it counts as without back-pressure."""

_ZEROS: Final = bytes(16 * 1024)
_PIECES: Final = (_ZEROS, bytes(512), bytes(16), bytes(1))

CLOGGED_AT_ONCE: Final = 8
"""As many as trio's suite for one direction and `send_eof` need."""

SubjectT = TypeVar("SubjectT")
PairT = TypeVar("PairT", bound="tuple[trio.abc.AsyncResource, trio.abc.AsyncResource]")


async def run_checks(
    checks: Sequence[Callable[[SubjectT], Awaitable[None]]], subject: SubjectT, *, settle: float = 0.0
) -> None:
    """Run each check on the subject; an error names the check by its docstring."""
    for check in checks:
        with named(check.__doc__ or check.__name__, PATIENCE + SETTLES * settle):
            await check(subject)


@contextmanager
def named(what: str, patience: float) -> Iterator[None]:
    """Add what was being checked to any error, take an assertion out of its groups, and end what hangs."""
    note = f"while checking: {what}"
    try:
        with trio.fail_after(patience):
            yield
    except trio.TooSlowError as error:
        raise AssertionError(f"{note}: it hangs") from error
    except BaseExceptionGroup as group:
        group.add_note(note)
        assertion = _first_assertion(group)
        if assertion is None:
            raise
        raise AssertionError(f"{note}: {assertion}") from group
    except BaseException as error:
        error.add_note(note)
        raise


def require(condition: object, message: str) -> None:
    """Raise `AssertionError` with the message unless the condition holds; unlike `assert` it is never left out."""
    if not condition:
        raise AssertionError(message)


@contextmanager
def raising(what: str, *kinds: type[BaseException]) -> Iterator[None]:
    """Require that the block raises one of the kinds."""
    try:
        yield
    except kinds:
        return
    raise AssertionError(f"{what} must raise {' or '.join(kind.__name__ for kind in kinds)}, but it raised nothing")


def some_bytes(size: int, seed: int = 0) -> bytes:
    """Return bytes without a pattern, the same for the same seed."""
    return Random(seed).randbytes(size)


async def receive_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    """Receive `size` bytes. Raises `AssertionError` when the stream ends before."""
    data = bytearray()
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        require(piece, f"the stream ended after {len(data)} of {size} bytes")
        data += piece
    return bytes(data)


async def transfer(sender: trio.abc.SendStream, receiver: trio.abc.ReceiveStream, data: bytes) -> None:
    """Send the data and receive it at the same time. Raises `AssertionError` when it comes out changed."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send_all, data)
        got = await receive_exactly(receiver, len(data))
    require(got == data, f"{len(data)} bytes came out changed")


async def receive_until_end(stream: trio.abc.ReceiveStream) -> bytes:
    """Receive until the end of the stream."""
    data = bytearray()
    while piece := await stream.receive_some():
        data += piece
    return bytes(data)


async def send_overtaken(
    stream: trio.abc.SendStream, data: bytes, steps: int, end: Callable[[], Awaitable[object]]
) -> bool:
    """Send while another task ends the stream some steps later; return whether `send_all` said that it took all."""
    took = False

    async def send() -> None:
        nonlocal took
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(data)
            took = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        await end()
    return took


async def close_overtakes_send(
    pairs: Callable[[], AbstractAsyncContextManager[tuple[trio.abc.Stream, trio.abc.Stream]]], settle: float
) -> None:
    """Check that a stream never says that it took what it drops since our own side has closed it."""
    data = some_bytes(1000)
    for steps in range(6):
        async with pairs() as (near, far):
            took = await send_overtaken(near, data, steps, near.aclose)
            got = await receive_what_comes(far)
            require(not took or got == data, f"send_all took {len(data)} bytes, and {len(got)} arrived")
    async with pairs() as (near, far), trio.open_nursery() as nursery:
        for _ in range(2):

            async def send() -> None:
                with raising("send_all on a stream that this side has closed", trio.ClosedResourceError):
                    while True:
                        await near.send_all(bytes(MOST_BUFFERED))

            nursery.start_soon(send)
            await trio.sleep(settle)  # on the clock of the run: simulated networks have long ones
            await near.aclose()


async def receive_what_comes(stream: trio.abc.ReceiveStream) -> bytes:
    """Receive until the stream ends, or breaks."""
    data = bytearray()
    with suppress(trio.BrokenResourceError):
        while piece := await stream.receive_some():
            data += piece
    return bytes(data)


async def clog(stream: trio.abc.SendStream, settle: float) -> int:
    """Send zeros until the stream takes no more for three times `settle` seconds; return how many went."""
    sent, quiet = 0, 0
    while quiet < 3:
        went = await (_push_pipe(stream, settle) if isinstance(stream, Pipe) else _push(stream, settle))
        quiet = 0 if went else quiet + 1
        sent += went
        require(sent <= MOST_BUFFERED, f"the stream took {sent} bytes that were not read: there is no back-pressure")
    return sent


class Clogged(Generic[PairT]):
    """Makes pairs of streams of which one or both are clogged, some at once: all share the time that settling takes.

    It is a context manager, which closes what was not used.
    """

    def __init__(self, make: Callable[[], Awaitable[PairT]], clog: Callable[[PairT], Awaitable[object]]) -> None:
        self._make = make
        self._clog = clog
        self._ready: list[PairT] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for pair in self._ready:
            for stream in pair:
                await trio.aclose_forcefully(stream)

    async def __call__(self) -> PairT:
        """Return a pair that was not used yet."""
        if not self._ready:
            self._ready = [await self._make() for _ in range(CLOGGED_AT_ONCE)]
            async with trio.open_nursery() as nursery:
                for pair in self._ready:
                    nursery.start_soon(self._clog, pair)
        return self._ready.pop()


async def cancel_at_each_step(operation: Callable[[], Awaitable[None]], after: Callable[[], Awaitable[None]]) -> int:
    """Run the operation, cancelled one scheduling step later each time, until it completes; return the steps it took.

    `after` runs after each attempt, to see that nothing is broken or left behind.
    """
    for step in count():
        with trio.CancelScope() as scope:
            instrument = _CancelAtStep(trio.lowlevel.current_task(), scope, step)
            trio.lowlevel.add_instrument(instrument)
            try:
                await operation()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        await after()
        if not scope.cancelled_caught:
            return step
    raise AssertionError("unreachable")


class _CancelAtStep(trio.abc.Instrument):
    """Cancels a scope just before one task's n-th step."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, step: int) -> None:
        self._task = task
        self._scope = scope
        self._left = step
        if step == 0:
            scope.cancel()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel()


async def _push_pipe(pipe: Pipe, settle: float) -> int:
    went = 0
    # Some kernels refuse a large piece while they have room for a small one.
    for piece in _PIECES:
        while went <= MOST_BUFFERED and (sent := pipe.send_nowait(piece)):
            went += sent
    with trio.move_on_after(settle):
        went += await pipe.send_some(b"\0")
    return went


async def _push(stream: trio.abc.SendStream, settle: float) -> int:
    went = 0
    with trio.move_on_after(settle):
        await stream.wait_send_all_might_not_block()
        # How much of it goes before the deadline cannot be told; that something may have gone is enough.
        went = 1
        await stream.send_all(_ZEROS)
        return len(_ZEROS)
    return went


def _first_assertion(group: BaseExceptionGroup[BaseException]) -> AssertionError | None:
    for error in group.exceptions:
        found = _first_assertion(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, AssertionError):
            return found
    return None
