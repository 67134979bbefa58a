"""Every operation cancelled at each of its steps: the connection, and the other streams, go on as if nothing was."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from peerstack.stack.errors import ConnectionLost
from peerstack.stack.muxing.yamux import Config, YamuxConnection, YamuxStream
from peerstack.stack.muxing.yamux.wire import INITIAL_WINDOW
from peerstack.stack.testing.checks import cancel_at_each_step

from .raw import connections, stream_pair

DATA = bytes(range(256)) * 4096


async def works(near: YamuxConnection, far: YamuxConnection) -> None:
    """Check that a new stream carries bytes both ways, and leave none behind."""
    stream, accepted = await stream_pair(near, far)
    await stream.send_all(b"ping")
    assert await accepted.receive_some() == b"ping"
    await accepted.send_all(b"pong")
    assert await stream.receive_some() == b"pong"
    await stream.aclose()
    await accepted.aclose()
    await trio.testing.wait_all_tasks_blocked()


async def receive_until_end(stream: YamuxStream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


@pytest.mark.parametrize("size", [0, 10, INITIAL_WINDOW, len(DATA)])
async def test_a_send_leaves_a_prefix(size: int) -> None:
    async with connections(capacity=50_000) as (near, far):
        pairs: list[tuple[YamuxStream, YamuxStream]] = [await stream_pair(near, far)]

        async def send() -> None:
            await pairs[-1][0].send_all(DATA[:size])

        async def send_while_read() -> None:
            got = b""

            async def read() -> None:
                nonlocal got
                got = await receive_until_end(pairs[-1][1])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                with trio.CancelScope(shield=True):
                    await stream_rest(pairs[-1][0])
            assert got.endswith(b"|")
            assert DATA.startswith(got[:-1])
            await pairs[-1][1].aclose()
            await trio.testing.wait_all_tasks_blocked()
            assert near.stream_count == far.stream_count == 0
            pairs.append(await stream_pair(near, far))

        steps = await cancel_when_stalled_at_each_step(send, pairs, send_while_read)
        assert steps >= 1


async def stream_rest(stream: YamuxStream) -> None:
    await stream.send_all(b"|")
    await stream.send_eof()


async def cancel_when_stalled_at_each_step(
    send: Callable[[], Awaitable[None]],
    pairs: list[tuple[YamuxStream, YamuxStream]],
    after: Callable[[], Awaitable[None]],
) -> int:
    """Cancel at each step; a send that fills the window would never end by itself, so give it a way out."""

    async def send_or_stall() -> None:
        async with trio.open_nursery() as nursery:

            async def give_up() -> None:
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

            nursery.start_soon(give_up)
            await send()
            nursery.cancel_scope.cancel()

    return await cancel_at_each_step(send_or_stall, after)


async def test_a_receive_loses_nothing() -> None:
    async with connections() as (near, far):
        stream, accepted = await stream_pair(near, far)
        got = b""

        async def receive() -> None:
            nonlocal got
            got += await accepted.receive_some(3)

        async def check() -> None:
            nonlocal got
            while len(got) < 9:
                got += await accepted.receive_some(3)
            assert got == b"abcdefghi"
            got = b""
            await stream.send_all(b"abcdefghi")
            await trio.testing.wait_all_tasks_blocked()

        await stream.send_all(b"abcdefghi")
        await trio.testing.wait_all_tasks_blocked()
        assert await cancel_at_each_step(receive, check) >= 1
        await works(near, far)


async def test_an_open_leaves_no_stream() -> None:
    async with connections() as (near, far):

        async def open_and_close() -> None:
            async with await near.open_stream():
                pass

        async def check() -> None:
            await trio.testing.wait_all_tasks_blocked()
            while far._accepted:
                await (await far.accept_stream()).aclose()
            await trio.testing.wait_all_tasks_blocked()
            assert near.stream_count == far.stream_count == 0
            await works(near, far)

        assert await cancel_at_each_step(open_and_close, check) >= 1


async def test_an_open_that_waits_leaves_no_stream() -> None:
    async with connections(Config(max_outbound_streams=1)) as (near, far):
        stream, accepted = await stream_pair(near, far)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.open_stream)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        await stream.aclose()
        await accepted.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert near.stream_count == 0
        await works(near, far)


@pytest.mark.parametrize("operation", ["aclose", "send_eof"])
async def test_an_end_is_said_or_can_be_said_again(operation: str) -> None:
    async with connections() as (near, far):
        pair = await stream_pair(near, far)

        async def end() -> None:
            await (pair[0].aclose() if operation == "aclose" else pair[0].send_eof())

        async def check() -> None:
            nonlocal pair
            await pair[0].aclose()
            assert await receive_until_end(pair[1]) == b""
            await pair[1].aclose()
            await trio.testing.wait_all_tasks_blocked()
            assert near.stream_count == far.stream_count == 0
            pair = await stream_pair(near, far)

        assert await cancel_at_each_step(end, check) >= 1


async def test_closing_the_connection_closes_it_at_whatever_step() -> None:
    async with AsyncExitStack() as stack:
        near, far = await stack.enter_async_context(connections())
        await stream_pair(near, far)

        async def close() -> None:
            await near.aclose()

        async def check() -> None:
            nonlocal near, far
            assert near.closed
            for connection in near, far:
                with pytest.raises(ConnectionLost):
                    await connection.accept_stream()
                assert connection.stream_count == 0
            near, far = await stack.enter_async_context(connections())
            await stream_pair(near, far)

        assert await cancel_at_each_step(close, check) >= 2
