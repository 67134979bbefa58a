"""Any trio stream as a pipe: what it gives back, what it ends, and what a cancelled send leaves."""

import pytest
import trio
import trio.testing

from peerstack.stack.errors import LocalProtocolError
from peerstack.stack.memory import memory_pipe_pair
from peerstack.stack.net.pipes import StreamPipe, as_pipe


def pair() -> tuple[StreamPipe, StreamPipe]:
    near, far = trio.testing.memory_stream_pair()
    return StreamPipe(near), StreamPipe(far)


async def test_a_pipe_is_left_as_it_is_and_another_stream_is_wrapped() -> None:
    pipe, _ = memory_pipe_pair()
    assert as_pipe(pipe) is pipe
    stream, _ = trio.testing.memory_stream_pair()
    assert isinstance(as_pipe(stream), StreamPipe)


async def test_it_is_a_proper_half_closeable_stream() -> None:
    async def make() -> tuple[StreamPipe, StreamPipe]:
        return pair()

    async def make_clogged() -> tuple[StreamPipe, StreamPipe]:
        near, far = trio.testing.lockstep_stream_pair()
        return StreamPipe(near), StreamPipe(far)

    await trio.testing.check_half_closeable_stream(make, None)
    await trio.testing.check_two_way_stream(make_clogged, make_clogged)


async def test_nothing_moves_without_waiting() -> None:
    near, far = pair()
    assert near.send_nowait(b"abc") == 0
    assert await near.send_some(b"abc") == 3
    with pytest.raises(trio.WouldBlock):
        far.receive_nowait(memoryview(bytearray(9)))
    await far.wait_receive_might_not_block()
    await far.wait_receive_might_not_block()
    buffer = bytearray(2)
    assert far.receive_nowait(memoryview(buffer)) == 2
    assert buffer == b"ab"
    assert await far.receive_some() == b"c"


async def test_large_sends_go_in_parts() -> None:
    near, far = pair()
    data = bytes(100_000)
    sent = await near.send_some(data)
    assert sent == 65536
    assert sent + await near.send_some(memoryview(data)[sent:]) == len(data)
    got = 0
    while got < len(data):
        got += len(await far.receive_some())
    assert got == len(data)


async def test_the_end_lasts() -> None:
    near, far = pair()
    await near.send_all(b"abc")
    await near.send_eof()
    await far.wait_receive_might_not_block()
    assert await far.receive_some(2) == b"ab"
    assert await far.receive_some(2) == b"c"
    for _ in range(2):
        await far.wait_receive_might_not_block()
        assert far.receive_nowait(memoryview(bytearray(9))) == 0
        assert await far.receive_some() == b""
    far.unread(b"more")
    assert await far.receive_some() == b"more"
    assert await far.receive_some() == b""


async def test_what_was_given_back_comes_first() -> None:
    near, far = pair()
    await near.send_all(b"ghi")
    far.unread(b"def")
    far.unread(b"abc")
    assert await far.receive_some(4) == b"abcd"
    assert await far.receive_some() == b"ef"
    assert await far.receive_some() == b"ghi"
    far.unread(b"jkl")
    for limit in (0, -1):
        with pytest.raises(ValueError, match="max_bytes"):
            await far.receive_some(limit)


async def test_a_cancelled_receive_loses_nothing() -> None:
    near, far = pair()
    with trio.move_on_after(0):
        await far.wait_receive_might_not_block()
    await near.send_all(b"abc")
    assert await far.receive_some() == b"abc"


async def test_a_send_cancelled_half_way_breaks_the_pipe() -> None:
    # How much of it went is unknown: what came next would be taken for the rest of it.
    near, far = trio.testing.lockstep_stream_pair()
    pipe = StreamPipe(near)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe.send_some, b"abcdef")
        assert await far.receive_some(3) == b"abc"
        nursery.cancel_scope.cancel()
    with pytest.raises(trio.BrokenResourceError, match="half-way"):
        await pipe.send_some(b"def")
    with pytest.raises(trio.BrokenResourceError, match="half-way"):
        await pipe.send_all(b"def")


async def test_a_send_cancelled_before_it_began_breaks_nothing() -> None:
    near, far = pair()
    with trio.CancelScope() as scope:
        scope.cancel()
        await near.send_all(b"abc")
    await near.send_all(b"def")
    assert await far.receive_some() == b"def"


async def test_a_stream_that_cannot_end_one_direction_says_so() -> None:
    near, _ = trio.testing.memory_stream_pair()

    class OneWay(trio.abc.Stream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None: ...

        async def wait_send_all_might_not_block(self) -> None: ...

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            return b""

        async def aclose(self) -> None: ...

    with pytest.raises(LocalProtocolError, match="OneWay cannot close one direction only"):
        await StreamPipe(OneWay()).send_eof()
    await StreamPipe(near).send_eof()
