"""Streams of a swarm: negotiation and its deadline, limits by scope, handlers that raise, and what the peer sees."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Direction, MuxedConnection, Stream, StreamHandler
from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import (
    ConnectionLost,
    DialError,
    LimitExceeded,
    LocalProtocolError,
    NegotiationError,
    RemoteProtocolError,
    StackError,
    StreamReset,
)
from peerstack.stack.events import Event, HandlerFailed, StreamClosed, StreamOpened
from peerstack.stack.limits import Limits, Scopes
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.negotiation import negotiate_inbound, negotiate_outbound, optimistic_prefix
from peerstack.stack.report import DialReport
from peerstack.stack.swarm import Connection, SwarmConfig
from peerstack.stack.swarm.streams import Streams
from peerstack.stack.testing import RecordingObserver, Side, muxed_pair

from .parts import read_all

Clock = trio.testing.MockClock
ECHO = "/echo/1"


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def wait_for_ever(stream: Stream) -> None:
    await trio.sleep_forever()


@dataclass
class Served:
    """Our side serves streams; `far` is a raw connection of the peer's."""

    streams: Streams
    connection: Connection
    scopes: Scopes
    observer: RecordingObserver
    far: MuxedConnection
    near: Side
    nursery: trio.Nursery

    async def ask(self, protocol: str = ECHO) -> Stream:
        """Open a stream as the peer does."""
        stream = await self.far.open_stream()
        await negotiate_outbound(stream, [protocol])
        return stream

    async def propose(self, protocol: str = ECHO) -> Stream:
        """Open a stream and propose, without waiting for the answer."""
        stream = await self.far.open_stream()
        await stream.send_all(optimistic_prefix(protocol))
        return stream

    @property
    def in_use(self) -> int:
        """Streams counted anywhere."""
        return sum(self.scopes.system.statistics().get(kind, 0) for kind in ("inbound streams", "outbound streams"))

    @property
    def events(self) -> list[Event]:
        return self.observer.events


@asynccontextmanager
async def serving(
    handlers: dict[str, StreamHandler] | None = None, *, limits: Limits | None = None, config: SwarmConfig | None = None
) -> AsyncIterator[Served]:
    scopes, observer = Scopes(limits or Limits()), RecordingObserver()
    streams = Streams(scopes=scopes, config=config or SwarmConfig(), notify=observer.notify)
    streams.handlers.update({ECHO: echo} if handlers is None else handlers)
    async with muxed_pair(Yamux(), Yamux()) as (near, far):
        await trio.testing.wait_all_tasks_blocked()
        info = near.connection.info
        connection = Connection(near.connection, scopes.connected(scopes.dial(), info.remote_peer, info.remote_address))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(streams.accept, connection, nursery)
            yield Served(streams, connection, scopes, observer, far.connection, near, nursery)
            nursery.cancel_scope.cancel()
    connection.drop_streams()
    connection.scope.close()
    assert scopes.system.statistics() == {}
    assert scopes.transient.statistics() == {}


async def reset_of(stream: Stream) -> int | None:
    """Return the code that the peer reset the stream with."""
    with pytest.raises(StreamReset) as caught:
        await read_all(stream)
    assert caught.value.remote
    return caught.value.code


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


# ---- negotiation


async def test_an_unknown_protocol_is_answered_and_costs_the_stream_only(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "peerstack.stack.swarm")
    async with serving() as served:
        stream = await served.far.open_stream()
        with pytest.raises(NegotiationError, match=r"supports none of .*/unknown/1"):
            await negotiate_outbound(stream, ["/unknown/1"])
        await stream.send_eof()
        assert await reset_of(stream) == StreamCode.NEGOTIATION_FAILED
        assert served.events == []
        (line,) = caplog.messages
        assert "/unknown/1" in line
        await served.ask()


async def test_another_protocol_may_be_tried(autojump_clock: Clock) -> None:
    async with serving() as served:
        stream = await served.far.open_stream()
        assert await negotiate_outbound(stream, ["/unknown/1", ECHO]) == ECHO


async def test_a_peer_that_dribbles_its_proposal_loses_the_stream_at_the_deadline(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "peerstack.stack.swarm")
    async with serving() as served:
        stream = await served.far.open_stream()

        async def dribble() -> None:
            with suppress(trio.BrokenResourceError):
                for byte in b"\x13/multistream/1.0.0\n":
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(1)

        served.nursery.start_soon(dribble)
        assert await reset_of(stream) == StreamCode.NEGOTIATION_FAILED
        assert trio.current_time() == 10
        assert served.in_use == 0
        assert "too slow to agree on a protocol" in caplog.text


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 12, b"\x00", b"\x13/multistream/9.9.9\n"])
async def test_garbage_costs_the_stream(garbage: bytes, autojump_clock: Clock) -> None:
    async with serving() as served:
        stream = await served.far.open_stream()
        await stream.send_all(garbage)
        assert await reset_of(stream) == StreamCode.NEGOTIATION_FAILED
        assert trio.current_time() == 0


