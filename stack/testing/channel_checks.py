"""The conformance suite for channels: what muxers run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
import trio.testing

from ..abc import Buffer, Channel
from .checks import MOST_BUFFERED, close_overtakes_send, raising, require, run_checks, some_bytes

SIZES = (0, 1, 2, 15, 16, 17, 1000, 16_384, 65_518, 65_519, 65_520, 65_535, 65_536, 131_038, 200_000)
"""Round the edges of what one frame of Noise or one record of TLS holds."""


@dataclass(frozen=True, slots=True)
class _Subject:
    make: Callable[[], Awaitable[tuple[Channel, Channel]]]
    settle: float

    @asynccontextmanager
    async def channels(self) -> AsyncIterator[tuple[Channel, Channel]]:
        near, far = await self.make()
        async with near, far:
            yield near, far


async def check_channel(make_pair: Callable[[], Awaitable[tuple[Channel, Channel]]], *, settle: float = 0.05) -> None:
    """Check what a `Channel` promises. Raises `AssertionError`.

    `make_pair` returns two connected channels; `settle` is how many seconds a flush that cannot go on is given.
    """
    await run_checks(_CHECKS, _Subject(make_pair, settle), settle=settle)


async def _sizes(subject: _Subject) -> None:
    """Writes of all sizes come out as they went in, both ways."""
    async with subject.channels() as (near, far):
        for size in SIZES:
            await _carry(near, far, [some_bytes(size, seed=size)])
            await _carry(far, near, [some_bytes(size, seed=size + 1)])


async def _runs(subject: _Subject) -> None:
    """The buffers of one write are one run of bytes, of any kind, and are not referred to afterwards."""
    async with subject.channels() as (near, far):
        whole = some_bytes(300_000)
        view = memoryview(whole)
        await _carry(near, far, [view[:10], bytearray(view[10:90_000]), bytes(view[90_000:90_001]), view[90_001:], b""])
        data = bytearray(b"before" * 5000)
        near.write([data, memoryview(data)])
        expected = bytes(data) * 2
        data[:] = b"after!" * 5000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.flush)
            require(await _read(far, len(expected)) == expected, "the channel referred to a caller's buffer")


async def _flushing(subject: _Subject) -> None:
    """`queued` tells what waits; flush_nowait moves a little at once; flush empties the queue."""
    async with subject.channels() as (near, far):
        require(near.queued == 0, "a new channel has bytes queued")
        near.write([b"x" * 100])
        require(near.queued >= 100, f"100 bytes were written, but {near.queued} are queued")
        await near.flush()
        require(near.queued == 0, f"{near.queued} bytes are queued after a flush")
        require(await _read(far, 100) == b"x" * 100, "other bytes came out")
        near.flush_nowait()


async def _cancelled_flush(subject: _Subject) -> None:
    """A flush that is cancelled loses nothing: the next one goes on where it stopped."""
    async with subject.channels() as (near, far):
        written = 0
        while not near.queued:
            require(written < MOST_BUFFERED, "the pipe below takes everything: there is no back-pressure")
            near.write([some_bytes(100_000)])
            written += 100_000
            with trio.move_on_after(subject.settle):
                await near.flush()
        near.write([b"end"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.flush)
            got = await _read(far, written + 3)
        require(got == some_bytes(100_000) * (written // 100_000) + b"end", "bytes came out changed")


async def _two_flushes(subject: _Subject) -> None:
    """A second flush while another waits raises BusyResourceError."""
    async with subject.channels() as (near, _), trio.open_nursery() as nursery:
        near.write([bytes(MOST_BUFFERED)])
        nursery.start_soon(near.flush)
        await trio.testing.wait_all_tasks_blocked(subject.settle)
        with raising("a second flush", trio.BusyResourceError):
            await near.flush()
        nursery.cancel_scope.cancel()


async def _unread(subject: _Subject) -> None:
    """What was given back comes first, before the rest and before the end."""
    async with subject.channels() as (near, far):
        await near.send_all(b"abcdef")
        require(await _read(far, 6) == b"abcdef", "other bytes came out")
        far.unread(b"def")
        far.unread(b"abc")
        require(await far.receive_some(2) == b"ab", "receive_some did not give back what was unread")
        await near.send_all(b"ghi")
        require(await _read(far, 7) == b"cdefghi", "what was given back is lost")
        await near.aclose()
        require(await far.read() == [], "the end is not an empty list")


async def _ends(subject: _Subject) -> None:
    """After an end of the other side, reading gives the end and writing breaks before long."""
    async with subject.channels() as (near, far):
        await near.aclose()
        require(await far.read() == [], "the end is not an empty list")
        with raising("flushing to a side that is gone", trio.BrokenResourceError):
            while True:
                far.write([b"x"])
                await far.flush()
                await trio.sleep(subject.settle)


async def _close_wakes(subject: _Subject) -> None:
    """Closing wakes our own task that reads."""
    async with subject.channels() as (near, _), trio.open_nursery() as nursery:

        async def expect_closed() -> None:
            with raising("read on a channel that is closed meanwhile", trio.ClosedResourceError):
                await near.read()

        nursery.start_soon(expect_closed)
        await trio.testing.wait_all_tasks_blocked()
        await near.aclose()


async def _close_overtakes_send(subject: _Subject) -> None:
    """A send that our own close overtakes raises ClosedResourceError, or all of it arrives; so does a later one."""
    await close_overtakes_send(subject.channels, subject.settle)


async def _trio_suite(subject: _Subject) -> None:
    """Channels pass trio's own suite for streams."""
    await trio.testing.check_two_way_stream(subject.make, None)


async def _carry(sender: Channel, receiver: Channel, buffers: list[Buffer]) -> None:
    expected = b"".join(buffers)
    async with trio.open_nursery() as nursery:
        sender.write(buffers)
        nursery.start_soon(sender.flush)
        require(await _read(receiver, len(expected)) == expected, f"{len(expected)} bytes came out changed")


async def _read(channel: Channel, size: int) -> bytes:
    """Read `size` bytes by `read`, and give back what came on top."""
    data = b""
    while len(data) < size:
        pieces = await channel.read()
        require(pieces, f"the channel ended after {len(data)} of {size} bytes")
        data += b"".join(pieces)
    if len(data) > size:
        channel.unread(data[size:])
    return data[:size]


_CHECKS = (
    _sizes,
    _runs,
    _flushing,
    _cancelled_flush,
    _two_flushes,
    _unread,
    _ends,
    _close_wakes,
    _close_overtakes_send,
    _trio_suite,
)
