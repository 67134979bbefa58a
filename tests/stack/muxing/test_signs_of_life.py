"""What a connection knows of whether its peer is alive, and of what the peer has received; with every muxer alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack.stack.abc import ConnectionState, MuxedConnection, Muxer
from peerstack.stack.errors import ConnectionLost
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.muxing.mplex import Mplex
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.testing import ConnectionEnd, PlainChannel, connection_infos, muxed_pair

Clock = trio.testing.MockClock
ALIVE, SUSPECTED, CLOSING = ConnectionState.ALIVE, ConnectionState.SUSPECTED, ConnectionState.CLOSING

each_muxer = pytest.mark.parametrize("make", [Yamux, Mplex])


@asynccontextmanager
async def against_silence(muxer: Muxer) -> AsyncIterator[tuple[ConnectionEnd, MemoryPipe]]:
    """Run a connection whose peer reads nothing and says nothing, and give the bare pipe at its end."""
    pipe, raw = memory_pipe_pair()
    end = ConnectionEnd(muxer.mux(PlainChannel(pipe), connection_infos()[0]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run)
        yield end, raw
        nursery.cancel_scope.cancel()


async def refuse_streams(connection: MuxedConnection) -> None:
    while True:
        (await connection.accept_stream()).reset()


async def is_waiting(ask: Callable[[], Awaitable[None]], seconds: float) -> bool:
    with trio.move_on_after(seconds) as scope:
        await ask()
    return scope.cancelled_caught


@each_muxer
async def test_one_is_suspected_when_what_was_sent_brought_nothing(
    make: Callable[[], Muxer], autojump_clock: Clock
) -> None:
    async with against_silence(make()) as (end, _):
        await trio.sleep(20)
        assert end.connection.state is ALIVE  # no answer is due
        stream = await end.connection.open_stream()
        await stream.send_all(b"hello?")
        assert end.connection.state is ALIVE
        await trio.sleep(2)
        assert end.connection.state is SUSPECTED


@each_muxer
async def test_anything_received_ends_suspicion_and_probes(make: Callable[[], Muxer], autojump_clock: Clock) -> None:
    async with muxed_pair(make(), make()) as (near, far), trio.open_nursery() as nursery:
        stream = await near.connection.open_stream()
        await stream.send_all(b"hello?")
        accepted = await far.connection.accept_stream()
        await trio.sleep(3)
        since = near.connection.unanswered_since
        if since is not None:  # yamux has measured the round trip and owes nothing
            assert near.connection.state is SUSPECTED
        answered = trio.Event()

        async def probe() -> None:
            await near.connection.probe()
            answered.set()

        nursery.start_soon(probe)
        await accepted.send_all(b"here")
        await answered.wait()
        assert near.connection.state is ALIVE
        nursery.cancel_scope.cancel()


@each_muxer
async def test_a_silent_peer_answers_no_probe_and_acknowledges_nothing(
    make: Callable[[], Muxer], autojump_clock: Clock
) -> None:
    async with against_silence(make()) as (end, _):
        assert await is_waiting(end.connection.probe, 5)
        assert await is_waiting(end.connection.wait_acknowledged, 4)
        assert end.connection.state is SUSPECTED


@each_muxer
async def test_a_peer_that_is_gone_is_noticed_in_bounded_time(make: Callable[[], Muxer], autojump_clock: Clock) -> None:
    async with against_silence(make()) as (end, _):
        began = trio.current_time()
        await end.ended.wait()
        assert trio.current_time() - began <= 80
        assert isinstance(end.failure, ConnectionLost)
        assert "silent" in str(end.failure)
        assert end.connection.state is CLOSING


@each_muxer
async def test_a_quiet_peer_that_answers_stays_connected(make: Callable[[], Muxer], autojump_clock: Clock) -> None:
    async with muxed_pair(make(), make()) as sides, trio.open_nursery() as nursery:
        for side in sides:
            nursery.start_soon(refuse_streams, side.connection)
        await trio.sleep(500)
        assert not any(side.connection.closed for side in sides)
        assert [side.connection.stream_count for side in sides] == [0, 0]
        nursery.cancel_scope.cancel()


@each_muxer
async def test_the_end_of_a_connection_wakes_who_asks(make: Callable[[], Muxer], autojump_clock: Clock) -> None:
    async with against_silence(make()) as (end, _), trio.open_nursery() as nursery:
        raised: list[type[Exception]] = []

        async def ask(question: Callable[[], Awaitable[None]]) -> None:
            try:
                await question()
            except ConnectionLost as error:
                raised.append(type(error))

        nursery.start_soon(ask, end.connection.probe)
        nursery.start_soon(ask, end.connection.wait_acknowledged)
        await trio.testing.wait_all_tasks_blocked()
        await end.connection.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert raised == [ConnectionLost, ConnectionLost]


@each_muxer
async def test_questions_leave_no_streams_behind_when_they_are_cancelled(
    make: Callable[[], Muxer], autojump_clock: Clock
) -> None:
    async with against_silence(make()) as (end, _):
        for question in (end.connection.probe, end.connection.wait_acknowledged):
            for _ in range(3):
                await is_waiting(question, 0.5)
        assert end.connection.stream_count == 0


async def test_many_who_wait_share_the_streams_that_mplex_asks_by(autojump_clock: Clock) -> None:
    async with muxed_pair(Mplex(), Mplex()) as (near, far), trio.open_nursery() as nursery:
        asked = 0

        async def refuse_and_count() -> None:
            nonlocal asked
            while True:
                (await far.connection.accept_stream()).reset()
                asked += 1

        nursery.start_soon(refuse_and_count)
        async with trio.open_nursery() as asking:
            for _ in range(200):
                asking.start_soon(near.connection.wait_acknowledged)
        assert asked <= 2
        nursery.cancel_scope.cancel()
