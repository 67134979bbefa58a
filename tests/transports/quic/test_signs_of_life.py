"""What a QUIC connection knows of whether its peer is alive, and of what the peer has received."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from peerstack.stack.abc import ConnectionState
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.transports.quic import QuicConfig
from peerstack.transports.quic.connection import MAX_ABANDONED

from .hosts import Pair, connected
from .link import MemoryNetwork

Clock = trio.testing.MockClock
ALIVE, SUSPECTED = ConnectionState.ALIVE, ConnectionState.SUSPECTED


def cut(network: MemoryNetwork) -> None:
    """Pull the cable."""

    def lose(datagram: bytes, source: SocketAddress, destination: SocketAddress) -> None:
        return None

    network.tap = lose


def mend(network: MemoryNetwork) -> None:
    network.tap = lambda datagram, source, destination: datagram


async def is_waiting(ask: Callable[[], Awaitable[None]], seconds: float) -> bool:
    with trio.move_on_after(seconds) as scope:
        await ask()
    return scope.cancelled_caught


async def say(pair: Pair, data: bytes) -> None:
    stream = await pair.near.open_stream()
    await stream.send_all(data)


async def test_a_quiet_connection_is_alive(autojump_clock: Clock) -> None:
    async with connected() as pair:
        await say(pair, b"hello")
        for _ in range(20):
            await trio.sleep(1)
            assert pair.near.state is pair.far.state is ALIVE


async def test_one_is_suspected_when_what_was_sent_is_not_acknowledged(autojump_clock: Clock) -> None:
    async with connected() as pair:
        await trio.sleep(5)
        cut(pair.network)
        assert pair.near.state is ALIVE  # nothing is owed
        await say(pair, b"hello?")
        await trio.sleep(1)
        assert pair.near.state is ALIVE
        await trio.sleep(1.1)
        assert pair.near.state is SUSPECTED
        assert pair.far.state is ALIVE


async def test_a_probe_waits_until_the_peer_is_back(autojump_clock: Clock) -> None:
    async with connected() as pair:
        await trio.sleep(1)
        cut(pair.network)
        assert await is_waiting(pair.near.probe, 4)
        assert pair.near.state is SUSPECTED
        mend(pair.network)
        assert not await is_waiting(pair.near.probe, 10)
        assert pair.near.state is ALIVE


async def test_what_is_lost_is_not_acknowledged_until_it_was_sent_again(autojump_clock: Clock) -> None:
    async with connected() as pair:
        await trio.sleep(1)
        cut(pair.network)
        await say(pair, b"one")
        assert await is_waiting(pair.near.wait_acknowledged, 3)
        mend(pair.network)
        assert not await is_waiting(pair.near.wait_acknowledged, 10)
        accepted = await pair.far.accept_stream()
        assert await accepted.receive_some() == b"one"


async def test_what_was_reset_is_not_waited_for(autojump_clock: Clock) -> None:
    async with connected() as pair:
        cut(pair.network)
        stream = await pair.near.open_stream()
        await stream.send_all(b"lost")
        stream.reset()
        assert not await is_waiting(pair.near.wait_acknowledged, 1)


async def test_what_is_waited_for_in_vain_is_bounded(autojump_clock: Clock) -> None:
    async with connected() as pair:
        await trio.sleep(1)
        cut(pair.network)
        await say(pair, b"lost")
        marks = set()
        for _ in range(3 * MAX_ABANDONED):
            assert await is_waiting(pair.near.wait_acknowledged, 0.1)
            marks |= pair.near._abandoned
        assert len(marks) == MAX_ABANDONED
        mend(pair.network)
        assert not await is_waiting(pair.near.wait_acknowledged, 10)
        assert not pair.near._abandoned


@pytest.mark.aioquic  # which queues what the peer has no room for yet
async def test_a_peer_that_does_not_read_is_waited_for_in_vain_a_bounded_number_of_times(autojump_clock: Clock) -> None:
    async with connected(far=QuicConfig(stream_window=10_000)) as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(bytes(20_000))
        marks = set()
        for _ in range(3 * MAX_ABANDONED):
            assert await is_waiting(pair.near.wait_acknowledged, 0.1)
            marks |= pair.near._abandoned
        assert len(marks) == MAX_ABANDONED
        accepted = await pair.far.accept_stream()
        assert len(await accepted.receive_some(10_000)) == 10_000
        assert not await is_waiting(pair.near.wait_acknowledged, 1)
        assert not pair.near._abandoned