async def test_a_protocol_taken_back_while_it_is_negotiated(autojump_clock: Clock) -> None:
    async with serving() as served:
        handlers = served.streams.handlers

        class Fleeting(dict[str, StreamHandler]):
            def __contains__(self, key: object) -> bool:
                return handlers.pop(ECHO, None) is not None

        served.streams.handlers = Fleeting()
        stream = await served.propose()
        assert await reset_of(stream) == StreamCode.NEGOTIATION_FAILED
        assert served.in_use == 0
        assert served.events == []


# ---- limits


async def test_the_limit_of_one_connection(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "peerstack.stack.swarm")
    async with serving(limits=Limits(inbound_streams_per_connection=3)) as served:
        streams = [await served.ask() for _ in range(3)]
        for _ in range(50):
            extra = await served.far.open_stream()
            await extra.send_all(b"!")
            assert await reset_of(extra) == StreamCode.RESOURCE_LIMIT
        assert served.in_use == 3
        peer = served.connection.remote_peer
        line = f"{peer}: a stream is refused: our limit of 3 inbound streams in scope 'connection to {peer}' is reached"
        assert caplog.messages == [line] * 3  # a flood of streams is no flood of lines
        await trio.sleep(6)
        await (await served.far.open_stream()).send_all(b"!")
        await trio.testing.wait_all_tasks_blocked()
        assert len(caplog.messages) == 4
        await streams[0].send_eof()
        await trio.testing.wait_all_tasks_blocked()
        await served.ask()


async def test_the_limit_of_one_protocol(autojump_clock: Clock) -> None:
    limits = Limits(inbound_streams_overrides={ECHO: 2})
    async with serving({ECHO: echo, "/other/1": echo}, limits=limits) as served:
        for _ in range(2):
            await served.ask()
        assert await reset_of(await served.propose()) == StreamCode.RESOURCE_LIMIT
        await served.ask("/other/1")
        assert served.in_use == 3


async def test_of_too_many_streams_that_negotiate_the_oldest_makes_room(autojump_clock: Clock) -> None:
    async with serving(limits=Limits(pending_streams=2)) as served:
        stalled = [await served.far.open_stream() for _ in range(3)]
        for stream in stalled:
            await stream.send_all(b"\x13")
        assert await reset_of(stalled[0]) == StreamCode.RESOURCE_LIMIT
        assert served.scopes.transient.statistics()["streams"] == 2
        # Neither others' nor our own streams are kept back.
        await served.ask()
        assert await reset_of(stalled[1]) == StreamCode.RESOURCE_LIMIT
        await (await served.far.open_stream()).send_all(b"\x13")
        await trio.testing.wait_all_tasks_blocked()
        assert served.scopes.transient.statistics()["streams"] == 2
        await served.streams.open(served.connection, ["/theirs/1"], supported=True)
        assert await reset_of(stalled[2]) == StreamCode.RESOURCE_LIMIT


async def test_our_own_streams_do_not_make_room(autojump_clock: Clock) -> None:
    async with serving(limits=Limits(pending_streams=1)) as served:
        served.nursery.start_soon(partial(served.streams.open, served.connection, ["/theirs/1"], supported=False))
        await trio.testing.wait_all_tasks_blocked()
        stream = await served.propose()
        assert await reset_of(stream) == StreamCode.RESOURCE_LIMIT
        served.nursery.cancel_scope.cancel()


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


async def test_an_early_proposal_is_told_of_like_any_other(autojump_clock: Clock) -> None:
    async with serving() as served:
        stream = await served.streams.open(served.connection, ["/theirs/1"], supported=True)
        assert served.in_use == 1
        await stream.aclose()
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
        await served.streams.open(served.connection, ["/theirs/1"], supported=True)
        served.near.pipe.abort()
        await served.near.ended.wait()
        assert served.in_use == 0
        assert len(served.observer.of(StreamClosed)) == 1
        with pytest.raises(ConnectionLost):
            await served.streams.open(served.connection, ["/theirs/1"], supported=True)
        assert served.in_use == 0
