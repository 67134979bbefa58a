"""The conformance suite for connections with streams, of muxers and native transports: how streams end.

Two rules: what arrived before the other side's reset can still be read; and `send_all` never says that it took what is
thrown away since our own side has begun to close.
"""

from __future__ import annotations

from contextlib import suppress

import trio
import trio.testing

from ..abc import Stream
from ..errors import StreamReset
from .checks import (
    raising,
    receive_exactly,
    receive_until_end,
    receive_what_comes,
    require,
    run_checks,
    send_overtaken,
    some_bytes,
)
from .connections import ConnectionSubject, open_pair

_STEPS = 6
"""Most steps of the scheduler by which a close follows a send."""


async def check_endings(subject: ConnectionSubject) -> None:
    """Check how the streams of a muxer or a native transport end."""
    await run_checks(_CHECKS, subject, settle=subject.settle)


async def _answer_before_reset(subject: ConnectionSubject) -> None:
    """What arrived before a reset of the other side can be read, then StreamReset is raised; send_eof raises nothing.

    A peer that answers and drops its stream resets it right behind the answer.
    """
    for swapped in (False, True):
        async with subject.streams() as pair:
            asking, answering = pair[::-1] if swapped else pair
            answer = some_bytes(1000)
            await asking.send_all(b"question")
            require(await receive_exactly(answering, 8) == b"question", "the question was lost")
            await answering.send_all(answer)
            got = await receive_exactly(asking, 1)  # so that the rest has arrived, too
            answering.reset()
            await _wait_until_reset(asking, subject.settle)
            await asking.send_eof()
            got += await _receive_until_reset(asking)
            require(got == answer, f"of {len(answer)} bytes that arrived before the reset {len(got)} could be read")
            await asking.aclose()


async def _own_reset(subject: ConnectionSubject) -> None:
    """After our own reset nothing comes out any more, and nothing can be given back."""
    async with subject.streams() as (stream, accepted):
        await accepted.send_all(b"answer")
        require(await stream.receive_some(1) == b"a", "another byte came out")
        stream.reset()
        stream.unread(b"a")
        with raising("receiving after our own reset", trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.receive_some()
        with raising("send_eof after our own reset", trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_eof()


async def _answer_without_reading(subject: ConnectionSubject) -> None:
    """The whole answer of a side that closes without reading a large question arrives."""
    question, answer = some_bytes(3_000_000), some_bytes(100_000, seed=1)

    async def ask(stream: Stream) -> None:
        # Some protocols tell the asking side that it need not go on.
        with suppress(StreamReset):
            await stream.send_all(question)
        await stream.send_eof()

    for swapped in (False, True):
        async with subject.streams() as pair:
            asking, answering = pair[::-1] if swapped else pair
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, asking)
                async with answering:
                    require(await answering.receive_some(1) == question[:1], "the question began with another byte")
                    await answering.send_all(answer)
                require(await receive_until_end(asking) == answer, "the answer was cut short")
            await asking.aclose()


async def _answer_after_question(subject: ConnectionSubject) -> None:
    """A side that reads only once it has sent all of a large question gets the answer of one that did not read it."""
    question = some_bytes(2_000_000)
    async with subject.streams() as (asking, answering):
        async with answering:
            await answering.send_all(b"too large")
        with suppress(StreamReset):
            await asking.send_all(question)
        await asking.send_eof()
        require(await receive_until_end(asking) == b"too large", "the answer was lost")


async def _close_overtakes_send(subject: ConnectionSubject) -> None:
    """A send that our own close overtakes raises, or all of it arrives."""
    for size in (1, 1000, 200_000):
        for steps in range(_STEPS):
            async with subject.streams() as (stream, accepted):
                took = await send_overtaken(stream, some_bytes(size), steps, stream.aclose)
                got = await receive_what_comes(accepted)
                require(not took or len(got) == size, f"send_all took {size} bytes, and {len(got)} arrived")
                require(some_bytes(size).startswith(got), "bytes came out changed")


async def _reset_overtakes_send(subject: ConnectionSubject) -> None:
    """A send that waits when our own side resets the stream raises; so does one after it."""

    async def reset() -> None:
        stream.reset()

    async with subject.streams() as (stream, _):
        if subject.flow_control:
            took = await send_overtaken(stream, some_bytes(30_000_000), _STEPS, reset)
            require(not took, "send_all took 30 MB that were not read, and then reset")
        await reset()
        with raising("sending after our own reset", trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(b"x")


async def _connection_close_overtakes_sends(subject: ConnectionSubject) -> None:
    """What was taken before our side closed the connection arrives; what comes later raises."""
    piece = some_bytes(100)
    for steps in range(_STEPS):
        async with subject.sides() as (near, far):
            stream, accepted = await open_pair(near.connection, far.connection)
            taken = 0
            received = b""

            async def send(stream: Stream = stream) -> None:
                nonlocal taken
                with raising("sending while our side closes", trio.BrokenResourceError, trio.ClosedResourceError):
                    while True:
                        await stream.send_all(piece)
                        taken += len(piece)

            async def receive(accepted: Stream = accepted) -> None:
                nonlocal received
                received = await receive_what_comes(accepted)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                nursery.start_soon(send)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                await near.connection.aclose()
                with raising("send_eof after our side closed", trio.BrokenResourceError, trio.ClosedResourceError):
                    await stream.send_eof()
            require(len(received) >= taken, f"{taken} bytes were taken, and {len(received)} arrived")


async def _wait_until_reset(stream: Stream, settle: float) -> None:
    """Wait until our side knows of the other's reset, without reading."""
    while True:
        try:
            await stream.send_all(b"x")
        except StreamReset as error:
            require(error.remote, "the reset came from the other side, but remote is False")
            return
        await trio.sleep(settle)


async def _receive_until_reset(stream: Stream) -> bytes:
    got = b""
    while True:
        try:
            piece = await stream.receive_some()
        except StreamReset as error:
            require(error.remote, "the reset came from the other side, but remote is False")
            return got
        require(piece, "a stream that was reset ended as if it was all")
        got += piece


_CHECKS = (
    _answer_before_reset,
    _own_reset,
    _answer_without_reading,
    _answer_after_question,
    _close_overtakes_send,
    _reset_overtakes_send,
    _connection_close_overtakes_sends,
)
