"""The pipe in memory: a proper trio stream, bounded, and movable without waiting."""

import pytest
import trio
import trio.testing

from peerstack.stack.memory import ByteQueue, MemoryPipe, memory_pipe_pair
from peerstack.stack.testing import check_pipe


async def make_pair() -> tuple[MemoryPipe, MemoryPipe]:
    return memory_pipe_pair()


async def make_clogged_pair() -> tuple[MemoryPipe, MemoryPipe]:
    near, far = memory_pipe_pair()
    for pipe in near, far:
        while pipe.send_nowait(bytes(10_000)):
            pass
    return near, far


async def test_it_is_a_proper_half_closeable_stream() -> None:
    await trio.testing.check_half_closeable_stream(make_pair, make_clogged_pair)


async def test_it_is_a_proper_pipe(autojump_clock: trio.testing.MockClock) -> None:
    await check_pipe(make_pair)


async def test_each_direction_holds_its_capacity_and_no_more() -> None:
    near, far = memory_pipe_pair(100)
    assert near.send_nowait(bytes(70)) == 70
    assert near.send_nowait(bytes(70)) == 30
    assert near.send_nowait(bytes(70)) == 0
    assert far.send_nowait(bytes(1000)) == 100
    assert len(await far.receive_some(60)) == 60
    assert near.send_nowait(bytes(70)) == 60


async def test_what_is_given_back_does_not_count_as_room() -> None:
    near, far = memory_pipe_pair(10)
    await near.send_all(b"0123456789")
    got = await far.receive_some()
    await near.send_all(b"abcde")
    far.unread(got)
    assert near.send_nowait(b"x") == 0
    assert await far.receive_some() == b"0123456789abcde"
    assert near.send_nowait(b"x") == 1


async def test_memoryviews_of_wider_items_count_in_bytes() -> None:
    near, far = memory_pipe_pair()
    await near.send_all(memoryview(b"abcdefgh").cast("I"))
    assert await far.receive_some() == b"abcdefgh"


async def test_an_abort_breaks_both_ends_and_loses_what_was_under_way() -> None:
    near, far = memory_pipe_pair()
    await near.send_all(b"lost")
    near.abort()
    with pytest.raises(trio.BrokenResourceError):
        await far.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await far.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await near.receive_some()
    far.unread(b"too late")
    with pytest.raises(trio.BrokenResourceError):
        await far.receive_some()


async def test_an_abort_wakes_who_waits() -> None:
    near, far = memory_pipe_pair(1)
    await far.send_all(b"x")

    async def expect(error: type[Exception], pipe: MemoryPipe) -> None:
        with pytest.raises(error):
            await pipe.send_all(b"more than fits")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect, trio.ClosedResourceError, near)
        nursery.start_soon(expect, trio.BrokenResourceError, far)
        await trio.testing.wait_all_tasks_blocked()
        near.abort()


async def test_nowait_calls_of_a_second_task_are_refused() -> None:
    """Else a task that waits to send would send its bytes after those of the other."""
    near, _ = memory_pipe_pair(1)
    await near.send_all(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_some, b"y")
        nursery.start_soon(near.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            near.send_nowait(b"z")
        with pytest.raises(trio.BusyResourceError):
            near.receive_nowait(memoryview(bytearray(1)))
        nursery.cancel_scope.cancel()


async def test_unread_is_refused_on_a_closed_pipe() -> None:
    near, _ = memory_pipe_pair()
    await near.aclose()
    with pytest.raises(trio.ClosedResourceError):
        near.unread(b"x")


def test_a_queue_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        ByteQueue(0)
