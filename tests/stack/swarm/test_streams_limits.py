"""What bounds inbound streams: the deadline of their negotiation, and limits by scope."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from peerstack.stack.abc import StreamHandler
from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import (
    NegotiationError,
)
from peerstack.stack.limits import Limits
from peerstack.stack.negotiation import negotiate_outbound

from .serving import ECHO, echo, reset_of, serving

Clock = trio.testing.MockClock


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
