"""Two thousand streams leave nothing behind: no task, no stream, no count, no reservation."""

import gc
from collections import Counter

import trio
import trio.testing

from peerstack.stack.muxing.yamux import Config, YamuxConnection, YamuxStream
from peerstack.stack.muxing.yamux.core import StreamState

from .raw import connections

COUNT = 2000
FAST = Config(opens_per_second=10 * COUNT, idle_frames_per_second=100 * COUNT)


async def serve(connection: YamuxConnection) -> None:
    async with trio.open_nursery() as nursery:
        while True:
            nursery.start_soon(answer, await connection.accept_stream())


async def answer(stream: YamuxStream) -> None:
    async with stream:
        try:
            async for data in stream:
                await stream.send_all(data)
        except trio.BrokenResourceError:
            return


async def ask(connection: YamuxConnection, number: int) -> None:
    """Use a stream in one of four ways."""
    async with await connection.open_stream() as stream:
        if number % 4 == 0:
            return
        await stream.send_all(b"hello")
        if number % 4 == 1:
            stream.reset(number)
            return
        assert await stream.receive_some() == b"hello"
        if number % 4 == 2:
            await stream.send_eof()
            assert await stream.receive_some() == b""


def census() -> Counter[str]:
    gc.collect()
    kinds = (YamuxStream, StreamState, trio.lowlevel.Task)
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, kinds))


async def test_two_thousand_streams(autojump_clock: trio.testing.MockClock) -> None:
    async with connections(FAST) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(serve, far)
        await trio.testing.wait_all_tasks_blocked()
        near.on_stream_closed = far.on_stream_closed = None  # the test kit keeps the streams
        before = census()
        for start in range(0, COUNT, 50):
            async with trio.open_nursery() as askers:
                for number in range(start, start + 50):
                    askers.start_soon(ask, near, number)
        await trio.testing.wait_all_tasks_blocked()
        after = census()
        for connection in near, far:
            core = connection._core
            assert connection.stream_count == core.buffered == core._unacknowledged == core._budget.used == 0
            assert core._inbound == core._outbound == 0
            assert not connection._streams
            assert not connection._accepted
            assert not connection._stalled
        assert after == before
        await trio.sleep(FAST.close_timeout + 30)
        assert not near._core._lingering
        assert not far._core._lingering
        nursery.cancel_scope.cancel()
