"""The encrypted channel: what goes in comes out, in frames of the right sizes, whatever stalls or is cancelled."""

from random import Random

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Buffer
from peerstack.stack.errors import ConnectionLost
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security import sealed
from peerstack.stack.security.noise import NoiseChannel
from peerstack.stack.security.noise.wire import LENGTH, MAX_NONCE, MAX_PLAINTEXT, NONCE, TAG_SIZE

from .parties import channel_pair, sessions

FRAME_OVERHEAD = LENGTH.size + TAG_SIZE
EDGES = [8 * 1024, MAX_PLAINTEXT, 2 * MAX_PLAINTEXT, 3 * MAX_PLAINTEXT, 200_000]
SIZES = [*range(40), *(edge + off for edge in EDGES for off in (-2, -1, 0, 1, 2))]


def some_bytes(size: int, seed: int = 0) -> bytes:
    return Random(seed).randbytes(size)


async def read_exactly(receiver: NoiseChannel, size: int) -> bytes:
    data = b""
    while len(data) < size:
        pieces = await receiver.read()
        assert pieces, "the channel ended"
        data += b"".join(pieces)
    return data


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> tuple[list[object], list[object]]:
    """Empty pools of buffers, of segments and for receiving, for this test alone."""
    segments: list[object] = []
    buffers: list[object] = []
    monkeypatch.setattr(sealed, "_free_segments", segments)
    monkeypatch.setattr(sealed, "_free_buffers", buffers)
    return segments, buffers


async def make_pair() -> tuple[NoiseChannel, NoiseChannel]:
    return channel_pair()


async def make_clogged_pair() -> tuple[NoiseChannel, NoiseChannel]:
    near, far = channel_pair(1000)
    for end in near, far:
        end.write([bytes(5000)])
        end.flush_nowait()
    return near, far


async def test_it_is_a_proper_trio_stream() -> None:
    await trio.testing.check_two_way_stream(make_pair, make_clogged_pair)


