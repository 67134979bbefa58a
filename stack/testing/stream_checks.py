"""The conformance suite for connections with streams, of muxers and native transports: the streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from ..abc import MuxedConnection, Stream
from ..errors import StreamReset
from .checks import (
    cancel_at_each_step,
    clog,
    raising,
    receive_exactly,
    receive_until_end,
    require,
    run_checks,
    some_bytes,
    transfer,
)
from .connections import ConnectionSubject, StreamPair, open_pair


async def check_streams(subject: ConnectionSubject) -> None:
    """Check the streams of a muxer or a native transport."""
    checks = (*_CHECKS, *_FLOW_CONTROL_CHECKS) if subject.flow_control else _CHECKS
    await run_checks(checks, subject, settle=subject.settle)


async def _both_sides_open(subject: ConnectionSubject) -> None:
    """Either side can open streams, bytes go both ways, and a stream knows its connection."""
    async with subject.sides() as (near, far):
        for opener, acceptor in ((near.connection, far.connection), (far.connection, near.connection)):
            for size in (1, 1000, 70_000, 300_000):
                stream, accepted = await open_pair(opener, acceptor)
                require(stream.connection is opener, "stream.connection is another connection")
                require(accepted.remote_peer == acceptor.info.remote_peer, "stream.remote_peer is another peer")
                await transfer(stream, accepted, some_bytes(size, seed=1))
                await transfer(accepted, stream, some_bytes(size, seed=2))
                await stream.aclose()
                await accepted.aclose()


async def _trio_suite(subject: ConnectionSubject) -> None:
    """Streams pass trio's own suite for half-closeable streams."""
    async with subject.sides() as (near, far):

        async def make() -> StreamPair:
            return await open_pair(near.connection, far.connection)

        async def make_clogged() -> StreamPair:
            pair = await make()
            async with trio.open_nursery() as nursery:
                for stream in pair:
                    nursery.start_soon(clog, stream, subject.settle)
            return pair

        await trio.testing.check_half_closeable_stream(make, make_clogged)


async def _half_close(subject: ConnectionSubject) -> None:
    """After send_eof of one side the other can go on, and its end arrives after its bytes."""
    for swapped in (False, True):
        async with subject.streams() as pair:
            one, other = pair[::-1] if swapped else pair
            await one.send_all(b"question")
            await one.send_eof()
            require(await receive_until_end(other) == b"question", "bytes before the end were lost")
            await transfer(other, one, some_bytes(500_000))
            await other.send_eof()
            require(await one.receive_some() == b"", "the second end did not arrive")
            require(await one.receive_some() == b"", "the end did not last")


