"""Perf moves exactly what was asked for, one direction after the other, and no client gets more than is allowed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from peerstack.protocols.perf import PerfConfig, PerfResult, measure, serve
from peerstack.stack.abc import OpensStreams, Stream, StreamHandler
from peerstack.stack.errors import LimitExceeded, Refused, RemoteProtocolError
from peerstack.stack.identity import PeerId

HostServing = Callable[[StreamHandler], OpensStreams]
StreamPair = tuple[Stream, Stream]

SERVER = partial(serve, config=PerfConfig())


async def read_to_end(stream: Stream) -> bytes:
    return b"".join([chunk async for chunk in stream])


@pytest.mark.parametrize(
    ("upload", "download"), [(0, 0), (1, 0), (0, 1), (1, 1), (256 * 1024 + 1, 0), (0, 600_000), (300_000, 300_000)]
)
async def test_exactly_what_was_asked_for_is_moved(
    host_serving: HostServing, peer: PeerId, upload: int, download: int
) -> None:
    received: list[int] = []

    async def counting(stream: Stream) -> None:
        async def receive_some(max_bytes: int | None = None) -> bytes:
            chunk = await original(max_bytes)
            received.append(len(chunk))
            return bytes(chunk)

        original, stream.receive_some = stream.receive_some, receive_some  # type: ignore[method-assign]  # a tap
        await SERVER(stream)

    result = await measure(host_serving(counting), peer, upload=upload, download=download)
    assert (result.upload_bytes, result.download_bytes) == (upload, download)
    assert sum(received) == 8 + upload


async def test_each_direction_is_timed_for_itself(
    host_serving: HostServing, peer: PeerId, autojump_clock: MockClock
) -> None:
    async def slow(stream: Stream) -> None:
        assert await read_to_end(stream) == (5).to_bytes(8, "big") + bytes(10)
        await trio.sleep(2)
        await stream.send_all(bytes(2))
        await trio.sleep(3)
        await stream.send_all(bytes(3))

    assert await measure(host_serving(slow), peer, upload=10, download=5) == PerfResult(10, 2.0, 5, 3.0)


async def test_progress_is_told_in_both_directions(host_serving: HostServing, peer: PeerId) -> None:
    seen: list[tuple[int, int]] = []
    size = 300_000
    await measure(
        host_serving(SERVER), peer, upload=size, download=size, on_progress=lambda up, down: seen.append((up, down))
    )
    assert seen[:2] == [(256 * 1024, 0), (size, 0)]
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


@pytest.mark.parametrize(("upload", "download"), [(-1, 0), (0, -1), (0, 1 << 64)])
async def test_impossible_sizes_are_refused(
    host_serving: HostServing, peer: PeerId, upload: int, download: int
) -> None:
    with pytest.raises(ValueError, match="cannot move"):
        await measure(host_serving(SERVER), peer, upload=upload, download=download)


@pytest.mark.parametrize(("sent", "told"), [(9, "sent 9"), (0, "sent 0"), (11, "sent more"), (1 << 20, "sent more")])
async def test_another_number_of_bytes_than_asked_for_is_the_peers_error(
    host_serving: HostServing, peer: PeerId, sent: int, told: str
) -> None:
    async def wrong(stream: Stream) -> None:
        await read_to_end(stream)
        await stream.send_all(bytes(sent))

    with pytest.raises(RemoteProtocolError, match=told):
        await measure(host_serving(wrong), peer, upload=1, download=10)


# --- the serving side


@pytest.mark.parametrize("bad", [{"max_upload": -1}, {"max_download": 1 << 64}, {"max_seconds": 0}])
def test_limits_out_of_range_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        PerfConfig(**bad)  # type: ignore[arg-type]  # the field is a parameter


async def test_a_request_for_all_bytes_there_are_is_refused_before_anything_is_sent(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    await far.send_all(b"\xff" * 8)
    with pytest.raises(LimitExceeded, match="bytes to send back"):
        await serve(near, PerfConfig(max_download=1000))


async def test_an_endless_upload_is_cut(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    await far.send_all(bytes(8) + bytes(1001))
    with pytest.raises(LimitExceeded, match="1000 bytes to receive"):
        await serve(near, PerfConfig(max_upload=1000))


async def test_other_peers_are_refused_where_only_some_are_allowed(stream_pair: StreamPair, peer: PeerId) -> None:
    near, far = stream_pair
    with pytest.raises(Refused, match="not served"):
        await serve(near, PerfConfig(allowed=frozenset({peer})))
    await far.send_all(bytes(8))
    await far.send_eof()
    await serve(near, PerfConfig(allowed=frozenset({near.remote_peer})))


@pytest.mark.parametrize("header", [b"", b"\0" * 7])
async def test_the_end_inside_the_header_is_the_peers_error(stream_pair: StreamPair, header: bytes) -> None:
    near, far = stream_pair
    await far.send_all(header)
    await far.send_eof()
    with pytest.raises(RemoteProtocolError, match=f"after {len(header)} of the 8"):
        await serve(near, PerfConfig())


async def test_nothing_is_sent_back_before_the_upload_has_ended(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, config=PerfConfig()), near)
        await far.send_all((3).to_bytes(8, "big"))
        with trio.move_on_after(0) as early:
            await trio.testing.wait_all_tasks_blocked()
            await far.receive_some()
        assert early.cancelled_caught
        await far.send_eof()
        assert await read_to_end(far) == bytes(3)


async def test_an_exchange_that_takes_too_long_is_reset(stream_pair: StreamPair, autojump_clock: MockClock) -> None:
    near, far = stream_pair
    await far.send_all((1 << 30).to_bytes(8, "big"))
    await far.send_eof()
    await serve(near, PerfConfig(max_seconds=20))
    assert trio.current_time() == 20
    with pytest.raises(trio.BrokenResourceError):
        await read_to_end(far)