@pytest.mark.parametrize("size", SIZES)
async def test_a_write_of_any_size_arrives_in_frames_no_larger_than_allowed(size: int) -> None:
    near, far = memory_pipe_pair(1024 * 1024)
    session, theirs = sessions()
    sender = NoiseChannel(near, session)
    data = some_bytes(size)
    sender.write([data])
    queued = sender.queued
    sender.flush_nowait()
    assert sender.queued == 0
    wire = b""
    while far.incoming.size:
        wire += await far.receive_some()
    assert len(wire) == queued
    opened, frames = b"", 0
    while wire:
        length = LENGTH.unpack_from(wire)[0]
        opened += theirs.receive.decrypt(NONCE.pack(frames), wire[2 : 2 + length], None)
        wire = wire[2 + length :]
        frames += 1
    assert opened == data
    assert frames == -(-size // MAX_PLAINTEXT)


async def test_buffers_written_together_are_one_run_of_bytes() -> None:
    random = Random(1)
    sender, receiver = channel_pair()
    sizes = [0, 1, 12, 4096, 8191, 8192, 8193, 65519, 65520, 70_000]
    for _ in range(40):
        pieces = [random.randbytes(random.choice(sizes)) for _ in range(random.randrange(1, 12))]
        sender.write([bytearray(piece) if len(piece) % 2 else memoryview(piece) for piece in pieces])
        sender.flush_nowait()
        assert await read_exactly(receiver, sum(map(len, pieces))) == b"".join(pieces)


async def test_small_buffers_share_a_frame() -> None:
    sender, receiver = channel_pair()
    sender.write([b"header", b"body", b"header", b"body"])
    assert sender.queued == 20 + FRAME_OVERHEAD
    sender.flush_nowait()
    assert await receiver.read() == [b"headerbodyheaderbody"]


async def test_many_small_buffers_fill_one_frame_after_the_other() -> None:
    sender, receiver = channel_pair()
    sender.write([bytes(8000)] * 20)
    assert sender.queued == 160_000 + 3 * FRAME_OVERHEAD
    sender.flush_nowait()
    assert [len(piece) for piece in await receiver.read()] == [64_000, 64_000, 32_000]


async def test_nothing_written_is_nothing_sent() -> None:
    sender, _ = channel_pair()
    sender.write([])
    sender.write([b"", b""])
    await sender.send_all(b"")
    assert sender.queued == 0


async def test_the_caller_may_change_its_buffer_once_written() -> None:
    sender, receiver = channel_pair()
    data = bytearray(b"before")
    large = bytearray(b"b" * 10_000)
    sender.write([data, large])
    data[:] = b"after!"
    large[:] = b"a" * 10_000
    sender.flush_nowait()
    assert await read_exactly(receiver, 10_006) == b"before" + b"b" * 10_000


async def test_empty_frames_are_not_the_end() -> None:
    near, far = memory_pipe_pair()
    mine, theirs = sessions()
    receiver = NoiseChannel(far, theirs)
    frames = [mine.send.encrypt(NONCE.pack(n), content, None) for n, content in enumerate([b"", b"", b"x", b""])]
    near.send_nowait(b"".join(LENGTH.pack(len(frame)) + frame for frame in frames[:2]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect, receiver, [b"x"])
        await trio.testing.wait_all_tasks_blocked()
        near.send_nowait(b"".join(LENGTH.pack(len(frame)) + frame for frame in frames[2:]))


async def expect(receiver: NoiseChannel, pieces: list[bytes]) -> None:
    assert await receiver.read() == pieces


async def test_the_end_between_frames_is_the_end() -> None:
    sender, receiver = channel_pair()
    await sender.send_all(b"last words")
    await sender.aclose()
    assert await receiver.read() == [b"last words"]
    assert await receiver.read() == []
    assert await receiver.receive_some() == b""


async def test_one_direction_can_end_alone() -> None:
    sender, receiver = channel_pair()
    await sender.send_eof()
    assert await receiver.read() == []
    await receiver.send_all(b"answer")
    assert await sender.read() == [b"answer"]


class EagerPipe(MemoryPipe):
    """Says that there may be bytes when there are none yet."""

    async def wait_receive_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_pipe_may_be_wrong_about_having_bytes() -> None:
    near, far = memory_pipe_pair()
    mine, theirs = sessions()
    sender = NoiseChannel(near, mine)
    receiver = NoiseChannel(EagerPipe(far.incoming, far.outgoing), theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect, receiver, [b"x"])
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        sender.write([b"x"])
        sender.flush_nowait()


async def test_the_end_at_any_byte_inside_a_frame_is_an_error() -> None:
    for cut in range(1, 3 + FRAME_OVERHEAD):
        near, far = memory_pipe_pair()
        session, theirs = sessions()
        raw, wire = memory_pipe_pair()
        sender = NoiseChannel(raw, session)
        await sender.send_all(b"abc")
        await near.send_all((await wire.receive_some())[:cut])
        await near.aclose()
        with pytest.raises(ConnectionLost, match="ended inside a Noise frame"):
            await NoiseChannel(far, theirs).read()


async def test_unread_bytes_come_first_and_can_be_taken_in_parts() -> None:
    sender, receiver = channel_pair()
    await sender.send_all(b"rest")
    receiver.unread(b"")
    receiver.unread(b"def")
    receiver.unread(b"abc")
    assert await receiver.receive_some(2) == b"ab"
    assert await receiver.read() == [b"cdef"]
    assert await receiver.read() == [b"rest"]


@pytest.mark.parametrize("limit", [0, -1])
async def test_receiving_at_most_nothing_is_a_mistake(limit: int) -> None:
    _, receiver = channel_pair()
    with pytest.raises(ValueError, match="max_bytes"):
        await receiver.receive_some(limit)


# ---- a peer that does not read


async def test_a_cancelled_flush_loses_and_repeats_nothing() -> None:
    sender, receiver = channel_pair(10_000)
    data = some_bytes(300_000)
    sender.write([data])
    got = b""
    while sender.queued > 50_000:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.flush)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_blocked, scope)
                while True:
                    got += b"".join(await receiver.read())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.flush)
        got += await read_exactly(receiver, len(data) - len(got))
    assert got == data
    assert sender.queued == 0


