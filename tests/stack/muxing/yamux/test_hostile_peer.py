"""Peers that ask and never read, open and never use, promise and never send: all bounded, all survived."""

import tracemalloc
from collections.abc import Callable

import pytest
import trio
import trio.testing

from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.muxing.yamux import Config
from peerstack.stack.muxing.yamux.connection import MAX_QUEUED
from peerstack.stack.muxing.yamux.wire import DATA, INITIAL_WINDOW, PING, RST, SYN, WINDOW_UPDATE

from .cores import frame
from .raw import RawPeer, against_raw, raises

UNLIMITED = Config(opens_per_second=10**9, idle_frames_per_second=10**9, max_inbound_streams=1, accept_backlog=1)


def pings(number: int) -> bytes:
    return frame(PING, SYN, 0, number)


def refused_opens(number: int) -> bytes:
    return frame(DATA, SYN, 101 + 2 * number)


async def flood(peer: RawPeer, make: Callable[[int], bytes], count: int) -> int:
    """Send frames without ever reading; return the most that waited to be sent back."""
    most = 0
    for start in range(0, count, 1000):
        data = b"".join(make(start + number) for number in range(1000))
        try:
            await peer.pipe.send_all(data)
        except trio.BrokenResourceError:
            break
        await trio.testing.wait_all_tasks_blocked()
        most = max(most, peer.side.connection._channel.queued)  # type: ignore[attr-defined]  # a YamuxConnection
    return most


@pytest.mark.parametrize("make", [pings, refused_opens])
async def test_a_peer_that_never_reads_its_answers_is_cut_off(make: Callable[[int], bytes]) -> None:
    # CVE-2024-32984
    async with against_raw(UNLIMITED, capacity=20_000) as peer:
        stream = await peer.accepted()
        most = await flood(peer, make, 300_000)
        assert MAX_QUEUED - 20_000 < most <= MAX_QUEUED + 20_000
        await peer.side.ended.wait()
        assert isinstance(peer.side.failure, RemoteProtocolError)
        assert "does not read them" in str(peer.side.failure)
        await raises(ConnectionLost, stream.receive_some)


async def test_a_peer_that_reads_its_answers_may_ask_as_much() -> None:
    async with against_raw(UNLIMITED, capacity=20_000) as peer:
        for _ in range(100):
            await peer.send(*[pings(1)] * 1000)
            assert peer.received() == []
        assert peer.side.failure is None


async def test_a_ping_flood_ends_at_the_rate() -> None:
    async with against_raw(Config(idle_frames_per_second=1000), capacity=50_000) as peer:
        await flood(peer, pings, 3000)
        await peer.side.ended.wait()
        assert isinstance(peer.side.failure, RemoteProtocolError)
        assert "without content" in str(peer.side.failure)


async def test_rapid_reset_ends_at_the_rate_and_leaves_nothing() -> None:
    async with against_raw(Config(opens_per_second=1000)) as peer:
        await flood(peer, lambda n: frame(DATA, SYN, 1 + 2 * n) + frame(WINDOW_UPDATE, RST, 1 + 2 * n), 3000)
        await peer.side.ended.wait()
        assert isinstance(peer.side.failure, RemoteProtocolError)
        assert "opened in a second" in str(peer.side.failure)
        assert peer.connection.stream_count == 0
        assert not peer.connection._streams


@pytest.mark.parametrize("length", [INITIAL_WINDOW + 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize(("flags", "stream_id"), [(SYN, 3), (0, 1), (0, 99)])
async def test_a_length_is_never_taken_for_granted(length: int, flags: int, stream_id: int) -> None:
    async with against_raw() as peer:
        await peer.accepted()
        tracemalloc.start()
        try:
            await peer.send(frame(DATA, flags, stream_id, length))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert isinstance(peer.side.failure, RemoteProtocolError)
        assert peak < 1024 * 1024


async def test_an_honest_length_is_not_allocated_before_its_bytes_come() -> None:
    async with against_raw() as peer:
        await peer.accepted()
        tracemalloc.start()
        try:
            await peer.send(frame(DATA, 0, 1, INITIAL_WINDOW))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 200_000
        assert peer.side.failure is None


async def test_a_handler_that_reads_nothing_does_not_stop_the_others() -> None:
    async with against_raw() as peer:
        lazy = await peer.accepted(1)
        busy = await peer.accepted(3)
        await peer.send(frame(DATA, 0, 1, body=bytes(INITIAL_WINDOW)))
        for _ in range(20):
            await peer.send(frame(DATA, 0, 3, body=bytes(100_000)))
            got = 0
            while got < 100_000:
                got += len(await busy.receive_some())
        assert len(await lazy.receive_some()) > 0


async def test_a_stream_s_reader_that_is_slow_does_not_keep_the_others_from_sending() -> None:
    async with against_raw(capacity=4 * 1024 * 1024) as peer:
        first = await peer.accepted(1)
        second = await peer.accepted(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.send_all, bytes(2 * INITIAL_WINDOW))
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(10):
                await second.send_all(bytes(10_000))
            assert sum(length for _, _, stream_id, length in peer.received() if stream_id == 3) == 100_000
            nursery.cancel_scope.cancel()
