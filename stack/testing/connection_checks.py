"""The conformance suite for connections with streams, of muxers and native transports: how connections end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import trio
import trio.testing

from ..abc import ConnectionState, MuxedConnection
from ..errors import ConnectionLost, RemoteProtocolError
from ..memory import MemoryPipe, memory_pipe_pair
from ..security.plaintext import PlainChannel
from .checks import clog, raising, receive_until_end, require, run_checks, some_bytes
from .connections import ConnectionEnd, ConnectionSubject, MuxerSubject, Side, connection_infos, open_pair


async def check_connections(subject: ConnectionSubject) -> None:
    """Check the connections of a muxer or a native transport."""
    await run_checks(_CHECKS, subject, settle=subject.settle)


async def check_broken_pipes(subject: MuxerSubject) -> None:
    """Check what a muxer makes of a pipe that breaks, ends, or brings garbage."""
    await run_checks(_PIPE_CHECKS, subject, settle=subject.settle)


async def _orderly_close(subject: ConnectionSubject) -> None:
    """A close without open streams ends `run` well on both sides."""
    for closer in (0, 1):
        async with subject.sides() as sides:
            stream, accepted = await open_pair(sides[0].connection, sides[1].connection)
            await stream.aclose()
            await accepted.aclose()
            await trio.testing.wait_all_tasks_blocked()
            await sides[closer].connection.aclose()
            await sides[closer].connection.aclose()
            for side in sides:
                await side.ended.wait()
                require(side.failure is None, f"run raised {side.failure!r} after an orderly close")
                await _expect_gone(side)


async def _close_wakes(subject: ConnectionSubject) -> None:
    """A close breaks all streams and wakes every waiter, on both sides."""
    for closer in (0, 1):
        async with subject.sides() as sides, trio.open_nursery() as nursery:
            await _start_waiters(nursery, subject, sides)
            await sides[closer].connection.aclose()


async def _broken_pipe(subject: MuxerSubject) -> None:
    """When the pipe breaks, `run` raises ConnectionLost, and streams and waiters break, on both sides."""
    async with subject.sides() as sides:
        async with trio.open_nursery() as nursery:
            await _start_waiters(nursery, subject, sides)
            sides[0].pipe.abort()
        # The side whose own pipe was closed may raise another error.
        await sides[1].ended.wait()
        require(isinstance(sides[1].failure, ConnectionLost), f"run ended with {sides[1].failure!r}")
        for side in sides:
            await _expect_gone(side)


async def _end_without_go_away(subject: MuxerSubject) -> None:
    """When the peer hangs up while streams are open, that is ConnectionLost, and not an orderly end."""
    async with _against_raw(subject) as (side, raw):
        stream = await side.connection.open_stream()
        await stream.send_all(b"x")
        await raw.send_eof()
        with raising("receive_some when the peer hung up", trio.BrokenResourceError):
            await stream.receive_some()
        await side.ended.wait()
        require(isinstance(side.failure, ConnectionLost), f"run ended with {side.failure!r}")


async def _garbage(subject: MuxerSubject) -> None:
    """Bytes that are no frames end the connection with RemoteProtocolError or ConnectionLost."""
    for seed in range(8):
        async with _against_raw(subject) as (side, raw):
            stream = await side.connection.open_stream()
            await stream.send_all(b"x")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_garbage, raw, seed)
                with raising("receive_some on a connection with garbage", trio.BrokenResourceError):
                    await stream.receive_some()
                nursery.cancel_scope.cancel()
            await side.ended.wait()
            expected = isinstance(side.failure, RemoteProtocolError | ConnectionLost)
            require(expected, f"run ended with {side.failure!r} after garbage")


async def _cancelled_run(subject: ConnectionSubject) -> None:
    """Cancelling `run` breaks the streams, and closes the connection for the other side."""
    async with subject.sides() as (near, far):
        stream, accepted = await open_pair(near.connection, far.connection)
        near.scope.cancel()
        with raising("receive_some after run was cancelled", trio.BrokenResourceError):
            await stream.receive_some()
        with raising("receive_some when the other side is gone", trio.BrokenResourceError):
            await accepted.receive_some()
        await far.ended.wait()
        await _expect_gone(near)


async def _cancelled_close(subject: ConnectionSubject) -> None:
    """A close that is cancelled closes all the same."""
    async with subject.sides() as sides:
        await open_pair(sides[0].connection, sides[1].connection)
        with trio.CancelScope() as scope:
            scope.cancel()
            await sides[0].connection.aclose()
        for side in sides:
            await side.ended.wait()
            await _expect_gone(side)


async def _finished_streams_survive(subject: ConnectionSubject) -> None:
    """Bytes that arrived before an orderly close can still be read, or the stream says that it is broken."""
    async with subject.sides() as (near, far):
        stream, accepted = await open_pair(near.connection, far.connection)
        await stream.send_all(b"last words")
        await stream.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        await near.connection.aclose()
        await far.ended.wait()
        try:
            got = await receive_until_end(accepted)
        except trio.BrokenResourceError:
            return
        require(got == b"last words", f"{got!r} was read as if the stream had ended well")


async def _round_trip_time(subject: ConnectionSubject) -> None:
    """`rtt` is unknown or a number of seconds, never less than zero."""
    async with subject.sides() as sides:
        await open_pair(sides[0].connection, sides[1].connection)
        await trio.testing.wait_all_tasks_blocked()
        for side in sides:
            rtt = side.connection.rtt
            require(rtt is None or rtt >= 0, f"rtt is {rtt}")


async def _acknowledged(subject: ConnectionSubject) -> None:
    """What `wait_acknowledged` has waited for survives the loss of the connection, although it was not read."""
    async with subject.sides() as (near, far), trio.open_nursery() as nursery:
        stream, accepted = await open_pair(near.connection, far.connection)
        nursery.start_soon(_reset_streams, far.connection)
        data = some_bytes(100_000, 1)
        await stream.send_all(data)
        async with trio.open_nursery() as asking:
            for _ in range(3):
                asking.start_soon(near.connection.wait_acknowledged)
        near.scope.cancel()
        got = b""
        with suppress(trio.BrokenResourceError):
            while piece := await accepted.receive_some():
                got += piece
        require(got == data, f"only {len(got)} of {len(data)} bytes had arrived when they were acknowledged")
        nursery.cancel_scope.cancel()


async def _answered_probe(subject: ConnectionSubject) -> None:
    """`probe` returns once the other side has answered, and the connection is alive."""
    async with subject.sides() as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(_reset_streams, far.connection)
        await near.connection.probe()
        state = near.connection.state
        require(state is ConnectionState.ALIVE, f"a connection is {state} although its probe was answered")
        require(str(near.connection.remote_peer) in repr(near.connection), "repr does not name the peer")
        nursery.cancel_scope.cancel()


async def _asked_when_closed(subject: ConnectionSubject) -> None:
    """On a connection that is closed, `probe` and `wait_acknowledged` raise ConnectionLost."""
    async with subject.sides() as sides:
        await open_pair(sides[0].connection, sides[1].connection)
        await sides[0].connection.aclose()
        for side in sides:
            await side.ended.wait()
            require(side.connection.state is ConnectionState.CLOSING, f"it is {side.connection.state}")
            with raising("probe on a connection that is gone", ConnectionLost):
                await side.connection.probe()
            with raising("wait_acknowledged on a connection that is gone", ConnectionLost):
                await side.connection.wait_acknowledged()


async def _reset_streams(connection: MuxedConnection) -> None:
    """Refuse streams: muxers without pings ask by one."""
    with suppress(ConnectionLost):
        while True:
            (await connection.accept_stream()).reset()


async def _start_waiters(
    nursery: trio.Nursery, subject: ConnectionSubject, sides: tuple[ConnectionEnd, ConnectionEnd]
) -> None:
    """Start tasks that wait in every way that a connection offers; its end must wake all of them."""
    near, far = sides
    silent = await open_pair(near.connection, far.connection)
    clogged = await open_pair(near.connection, far.connection)
    for stream in clogged:
        await clog(stream, subject.settle)
    for stream in silent:
        nursery.start_soon(_expect_broken, "receive_some", stream.receive_some)
    for stream in clogged:
        nursery.start_soon(_expect_broken, "send_all", lambda stream=stream: stream.send_all(b"x"))
    for side in sides:
        nursery.start_soon(_expect_broken, "accept_stream", side.connection.accept_stream)
    await trio.testing.wait_all_tasks_blocked()


async def _expect_broken(what: str, operation: Callable[[], Awaitable[object]]) -> None:
    with raising(f"{what} on a connection that ends meanwhile", trio.BrokenResourceError):
        while True:
            await operation()


async def _expect_gone(side: ConnectionEnd) -> None:
    with raising("open_stream on a connection that is gone", ConnectionLost):
        await side.connection.open_stream()
    with raising("accept_stream on a connection that is gone", ConnectionLost):
        await side.connection.accept_stream()
    require(side.connection.stream_count == 0, f"{side.connection.stream_count} streams are open on a dead connection")


async def _send_garbage(pipe: MemoryPipe, seed: int) -> None:
    try:
        await pipe.send_all(b"\xff" * 100_000 if seed == 0 else some_bytes(100_000, seed))
        await pipe.send_eof()
    except trio.BrokenResourceError:
        pass


@asynccontextmanager
async def _against_raw(subject: MuxerSubject) -> AsyncIterator[tuple[Side, MemoryPipe]]:
    """Run one connection, and give the bare pipe at the other end."""
    pipe, raw = memory_pipe_pair(subject.capacity)
    muxer = subject.make_muxer()
    side = Side(muxer.mux(PlainChannel(pipe), connection_infos(muxer.protocol_id)[0]), pipe)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.run)
        yield side, raw
        nursery.cancel_scope.cancel()


_PIPE_CHECKS = (_broken_pipe, _end_without_go_away, _garbage)
_CHECKS = (
    _orderly_close,
    _close_wakes,
    _cancelled_run,
    _cancelled_close,
    _finished_streams_survive,
    _round_trip_time,
    _acknowledged,
    _answered_probe,
    _asked_when_closed,
)
