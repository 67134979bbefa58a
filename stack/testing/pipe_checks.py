"""The conformance suite for pipes: byte streams that also move bytes without waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
import trio.testing

from ..abc import Pipe
from .checks import (
    SETTLES,
    clog,
    close_overtakes_send,
    raising,
    receive_exactly,
    receive_until_end,
    require,
    run_checks,
)


@dataclass(frozen=True, slots=True)
class _Subject:
    make: Callable[[], Awaitable[tuple[Pipe, Pipe]]]
    settle: float

    @asynccontextmanager
    async def pipes(self) -> AsyncIterator[tuple[Pipe, Pipe]]:
        near, far = await self.make()
        async with near, far:
            yield near, far


async def check_pipe(make_pair: Callable[[], Awaitable[tuple[Pipe, Pipe]]], *, settle: float = 0.05) -> None:
    """Check what a `Pipe` promises beyond a trio stream. Raises `AssertionError`.

    `make_pair` returns two connected pipes; `settle` is how many seconds without progress make one count as clogged.
    """
    await run_checks(_CHECKS, _Subject(make_pair, settle), settle=settle)


async def _send_nowait(subject: _Subject) -> None:
    """send_nowait keeps no reference, returns 0 when nothing fits, and works again once the reader has read."""
    async with subject.pipes() as (near, far):
        data = bytearray(b"before")
        sent = near.send_nowait(data)
        require(sent > 0, "nothing fits into an idle pipe")
        data[:] = b"after!"
        got = await receive_exactly(far, sent)
        require(got == b"before"[:sent], f"the pipe refers to the caller's buffer: {got!r} came out")
        for _ in range(SETTLES):
            await clog(near, subject.settle)
            if near.send_nowait(b"x") == 0:
                break
            # A busy kernel makes room between the two sockets long after the last byte was taken: clog it again.
        else:
            raise AssertionError("a clogged pipe took a byte, again and again")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_for_ever, far)
            await near.wait_send_all_might_not_block()
            while not near.send_nowait(b"x"):
                await near.wait_send_all_might_not_block()
            nursery.cancel_scope.cancel()


async def _send_some(subject: _Subject) -> None:
    """send_some sends at least a byte, waits while nothing fits, and sends nothing when it is cancelled there."""
    async with subject.pipes() as (near, far):
        sent = await near.send_some(b"abc")
        require(1 <= sent <= 3, f"send_some sent {sent} of 3 bytes")
        sent += await clog(near, subject.settle)
        # Zeros again: a caller that was told to wait retries with the same bytes. Pipes may rely on it.
        with trio.move_on_after(subject.settle):
            sent += await near.send_some(b"\0")
        received = 0

        async def read() -> None:
            nonlocal received
            while piece := await far.receive_some():
                received += len(piece)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            sent += await near.send_some(b"\0")
            await near.send_eof()
        require(received == sent, f"{sent} bytes went, {received} came")


async def _receive_nowait(subject: _Subject) -> None:
    """receive_nowait raises WouldBlock while nothing came, fills the buffer with what came, and gives 0 at the end."""
    async with subject.pipes() as (near, far):
        buffer = bytearray(8)
        with raising("receive_nowait on an empty pipe", trio.WouldBlock):
            far.receive_nowait(memoryview(buffer))
        await near.send_all(b"abc")
        require(await _receive(far, buffer) == b"abc", "other bytes came out")
        await near.send_eof()
        require(await _receive(far, buffer) == b"", "bytes came out after the end")
        require(await _receive(far, buffer) == b"", "the end did not last")


async def _unread(subject: _Subject) -> None:
    """What was given back comes first, before the rest and before the end."""
    async with subject.pipes() as (near, far):
        await near.send_all(b"abcdef")
        require(await receive_exactly(far, 6) == b"abcdef", "other bytes came out")
        far.unread(b"def")
        far.unread(b"abc")
        await far.wait_receive_might_not_block()
        buffer = bytearray(2)
        require(far.receive_nowait(memoryview(buffer)) == 2, "receive_nowait did not fill the buffer")
        require(buffer == b"ab", f"receive_nowait gave {bytes(buffer)!r} first")
        await near.send_all(b"ghi")
        await near.send_eof()
        got = await far.receive_some(1) + await receive_exactly(far, 6)
        require(got == b"cdefghi", f"{got!r} came out")
        require(await far.receive_some() == b"", "the end is missing")
        far.unread(b"more")
        require(await receive_until_end(far) == b"more", "what was given back after the end is lost")


async def _closed(subject: _Subject) -> None:
    """After aclose everything raises ClosedResourceError."""
    async with subject.pipes() as (near, _):
        await near.aclose()
        with raising("send_nowait on a closed pipe", trio.ClosedResourceError):
            near.send_nowait(b"x")
        with raising("receive_nowait on a closed pipe", trio.ClosedResourceError):
            near.receive_nowait(memoryview(bytearray(1)))
        with raising("send_some on a closed pipe", trio.ClosedResourceError):
            await near.send_some(b"x")
        with raising("wait_receive_might_not_block on a closed pipe", trio.ClosedResourceError):
            await near.wait_receive_might_not_block()


async def _close_wakes(subject: _Subject) -> None:
    """Closing wakes tasks of ours that wait to send and to receive."""
    async with subject.pipes() as (near, _):
        await clog(near, subject.settle)

        async def send() -> None:
            with raising("send_some on a pipe that is closed meanwhile", trio.ClosedResourceError):
                await near.send_some(b"x")

        async def receive() -> None:
            with raising("wait_receive_might_not_block on a pipe closed meanwhile", trio.ClosedResourceError):
                await near.wait_receive_might_not_block()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await near.aclose()


async def _close_overtakes_send(subject: _Subject) -> None:
    """A send that our own close overtakes raises ClosedResourceError, or all of it arrives; so does a later one."""
    await close_overtakes_send(subject.pipes, subject.settle)


async def _broken(subject: _Subject) -> None:
    """When the other side is gone, send_nowait raises BrokenResourceError before long."""
    async with subject.pipes() as (near, far):
        await trio.aclose_forcefully(far)
        with raising("send_nowait to a side that is gone", trio.BrokenResourceError):
            while True:
                near.send_nowait(b"x")
                await trio.sleep(subject.settle)


async def _receive(pipe: Pipe, buffer: bytearray) -> bytes:
    """Wait, and receive without waiting, as often as it takes: "might not block" may be wrong."""
    while True:
        await pipe.wait_receive_might_not_block()
        try:
            return bytes(buffer[: pipe.receive_nowait(memoryview(buffer))])
        except trio.WouldBlock:
            continue


async def _read_for_ever(pipe: Pipe) -> None:
    while True:
        await pipe.receive_some()


_CHECKS = (_send_nowait, _send_some, _receive_nowait, _unread, _closed, _close_wakes, _close_overtakes_send, _broken)