async def cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_one_task_at_a_time() -> None:
    sender, _ = channel_pair(1000)
    sender.write([bytes(5000)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.flush)
        nursery.start_soon(sender.read)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await sender.flush()
        with pytest.raises(trio.BusyResourceError):
            await sender.send_all(b"x")
        with pytest.raises(trio.BusyResourceError):
            await sender.read()
        nursery.cancel_scope.cancel()


async def test_closing_while_another_task_flushes() -> None:
    sender, _ = channel_pair(1000)
    sender.write([bytes(5000)])
    async with trio.open_nursery() as nursery:

        async def flush() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await sender.flush()

        nursery.start_soon(flush)
        await trio.testing.wait_all_tasks_blocked()
        await sender.aclose()


class SlowPipe(MemoryPipe):
    """Takes a few bytes at a time, and lets another task run before it says so."""

    async def send_some(self, data: Buffer) -> int:
        sent = self.send_nowait(memoryview(data)[:10])
        await trio.lowlevel.checkpoint()
        return sent


async def test_closing_while_the_pipe_is_taking_bytes() -> None:
    near, _ = memory_pipe_pair()
    sender = NoiseChannel(SlowPipe(near.incoming, near.outgoing), sessions()[0])
    sender.write([bytes(100)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.aclose)
        with pytest.raises(trio.ClosedResourceError):
            await sender.flush()


async def test_memory_of_a_stalled_peer_is_bounded(pools: tuple[list[object], list[object]]) -> None:
    sender, _ = channel_pair(1)
    sender.write([b"x"])
    sender.flush_nowait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.flush)
        await trio.testing.wait_all_tasks_blocked()
        assert held(sender) < 100
        for _ in range(1000):  # answers to pings, say
            sender.write([bytes(12)])
        assert held(sender) < 128 * 1024
        assert sender.queued == 1000 * (12 + FRAME_OVERHEAD) + 1 + FRAME_OVERHEAD - 1
        nursery.cancel_scope.cancel()


def held(sender: NoiseChannel) -> int:
    return sum(len(segment.data) for segment in sender._segments)


async def test_buffers_go_back_to_the_pool(pools: tuple[list[object], list[object]]) -> None:
    segments, buffers = pools
    pairs = [channel_pair() for _ in range(20)]
    for sender, receiver in pairs:
        sender.write([bytes(1000)])
        sender.flush_nowait()
        await read_exactly(receiver, 1000)
        assert not sender._segments
        assert not receiver._partial
    assert (len(segments), len(buffers)) == (1, 1)
    for sender, _ in pairs:
        sender.write([bytes(1000)])
    for sender, _ in pairs:
        sender.flush_nowait()
    assert len(segments) == sealed._KEPT_BUFFERS


async def test_an_idle_reader_owns_no_buffer(pools: tuple[list[object], list[object]]) -> None:
    _, receiver = channel_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver.read)
        await trio.testing.wait_all_tasks_blocked()
        assert receiver._partial == b""
        assert pools[1] == []
        nursery.cancel_scope.cancel()


async def test_more_than_a_segment_waits_in_order() -> None:
    sender, receiver = channel_pair(100_000)
    data = some_bytes(2_000_000)
    sender.write([data])
    assert len(sender._segments) > 3
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.flush)
        assert await read_exactly(receiver, len(data)) == data


# ---- the counters


async def test_the_last_counter_is_used_and_the_next_ends_the_connection() -> None:
    sender, receiver = channel_pair()
    sender._send_nonce = receiver._receive_nonce = MAX_NONCE - 1
    sender.write([b"last but one"])
    sender.flush_nowait()
    assert await receiver.read() == [b"last but one"]
    sender.write([b"last"])
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="counter is used up"):
            sender.write([b"too much"])
    assert sender.queued == len(b"last") + FRAME_OVERHEAD
    sender.flush_nowait()
    assert not sender._segments
