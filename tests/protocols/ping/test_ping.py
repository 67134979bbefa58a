"""Ping measures round trips, checks what comes back, and gives no peer a task to hold for ever."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from peerstack.protocols.ping import PingConfig, ping, pings, serve
from peerstack.stack.abc import OpensStreams, Stream, StreamHandler
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.identity import PeerId

HostServing = Callable[[StreamHandler], OpensStreams]
StreamPair = tuple[Stream, Stream]


async def read_exactly(stream: Stream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = await stream.receive_some(count - len(data))
        assert chunk
        data += chunk
    return bytes(data)


@pytest.mark.parametrize("config", [{"idle": 0.0}, {"total": -1.0}])
def test_deadlines_that_leave_no_time_are_refused(config: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="deadlines must be positive"):
        PingConfig(**config)


async def test_the_median_round_trip_is_returned(
    host_serving: HostServing, peer: PeerId, autojump_clock: MockClock
) -> None:
    delays = iter([0.5, 0.1, 0.2])

    async def slow_echo(stream: Stream) -> None:
        for delay in delays:
            payload = await read_exactly(stream, 32)
            await trio.sleep(delay)
            await stream.send_all(payload)

    assert await ping(host_serving(slow_echo), peer, count=3) == pytest.approx(0.2)


async def test_both_sides_agree_and_close_in_order(host_serving: HostServing, peer: PeerId) -> None:
    ends: list[bytes] = []

    async def watched(stream: Stream) -> None:
        await serve(stream)
        ends.append(b"closed")

    assert await ping(host_serving(watched), peer, count=5) >= 0
    await trio.testing.wait_all_tasks_blocked()
    assert ends == [b"closed"]


async def test_less_than_one_ping_is_no_ping(host_serving: HostServing, peer: PeerId) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        await ping(host_serving(serve), peer, count=0)


async def test_the_caller_sets_the_pace(host_serving: HostServing, peer: PeerId, autojump_clock: MockClock) -> None:
    seen = 0
    async with pings(host_serving(serve), peer) as times:
        async for elapsed in times:
            assert elapsed == 0
            seen += 1
            if seen == 3:
                break
            await trio.sleep(10)
    assert trio.current_time() == 20


async def test_a_wrong_echo_is_the_peers_error(host_serving: HostServing, peer: PeerId) -> None:
    async def liar(stream: Stream) -> None:
        await read_exactly(stream, 32)
        await stream.send_all(bytes(32))
        await trio.sleep_forever()

    with pytest.raises(RemoteProtocolError, match="other bytes"):
        await ping(host_serving(liar), peer)


async def test_an_echo_in_single_bytes_is_an_echo(host_serving: HostServing, peer: PeerId) -> None:
    async def dribbler(stream: Stream) -> None:
        for byte in await read_exactly(stream, 32):
            await stream.send_all(bytes([byte]))

    assert await ping(host_serving(dribbler), peer) >= 0


async def test_a_peer_that_hangs_up_instead_of_answering_has_failed(host_serving: HostServing, peer: PeerId) -> None:
    async def hang_up(stream: Stream) -> None:
        await read_exactly(stream, 32)

    with pytest.raises(RemoteProtocolError, match="ended"):
        await ping(host_serving(hang_up), peer)


async def test_half_an_echo_is_the_peers_error(host_serving: HostServing, peer: PeerId) -> None:
    async def half(stream: Stream) -> None:
        await stream.send_all((await read_exactly(stream, 32))[:16])

    with pytest.raises(RemoteProtocolError, match="inside"):
        await ping(host_serving(half), peer)


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_listener_that_ends_long_streams_is_not_dead(host_serving: HostServing, peer: PeerId, how: str) -> None:
    async def one_round(stream: Stream) -> None:
        await stream.send_all(await read_exactly(stream, 32))
        if how == "reset":
            await stream.receive_some()
            stream.reset()

    async with pings(host_serving(one_round), peer) as times:
        assert [await anext(times) >= 0 for _ in range(3)] == [True] * 3


async def test_a_listener_that_is_gone_after_the_first_round_is_reported(
    host_serving: HostServing, peer: PeerId
) -> None:
    rounds = 0

    async def dying(stream: Stream) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            await stream.send_all(await read_exactly(stream, 32))

    async with pings(host_serving(dying), peer) as times:
        await anext(times)
        with pytest.raises((RemoteProtocolError, trio.BrokenResourceError)):
            await anext(times)
    assert rounds == 2


async def test_a_cancelled_ping_resets_its_stream(
    host_serving: HostServing, peer: PeerId, autojump_clock: MockClock
) -> None:
    outcome: list[type[Exception]] = []

    async def silent(stream: Stream) -> None:
        await read_exactly(stream, 32)
        try:
            await stream.receive_some()
        except trio.BrokenResourceError as error:
            outcome.append(type(error))

    with pytest.raises(trio.TooSlowError), trio.fail_after(5):
        await ping(host_serving(silent), peer)
    await trio.testing.wait_all_tasks_blocked()
    assert outcome == [trio.BrokenResourceError]


# --- the answering side


async def dribble(stream: Stream) -> None:
    for _ in range(32):
        await stream.send_all(b"x")
        await trio.sleep(1)


async def ping_for_ever(stream: Stream) -> None:
    while True:
        await stream.send_all(bytes(32))
        await read_exactly(stream, 32)
        await trio.sleep(9)


async def send_for_ever(stream: Stream) -> None:
    while True:
        await stream.send_all(bytes(32))


async def test_pings_in_pieces_are_echoed_whole_and_the_end_is_answered_by_the_end(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, near)
        sent = bytes(range(64))
        for start in range(0, 64, 7):
            await far.send_all(sent[start : start + 7])
        await far.send_eof()
        assert await read_exactly(far, 64) == sent
        assert await far.receive_some() == b""


async def test_the_end_inside_a_ping_is_the_peers_error(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    await far.send_all(bytes(31))
    await far.send_eof()
    with pytest.raises(RemoteProtocolError, match="inside"):
        await serve(near)


async def test_a_silent_stream_is_reset_after_the_idle_time(stream_pair: StreamPair, autojump_clock: MockClock) -> None:
    near, far = stream_pair
    await serve(near)
    assert trio.current_time() == 30
    with pytest.raises(trio.BrokenResourceError):
        await far.receive_some()


async def test_a_ping_dribbled_too_slowly_is_cut(stream_pair: StreamPair, autojump_clock: MockClock) -> None:
    near, far = stream_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, near)
        with pytest.raises(trio.BrokenResourceError):
            await dribble(far)
    assert trio.current_time() == 30


async def test_an_endless_loop_of_pings_ends(stream_pair: StreamPair, autojump_clock: MockClock) -> None:
    near, far = stream_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, config=PingConfig(idle=10, total=25)), near)
        with pytest.raises(trio.BrokenResourceError):
            await ping_for_ever(far)
    assert trio.current_time() == 27


async def test_a_peer_that_never_reads_its_echoes_is_cut(stream_pair: StreamPair, autojump_clock: MockClock) -> None:
    near, far = stream_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, near)
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(far)
    assert trio.current_time() == 30
