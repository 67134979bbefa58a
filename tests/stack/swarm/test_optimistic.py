"""Streams that propose with their first bytes: accepted, refused, closed or cancelled before the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack.stack.abc import MuxedConnection, Stream
from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import ConnectionLost, NegotiationError, RemoteProtocolError, StackError, StreamReset
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.negotiation import negotiate_inbound, optimistic_prefix
from peerstack.stack.swarm.optimistic import OptimisticStream
from peerstack.stack.testing import Side, muxed_pair

from .parts import read_all

Clock = trio.testing.MockClock
PROPOSAL = optimistic_prefix("/echo/1")
HEADER, ECHO = PROPOSAL[:20], PROPOSAL[20:]

Calls = dict[str, Callable[[OptimisticStream], Awaitable[object]]]
CALLS: Calls = {
    "send_all": lambda stream: stream.send_all(b"x"),
    "receive_some": lambda stream: stream.receive_some(),
    "send_eof": lambda stream: stream.send_eof(),
    "wait": lambda stream: stream.wait_send_all_might_not_block(),
}


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[OptimisticStream, Side, Side]]:
    async with muxed_pair(Yamux(), Yamux()) as (near, far):
        await trio.testing.wait_all_tasks_blocked()
        yield OptimisticStream(await near.connection.open_stream(), "/echo/1"), near, far


async def raw(connection: MuxedConnection) -> Stream:
    """Accept the stream, and take the proposal off it."""
    stream = await connection.accept_stream()
    data = b""
    while len(data) < len(PROPOSAL):
        data += await stream.receive_some(len(PROPOSAL) - len(data))
    assert data == PROPOSAL
    return stream


async def test_proposal_and_data_leave_together_before_any_answer(autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"hello")
        theirs = await far.connection.accept_stream()
        assert await theirs.receive_some() == PROPOSAL + b"hello"


async def test_nothing_leaves_before_there_is_a_reason(autojump_clock: Clock) -> None:
    async with ends() as (stream, near, far):
        await trio.sleep(1)
        assert far.connection.stream_count == 0
        await stream.aclose()
        await trio.sleep(1)
        assert (near.connection.stream_count, far.connection.stream_count) == (0, 0)


@pytest.mark.parametrize("first", ["send_eof", "receive_some"])
async def test_whatever_comes_first_proposes(first: str, autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far), trio.open_nursery() as nursery:
        nursery.start_soon(CALLS[first], stream)
        theirs = await raw(far.connection)
        await theirs.send_all(HEADER + ECHO + b"hello")
        await trio.testing.wait_all_tasks_blocked()


async def test_large_data_follows_the_proposal(autojump_clock: Clock) -> None:
    payload = bytes(range(256)) * 100
    async with ends() as (stream, _, far), trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, payload)
        theirs = await raw(far.connection)
        received = b""
        while len(received) < len(payload):
            received += await theirs.receive_some()
        assert received == payload


async def test_accepted(autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"hello")
        theirs = await raw(far.connection)
        await theirs.send_all(HEADER + ECHO + b"and data in one piece")
        assert await stream.receive_some() == b"and data in one piece"
        stream.unread(b"again")
        assert await stream.receive_some(3) == b"aga"
        assert await stream.receive_some() == b"in"
        await theirs.send_eof()
        assert await stream.receive_some() == b""
        assert (stream.protocol, stream.connection.info.muxer) == ("/echo/1", "/yamux/1.0.0")


# ---- refused


async def refuse(stream: OptimisticStream, far: Side, how: str) -> None:
    await stream.send_all(b"hello")
    theirs = await raw(far.connection)
    if how == "na":
        await theirs.send_all(HEADER + b"\x03na\n")
    elif how == "na, then reset":
        await theirs.send_all(HEADER + b"\x03na\n")
        theirs.reset(StreamCode.NEGOTIATION_FAILED)
    else:
        theirs.reset(StreamCode.NEGOTIATION_FAILED)
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parametrize("how", ["na", "na, then reset", "reset"])
@pytest.mark.parametrize("call", CALLS)
async def test_refused_every_later_call_says_so(how: str, call: str, autojump_clock: Clock) -> None:
    async with ends() as (stream, near, far):
        await refuse(stream, far, how)
        for _ in range(2):
            with pytest.raises(NegotiationError, match=r"the peer does not support .*/echo/1") as caught:
                await stream.receive_some()
            assert caught.value.offered == ("/echo/1",)
        with pytest.raises(NegotiationError, match=r"the peer does not support .*/echo/1"):
            await CALLS[call](stream)
        await stream.aclose()
        assert near.connection.stream_count == 0


async def test_who_only_sends_learns_of_the_reset(autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await refuse(stream, far, "reset")
        with pytest.raises(NegotiationError, match="does not support"):
            await stream.send_all(b"more")


async def test_a_sender_that_waits_learns_of_the_reset(autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far), trio.open_nursery() as nursery:

        async def send_more_than_the_window() -> None:
            with pytest.raises(NegotiationError, match="does not support"):
                await stream.send_all(bytes(1_000_000))

        nursery.start_soon(send_more_than_the_window)
        theirs = await raw(far.connection)
        theirs.reset(StreamCode.NEGOTIATION_FAILED)


async def test_a_refused_stream_is_reset_so_that_the_peer_reads_no_data_as_proposals(autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"hello")
        theirs = await raw(far.connection)
        await theirs.send_all(HEADER + b"\x03na\n")
        with pytest.raises(NegotiationError):
            await stream.receive_some()
        with pytest.raises(StreamReset) as caught:
            await read_all(theirs)
        assert caught.value.code == StreamCode.NEGOTIATION_FAILED


async def test_a_reset_for_another_reason_stays_what_it_is(autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"hello")
        (await raw(far.connection)).reset(StreamCode.RESOURCE_LIMIT)
        with pytest.raises(StreamReset, match="resource limit"):
            await stream.receive_some()


@pytest.mark.parametrize("call", ["send_all", "wait", "receive_some"])
async def test_a_reset_after_the_answer_stays_what_it_is(call: str, autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"hello")
        theirs = await raw(far.connection)
        await theirs.send_all(HEADER + ECHO + b"!")
        await stream.receive_some()
        theirs.reset(StreamCode.NEGOTIATION_FAILED)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StreamReset):
            await CALLS[call](stream)


@pytest.mark.parametrize("half_close", [True, False])
async def test_an_answer_with_a_reset_right_behind_it_can_be_read(half_close: bool, autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"question")
        theirs = await raw(far.connection)
        await theirs.send_all(HEADER + ECHO + b"the answer")
        theirs.reset()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StreamReset):
            await stream.send_all(b"more")
        if half_close:
            await stream.send_eof()
        assert await stream.receive_some() == b"the answer"
        with pytest.raises(StreamReset):
            await stream.receive_some()


@pytest.mark.parametrize("answer", [b"garbage", HEADER + b"\x08/other1\n", b"\xff" * 30])
async def test_nonsense_for_an_answer(answer: bytes, autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"hello")
        theirs = await raw(far.connection)
        await theirs.send_all(answer)
        await theirs.send_eof()
        for call in ("receive_some", "send_all"):
            with pytest.raises(RemoteProtocolError):
                await CALLS[call](stream)


async def test_an_end_instead_of_an_answer(autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"hello")
        await (await raw(far.connection)).aclose()
        with pytest.raises(RemoteProtocolError, match="closed the stream before the multistream-select header"):
            await stream.receive_some()


# ---- cut short


@pytest.mark.parametrize("size", range(len(PROPOSAL)))
async def test_reading_the_answer_survives_a_cancellation_at_any_byte(size: int, autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"hello")
        theirs = await raw(far.connection)
        await theirs.send_all(PROPOSAL[:size])
        with trio.move_on_after(1) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        await theirs.send_all(PROPOSAL[size:] + b"data")
        assert await stream.receive_some() == b"data"


async def test_closed_before_the_answer_its_data_arrives(autojump_clock: Clock) -> None:
    """Fire and forget: the peer gets everything, though its answer goes nowhere."""
    received = b""
    async with ends() as (stream, near, far):
        await stream.send_all(b"fire and ")
        await stream.send_all(b"forget")
        await stream.aclose()
        theirs = await far.connection.accept_stream()
        assert await negotiate_inbound(theirs, ["/echo/1"]) == "/echo/1"
        async for data in theirs:
            received += data
        await theirs.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert received == b"fire and forget"
        assert (near.connection.stream_count, far.connection.stream_count) == (0, 0)


async def test_even_with_the_connection_closed_right_behind_it(autojump_clock: Clock) -> None:
    async with ends() as (stream, near, far):
        await stream.send_all(b"fire and forget")
        await stream.aclose()
        await near.connection.aclose()
        await far.ended.wait()
        theirs = await far.connection.accept_stream()
        assert await theirs.receive_some() == PROPOSAL + b"fire and forget"
        assert await theirs.receive_some() == b""


async def test_a_reset_reaches_the_peer_with_its_code(autojump_clock: Clock) -> None:
    async with ends() as (stream, _, far):
        await stream.send_all(b"hello")
        theirs = await raw(far.connection)
        stream.reset(StreamCode.SUPPLANTED)
        with pytest.raises(StreamReset, match="supplanted"):
            await read_all(theirs)
        with pytest.raises(StreamReset):
            await stream.receive_some()


@pytest.mark.parametrize("call", ["receive_some", "send_all"])
async def test_a_lost_connection_is_told_as_that(call: str, autojump_clock: Clock) -> None:
    async with ends() as (stream, near, _):
        await stream.send_all(b"hello")
        near.pipe.abort()
        await near.ended.wait()
        with pytest.raises(ConnectionLost):
            await CALLS[call](stream)
        assert isinstance(near.failure, StackError)