async def _handler_closes(subject: ConnectionSubject) -> None:
    """The whole answer of a side that closes at once arrives."""
    async with subject.streams() as (stream, accepted):
        answer = some_bytes(100_000)

        async def handle() -> None:
            async with accepted:
                require(await receive_until_end(accepted) == b"question", "the question was lost")
                await accepted.send_all(answer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(handle)
            await stream.send_all(b"question")
            await stream.send_eof()
            require(await receive_until_end(stream) == answer, "the answer was cut short")
        await stream.aclose()


async def _reset(subject: ConnectionSubject) -> None:
    """A reset reaches the other side as StreamReset with remote=True, in both directions; repeating it is harmless."""
    async with subject.streams() as (stream, accepted):

        async def expect_reset() -> None:
            await _expect_remote_reset(accepted.receive_some)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_reset)
            await trio.testing.wait_all_tasks_blocked()
            stream.reset()
            stream.reset()
        await _expect_remote_reset(accepted.receive_some)
        await _expect_remote_reset(lambda: accepted.send_all(b"x"))
        with raising("sending after our own reset", trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(b"x")
        with raising("receiving after our own reset", trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.receive_some()
        accepted.reset()
        await stream.aclose()
        await accepted.aclose()
        stream.reset()


async def _reset_wakes(subject: ConnectionSubject) -> None:
    """A reset wakes tasks that wait on the stream, on both sides: to send, and to receive."""

    async def expect_broken(operation: Callable[[], Awaitable[object]]) -> None:
        with raising("waiting on a stream that is reset", trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                await operation()

    async with subject.streams() as (stream, accepted), trio.open_nursery() as nursery:
        for one in (stream, accepted):
            await clog(one, subject.settle)
        nursery.start_soon(expect_broken, lambda: stream.send_all(b"x"))
        nursery.start_soon(expect_broken, lambda: accepted.send_all(b"x"))
        await trio.testing.wait_all_tasks_blocked()
        accepted.reset()
    async with subject.streams() as (stream, accepted), trio.open_nursery() as nursery:
        nursery.start_soon(expect_broken, stream.receive_some)
        nursery.start_soon(expect_broken, accepted.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        stream.reset()


async def _many(subject: ConnectionSubject) -> None:
    """Two hundred streams at once, opened from both sides, do not mix."""

    async def echo(connection: MuxedConnection, count: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(_echo_one, await connection.accept_stream())

    async def ask(connection: MuxedConnection, seed: int) -> None:
        data = some_bytes(1000 + 100 * seed, seed)
        async with await connection.open_stream() as stream:
            await transfer(stream, stream, data)
            await stream.send_eof()
            require(await stream.receive_some() == b"", "more came back than was sent")

    async with subject.sides() as (near, far):
        async with trio.open_nursery() as nursery:
            for side in near, far:
                nursery.start_soon(echo, side.connection, 100)
            for seed in range(100):
                nursery.start_soon(ask, near.connection, seed)
                nursery.start_soon(ask, far.connection, 100 + seed)
        for side in near, far:
            require(side.connection.stream_count == 0, f"{side.connection.stream_count} streams are still counted")
            told = len(side.closed_streams)
            require(told == 200, f"on_stream_closed was called {told} times for 200 streams")


async def _stalled_reader(subject: ConnectionSubject) -> None:
    """A stream that is not read stalls its own sender only, and loses nothing."""
    data = some_bytes(3_000_000)
    async with subject.sides() as (near, far):
        slow_sender, slow_reader = await open_pair(near.connection, far.connection)
        sender, reader = await open_pair(near.connection, far.connection)
        sent = trio.Event()
        begun, enough = 0, False

        async def send_slowly() -> None:
            nonlocal begun
            while begun < 10 and not enough:
                begun += 1
                await slow_sender.send_all(data)
            sent.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_slowly)
            await trio.testing.wait_all_tasks_blocked()
            require(not sent.is_set(), "a stream that is not read took 30 MB")
            await transfer(sender, reader, data)
            await transfer(reader, sender, data)
            enough = True  # to stall once is what counts, not where
            for _ in range(begun):
                require(await receive_exactly(slow_reader, len(data)) == data, "the stalled stream lost bytes")


async def _cancelled_send(subject: ConnectionSubject) -> None:
    """A send that is cancelled leaves a prefix on the stream, and the stream and the connection in order."""
    data = some_bytes(20_000_000)
    async with subject.sides() as (near, far):
        stream, accepted = await open_pair(near.connection, far.connection)
        with trio.move_on_after(subject.settle):
            await stream.send_all(data)
        other, other_accepted = await open_pair(near.connection, far.connection)
        await transfer(other, other_accepted, data[:100_000])
        async with trio.open_nursery() as nursery:

            async def send_the_rest() -> None:
                await stream.send_all(b"marker")
                await stream.send_eof()

            nursery.start_soon(send_the_rest)
            got = await receive_until_end(accepted)
        require(got.endswith(b"marker"), "what was sent after the cancelled send did not arrive")
        require(data.startswith(got[: -len(b"marker")]), "the cancelled send left other bytes than a prefix")


async def _cancelled_at_each_step(subject: ConnectionSubject) -> None:
    """Opening, sending, accepting and receiving can be cancelled at any step without loss or leak."""
    async with subject.sides() as (near, far):
        received: list[bytes | bytearray] = []

        async def exchange() -> None:
            async with await near.connection.open_stream() as stream:
                await stream.send_all(b"ping")
                received.append(await stream.receive_some())

        async def serve() -> None:
            while True:
                await _echo_one(await far.connection.accept_stream())

        async def works_still() -> None:
            received.clear()
            await exchange()
            require(received == [b"ping"], f"after a cancellation {received} came back")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await cancel_at_each_step(exchange, works_still)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        for side in near, far:
            require(side.connection.stream_count == 0, f"{side.connection.stream_count} streams leaked")


async def _cancelled_accept(subject: ConnectionSubject) -> None:
    """An accept cancelled at any step loses no stream."""
    accepted: list[Stream] = []
    async with subject.sides() as (near, far):

        async def open_one() -> None:
            await (await near.connection.open_stream()).send_all(b"x")
            await trio.testing.wait_all_tasks_blocked()

        async def accept() -> None:
            accepted.append(await far.connection.accept_stream())

        async def accept_again() -> None:
            if not accepted:
                await accept()
            require(await accepted.pop().receive_some() == b"x", "the stream came without its byte")
            await open_one()

        await open_one()
        await cancel_at_each_step(accept, accept_again)


async def _cancelled_close(subject: ConnectionSubject) -> None:
    """A close that is cancelled closes all the same: the other side gets the bytes, then the end."""
    async with subject.streams() as (stream, accepted):
        await stream.send_all(b"last words")
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.aclose()
        require(await receive_until_end(accepted) == b"last words", "a cancelled close lost bytes")
        with raising("sending on a closed stream", trio.ClosedResourceError):
            await stream.send_all(b"x")


async def _unread(subject: ConnectionSubject) -> None:
    """What was given back comes first, before the rest and before the end."""
    async with subject.streams() as (stream, accepted):
        await stream.send_all(b"abcdef")
        require(await receive_exactly(accepted, 6) == b"abcdef", "other bytes came out")
        accepted.unread(b"def")
        accepted.unread(b"abc")
        require(await accepted.receive_some(2) == b"ab", "receive_some did not give back what was unread")
        await stream.send_all(b"ghi")
        await stream.send_eof()
        got = await receive_until_end(accepted)
        require(got == b"cdefghi", f"{got!r} came out")
        accepted.unread(b"more")
        require(await receive_until_end(accepted) == b"more", "what was given back after the end is lost")


async def _expect_remote_reset(operation: Callable[[], Awaitable[object]]) -> None:
    try:
        await operation()
    except StreamReset as error:
        require(error.remote, "the reset came from the other side, but remote is False")
    else:
        raise AssertionError("using a stream that the other side reset must raise StreamReset")


async def _echo_one(stream: Stream) -> None:
    async with stream:
        try:
            async for data in stream:
                await stream.send_all(data)
        except trio.BrokenResourceError:
            pass


_CHECKS = (
    _both_sides_open,
    _trio_suite,
    _half_close,
    _handler_closes,
    _reset,
    _reset_wakes,
    _many,
    _cancelled_at_each_step,
    _cancelled_accept,
    _cancelled_close,
    _unread,
)
_FLOW_CONTROL_CHECKS = (_stalled_reader, _cancelled_send)
