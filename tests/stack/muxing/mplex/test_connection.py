"""Mplex connections: what slow readers do to the others, hostile peers, and hosts that choose mplex."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack import DialError, Host, StreamReset, open_host, ping
from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.muxing.mplex import Config, Mplex, MplexConnection
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.testing import PlainChannel, Side, connection_infos, muxed_pair
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .cores import CLOSE_RECEIVER, MESSAGE_INITIATOR, MESSAGE_RECEIVER, NEW, RESET_INITIATOR, frame

Clock = trio.testing.MockClock


@asynccontextmanager
async def against_raw(config: Config | None = None) -> AsyncIterator[tuple[Side, MemoryPipe]]:
    near, raw = memory_pipe_pair(1024 * 1024)
    side = Side(Mplex(config).mux(PlainChannel(near), connection_infos()[1]), near)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.run)
        yield side, raw
        nursery.cancel_scope.cancel()


async def test_a_slow_reader_gets_everything(autojump_clock: Clock) -> None:
    size = 1_000_000
    muxer = Mplex(Config(max_stream_buffer=50_000))
    async with muxed_pair(muxer, muxer) as (near, far):
        async with trio.open_nursery() as nursery:
            stream = await near.connection.open_stream()
            nursery.start_soon(stream.send_all, bytes(size))
            accepted = await far.connection.accept_stream()
            got = 0
            while got < size:
                await trio.sleep(0.01)
                got += len(await accepted.receive_some(20_000))


async def test_a_stream_that_is_not_read_is_reset_and_the_others_go_on(autojump_clock: Clock) -> None:
    muxer = Mplex(Config(max_stream_buffer=50_000, stall_timeout=5))
    async with muxed_pair(muxer, muxer) as (near, far):
        stuck = await near.connection.open_stream()
        await stuck.send_all(b"x")
        unread = await far.connection.accept_stream()
        began = trio.current_time()
        with pytest.raises(StreamReset) as caught:
            await stuck.send_all(bytes(10_000_000))
        assert caught.value.remote
        assert trio.current_time() - began == pytest.approx(5, abs=0.1)
        with pytest.raises(StreamReset, match="a limit of ours"):
            await unread.receive_some()
        other = await near.connection.open_stream()
        await other.send_all(b"alive")
        assert await (await far.connection.accept_stream()).receive_some() == b"alive"


@pytest.mark.parametrize(
    "attack",
    [
        b"\x07\x00",
        frame(0, NEW) * 2,
        b"\x02\xff\xff\xff\x7f",
        b"".join(frame(number, NEW) + frame(number, RESET_INITIATOR) for number in range(20_000)),
    ],
    ids=["unknown flag", "opened twice", "oversized", "rapid reset"],
)
async def test_a_peer_that_breaks_the_rules_loses_the_connection(attack: bytes, autojump_clock: Clock) -> None:
    async with against_raw() as (side, raw):
        stream = await side.connection.open_stream()
        await stream.send_all(b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all, raw, attack)
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            nursery.cancel_scope.cancel()
        await side.ended.wait()
        assert isinstance(side.failure, RemoteProtocolError)
        assert side.connection.stream_count == 0


async def send_all(raw: MemoryPipe, data: bytes) -> None:
    try:
        await raw.send_all(data)
    except trio.BrokenResourceError:
        return


async def test_streams_that_are_not_accepted_are_reset(autojump_clock: Clock) -> None:
    async with against_raw(Config(accept_backlog=3)) as (side, raw):
        await raw.send_all(b"".join(frame(number, NEW) for number in range(5)))
        await trio.testing.wait_all_tasks_blocked()
        assert side.connection.stream_count == 3


async def test_a_peer_that_hangs_up_amid_streams_is_lost(autojump_clock: Clock) -> None:
    async with against_raw() as (side, raw):
        await raw.send_all(frame(0, NEW) + frame(0, MESSAGE_INITIATOR, b"last words"))
        stream = await side.connection.accept_stream()
        await raw.send_eof()
        await side.ended.wait()
        assert isinstance(side.failure, ConnectionLost)
        assert await stream.receive_some() == b"last words"
        with pytest.raises(ConnectionLost):
            await stream.receive_some()


@pytest.mark.parametrize("way", ["read", "close"])
async def test_what_came_before_a_reset_can_be_read_and_is_counted_until_then(way: str, autojump_clock: Clock) -> None:
    async with against_raw() as (side, raw):
        await raw.send_all(frame(0, NEW) + frame(0, MESSAGE_INITIATOR, b"answer") + frame(0, RESET_INITIATOR))
        stream = await side.connection.accept_stream()
        assert isinstance(side.connection, MplexConnection)
        assert side.connection.statistics().buffered_bytes == len(b"answer")
        if way == "read":
            await stream.send_eof()  # nothing is left to be promised
            assert await stream.receive_some() == b"answer"
            with pytest.raises(StreamReset):
                await stream.receive_some()
        await stream.aclose()
        assert side.connection.statistics().buffered_bytes == 0


async def test_an_answer_without_reading_is_followed_by_its_end_only(autojump_clock: Clock) -> None:
    async with against_raw() as (side, raw):
        await raw.send_all(frame(0, NEW) + frame(0, MESSAGE_INITIATOR, bytes(100_000)))
        async with await side.connection.accept_stream() as stream:
            await stream.send_all(b"too large")
        await raw.send_all(frame(0, MESSAGE_INITIATOR, bytes(100_000)))
        await trio.testing.wait_all_tasks_blocked()
        assert raw.incoming.take() == frame(0, MESSAGE_RECEIVER, b"too large") + frame(0, CLOSE_RECEIVER)


# ---- hosts


@asynccontextmanager
async def hosts() -> AsyncIterator[tuple[Host, Host]]:
    network = MemoryNetwork()
    async with (
        open_host(transports=[MemoryTransport(network)], muxers=[Yamux(), Mplex()], listen=["/memory/0"]) as alice,
        open_host(transports=[MemoryTransport(network)], muxers=[Mplex()]) as bob,
    ):
        yield alice, bob


async def test_hosts_that_have_mplex_in_common(autojump_clock: Clock) -> None:
    async with hosts() as (alice, bob):
        await bob.connect(alice.addresses[0])
        (connection,) = bob.connections()
        assert connection.info.muxer == "/mplex/6.7.0"
        assert connection.rtt is None
        assert await ping(bob, alice.peer_id) >= 0


async def test_a_host_of_the_defaults_does_not_speak_it(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with (
        open_host(transports=[MemoryTransport(network)], listen=["/memory/0"]) as alice,
        open_host(transports=[MemoryTransport(network)], muxers=[Mplex()]) as bob,
    ):
        with pytest.raises(DialError, match=r"/mplex/6\.7\.0"):
            await bob.connect(alice.addresses[0])
