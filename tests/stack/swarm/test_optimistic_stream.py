"""Streams that propose their protocol with the first bytes, used by two tasks at once."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.stack.abc import MuxedConnection
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.negotiation import negotiate_inbound
from peerstack.stack.swarm.optimistic import OptimisticStream
from peerstack.stack.testing import muxed_pair, seed_scheduler


async def accept_and_echo(connection: MuxedConnection) -> None:
    stream = await connection.accept_stream()
    await negotiate_inbound(stream, ["/echo/1"])
    async for data in stream:
        await stream.send_all(data)
    await stream.aclose()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [10, 5000, 1_000_000])
async def test_one_task_sends_while_another_receives(
    size: int, seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    payload = bytes(size)
    with seed_scheduler(seed):
        received = await send_and_receive(payload)
    assert received == payload


async def send_and_receive(payload: bytes) -> bytes:
    async with muxed_pair(Yamux(), Yamux()) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(accept_and_echo, far.connection)
        stream = OptimisticStream(await near.connection.open_stream(), "/echo/1")

        async def send() -> None:
            await stream.send_all(payload)
            await stream.send_eof()

        nursery.start_soon(send)
        return b"".join([data async for data in stream])


async def test_two_tasks_that_send_at_once_are_told(autojump_clock: trio.testing.MockClock) -> None:
    async with muxed_pair(Yamux(), Yamux()) as (near, _):
        stream = OptimisticStream(await near.connection.open_stream(), "/echo/1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(1_000_000))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await stream.send_all(b"x")
            nursery.cancel_scope.cancel()


async def test_a_cancelled_proposal_is_made_by_the_next_call(autojump_clock: trio.testing.MockClock) -> None:
    async with muxed_pair(Yamux(), Yamux()) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(accept_and_echo, far.connection)
        stream = OptimisticStream(await near.connection.open_stream(), "/echo/1")
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.send_all(b"never")
        assert scope.cancelled_caught
        await stream.send_all(b"then")
        assert await stream.receive_some() == b"then"
        nursery.cancel_scope.cancel()
