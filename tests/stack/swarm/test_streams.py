"""Streams of a swarm: handlers that serve or raise, outbound streams, and what the peer sees of both."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Direction, MuxedConnection, Stream
from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import (
    ConnectionLost,
    DialError,
    LimitExceeded,
    LocalProtocolError,
    NegotiationError,
    RemoteProtocolError,
    StackError,
)
from peerstack.stack.events import HandlerFailed, StreamClosed, StreamOpened
from peerstack.stack.limits import Limits
from peerstack.stack.negotiation import negotiate_inbound
from peerstack.stack.report import DialReport
from peerstack.stack.swarm import SwarmConfig

from .serving import ECHO, echo, reset_of, serving, wait_for_ever

Clock = trio.testing.MockClock


# ---- inbound


async def test_a_handler_serves_and_the_stream_ends_properly(autojump_clock: Clock) -> None:
    async with serving() as served:
        peer = served.connection.remote_peer
        async with await served.ask() as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            assert served.in_use == 1
            await stream.send_eof()
            assert await stream.receive_some() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert served.events == [StreamOpened(peer, ECHO, Direction.INBOUND), StreamClosed(peer, ECHO)]
        assert served.in_use == 0


async def test_a_handler_that_raises_costs_its_stream_only(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    error = ZeroDivisionError("a bug")

    async def buggy(stream: Stream) -> None:
        raise error

    async with serving({ECHO: echo, "/buggy/1": buggy}) as served:
        other = await served.ask()
        stream = await served.propose("/buggy/1")
        assert await reset_of(stream) == StreamCode.NONE
        assert served.observer.of(HandlerFailed) == [HandlerFailed(served.connection.remote_peer, "/buggy/1", error)]
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert record.exc_info is not None
        assert record.exc_info[1] is error
        assert "/buggy/1" in record.getMessage()
        await other.send_all(b"still here")
        assert await other.receive_some() == b"still here"
        assert served.in_use == 1


async def test_in_tests_a_handler_that_raises_is_heard(autojump_clock: Clock) -> None:
    async def buggy(stream: Stream) -> None:
        raise ZeroDivisionError("a bug")

    async def run() -> None:
        async with serving({ECHO: buggy}, config=SwarmConfig(raise_handler_errors=True)) as served:
            await served.ask()
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(ZeroDivisionError)


def raising(error: BaseException) -> Callable[[Stream], Awaitable[None]]:
    async def handler(stream: Stream) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return handler


PEERS_FAULTS = [
    (RemoteProtocolError("garbage"), StreamCode.PROTOCOL_VIOLATION),
    (trio.BrokenResourceError("gone"), StreamCode.PROTOCOL_VIOLATION),
    (trio.TooSlowError("no answer"), StreamCode.PROTOCOL_VIOLATION),
    (ConnectionLost("gone"), StreamCode.PROTOCOL_VIOLATION),
    (LimitExceeded("peer", "bytes of memory", 7), StreamCode.RESOURCE_LIMIT),
    (ExceptionGroup("both", [RemoteProtocolError("garbage"), trio.TooSlowError()]), StreamCode.PROTOCOL_VIOLATION),
]


@pytest.mark.parametrize(("error", "code"), PEERS_FAULTS, ids=lambda value: type(value).__name__)
async def test_what_the_peer_did_wrong_is_no_news(
    error: Exception, code: StreamCode, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "peerstack.stack.swarm")
    async with serving({ECHO: raising(error)}, config=SwarmConfig(raise_handler_errors=True)) as served:
        stream = await served.propose()
        assert await reset_of(stream) == code
        assert served.observer.of(HandlerFailed) == []
        (line,) = caplog.records
        assert line.levelno == logging.DEBUG
        assert str(served.connection.remote_peer) in line.getMessage()


OUR_FAULTS = [
    LocalProtocolError("a bug of ours"),
    DialError("another peer is down", DialReport("x", epoch=0)),
    ExceptionGroup("both", [RemoteProtocolError("garbage"), ValueError("a bug of ours")]),
]


@pytest.mark.parametrize("error", OUR_FAULTS, ids=lambda value: type(value).__name__)
async def test_what_we_did_wrong_is_told(error: Exception, autojump_clock: Clock) -> None:
    async with serving({ECHO: raising(error)}) as served:
        stream = await served.propose()
        assert await reset_of(stream) == StreamCode.NONE
        (failed,) = served.observer.of(HandlerFailed)
        assert failed.error is error


async def test_a_handler_may_close_the_stream_itself(autojump_clock: Clock) -> None:
    async def close(stream: Stream) -> None:
        await stream.send_all(b"bye")
        await stream.aclose()

    async with serving({ECHO: close}) as served:
        stream = await served.ask()
        assert await stream.receive_some() == b"bye"
        assert await stream.receive_some() == b""


async def test_the_end_of_the_host_resets_with_a_code(autojump_clock: Clock) -> None:
    async with serving({ECHO: wait_for_ever}) as served:
        stream = await served.propose()
        served.nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert await reset_of(stream) == StreamCode.SHUTDOWN


# ---- outbound


async def answer(connection: MuxedConnection, *protocols: str) -> None:
    stream = await connection.accept_stream()
    with suppress(StackError):
        await negotiate_inbound(stream, protocols)


async def test_an_outbound_stream_is_told_of_and_counted_until_it_is_done(autojump_clock: Clock) -> None:
    async with serving() as served:
        peer = served.connection.remote_peer
        served.nursery.start_soon(answer, served.far, "/theirs/1")
        stream = await served.streams.open(served.connection, ["/unknown/1", "/theirs/1"], supported=False)
        assert stream.protocol == "/theirs/1"
        assert served.in_use == 1
        assert served.events == [StreamOpened(peer, "/theirs/1", Direction.OUTBOUND)]
        stream.reset()
        assert served.events[1:] == [StreamClosed(peer, "/theirs/1")]
        assert served.in_use == 0


async def test_a_refused_protocol_leaves_nothing(autojump_clock: Clock) -> None:
    async with serving() as served:
        served.nursery.start_soon(answer, served.far, "/theirs/1")
        with pytest.raises(NegotiationError) as caught:
            await served.streams.open(served.connection, ["/one/1", "/two/1"], supported=False)
        assert caught.value.offered == ("/one/1", "/two/1")
        assert (served.in_use, served.events) == (0, [])
        await trio.testing.wait_all_tasks_blocked()
        assert served.near.connection.stream_count == 0


async def test_a_cancelled_negotiation_leaves_nothing(autojump_clock: Clock) -> None:
    async with serving() as served:
        with trio.move_on_after(3):
            await served.streams.open(served.connection, ["/theirs/1"], supported=False)
        assert (served.in_use, served.near.connection.stream_count) == (0, 0)


async def test_an_early_proposal_is_told_of_when_the_peer_has_agreed(autojump_clock: Clock) -> None:
    async with serving() as served:
        peer = served.connection.remote_peer
        stream = await served.streams.open(served.connection, [ECHO], supported=True)
        await stream.send_all(b"hello")
        await trio.testing.wait_all_tasks_blocked()
        assert (served.in_use, served.events) == (1, [])
        theirs = await served.far.accept_stream()
        await negotiate_inbound(theirs, [ECHO])
        await theirs.send_all(await theirs.receive_some())
        assert await stream.receive_some() == b"hello"
        assert served.events == [StreamOpened(peer, ECHO, Direction.OUTBOUND)]
        stream.reset()
        assert served.events[1:] == [StreamClosed(peer, ECHO)]
        assert served.in_use == 0


async def test_an_early_proposal_that_was_not_agreed_to_has_no_event(autojump_clock: Clock) -> None:
    async with serving() as served:
        unread = await served.streams.open(served.connection, ["/theirs/1"], supported=True)
        await unread.aclose()
        served.nursery.start_soon(answer, served.far, "/other/1")
        refused = await served.streams.open(served.connection, ["/theirs/1"], supported=True)
        with pytest.raises(NegotiationError):
            await refused.receive_some()
        assert (served.in_use, served.events) == (0, [])


async def test_a_stream_that_is_over_before_its_protocol_was_agreed_is_not_counted_again(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has been read, and the connection is lost before the task that waited for it has its turn."""

    async def agree_too_late(stream: Stream, protocols: object) -> str:
        stream.reset()
        return "/theirs/1"

    monkeypatch.setattr("peerstack.stack.swarm.streams.negotiate_outbound", agree_too_late)
    async with serving() as served:
        await served.streams.open(served.connection, ["/theirs/1"], supported=False)
        assert served.in_use == 0
        assert [type(event) for event in served.events] == [StreamOpened, StreamClosed]


async def test_our_limit_of_streams_with_one_peer(autojump_clock: Clock) -> None:
    limits = Limits(streams_per_peer=1, inbound_streams_per_peer=1)
    async with serving(limits=limits) as served:
        await served.streams.open(served.connection, ["/theirs/1"], supported=True)
        with pytest.raises(LimitExceeded, match="our limit of 1 streams in scope 'peer "):
            await served.streams.open(served.connection, ["/theirs/1"], supported=True)
        assert served.near.connection.stream_count == 1


async def test_a_lost_connection_gives_back_what_was_reserved(autojump_clock: Clock) -> None:
    async with serving() as served:
        served.nursery.start_soon(answer, served.far, "/theirs/1")
        await served.streams.open(served.connection, ["/theirs/1"], supported=False)
        served.near.pipe.abort()
        await served.near.ended.wait()
        assert served.in_use == 0
        assert len(served.observer.of(StreamClosed)) == 1
        with pytest.raises(ConnectionLost):
            await served.streams.open(served.connection, ["/theirs/1"], supported=True)
        assert served.in_use == 0
