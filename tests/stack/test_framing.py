"""Length-prefixed messages: split anywhere, cut anywhere, and announced larger than allowed."""

import tracemalloc
from collections.abc import Callable, Sequence

import pytest
import trio
import trio.testing

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.framing import BufferedReader, EndOfMessages, Source, encode_length_prefixed, read_length_prefixed
from peerstack.stack.wire import varint

MESSAGE = bytes(range(256)) * 2


class Chunks(trio.abc.ReceiveStream):
    """A stream that hands out given chunks, whatever the reader asks for, then ends."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.left = [chunk for chunk in chunks if chunk]
        self.asked: list[int | None] = []

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        self.asked.append(max_bytes)
        if not self.left:
            return b""
        chunk = self.left.pop(0)
        if max_bytes is not None and len(chunk) > max_bytes:
            self.left.insert(0, chunk[max_bytes:])
            chunk = chunk[:max_bytes]
        return chunk

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def at_once(data: bytes) -> list[bytes]:
    return [data]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@pytest.mark.parametrize("buffered", [False, True], ids=["stream", "reader"])
@pytest.mark.parametrize("split", [at_once, bytewise])
async def test_messages_follow_one_another(split: Callable[[bytes], list[bytes]], buffered: bool) -> None:
    messages = [b"", b"x", MESSAGE]
    stream = Chunks(split(b"".join(map(encode_length_prefixed, messages))))
    source: Source = BufferedReader(stream) if buffered else stream
    assert [await read_length_prefixed(source, limit=len(MESSAGE)) for _ in messages] == messages
    with pytest.raises(EndOfMessages):
        await read_length_prefixed(source, limit=len(MESSAGE))


@pytest.mark.parametrize("buffered", [False, True], ids=["stream", "reader"])
async def test_ended_inside_a_message_at_every_byte(buffered: bool) -> None:
    whole = encode_length_prefixed(MESSAGE)
    for cut in range(1, len(whole)):
        stream = Chunks([whole[:cut]])
        with pytest.raises(RemoteProtocolError, match="ended inside a message") as caught:
            await read_length_prefixed(BufferedReader(stream) if buffered else stream, limit=1024)
        assert not isinstance(caught.value, EndOfMessages)


async def test_nothing_behind_the_message_is_taken_from_the_stream() -> None:
    stream = Chunks([encode_length_prefixed(MESSAGE) + b"next protocol"])
    assert await read_length_prefixed(stream, limit=1024) == MESSAGE
    assert stream.left == [b"next protocol"]
    stream = Chunks([encode_length_prefixed(MESSAGE)[:100], MESSAGE[98:] + b"next protocol"])
    assert await read_length_prefixed(stream, limit=1024) == MESSAGE
    assert stream.left == [b"next protocol"]


async def test_limit_is_inclusive() -> None:
    assert await read_length_prefixed(Chunks([encode_length_prefixed(MESSAGE)]), limit=len(MESSAGE)) == MESSAGE
    with pytest.raises(RemoteProtocolError, match="512 bytes is over the limit of 511"):
        await read_length_prefixed(Chunks([encode_length_prefixed(MESSAGE)]), limit=len(MESSAGE) - 1)


@pytest.mark.parametrize("size", [2**31, 2**63 - 1])
async def test_a_giant_length_allocates_nothing(size: int) -> None:
    # GHSA-xqvc-92cf-94j4: a length of gigabytes, then silence
    stream = Chunks([varint.encode(size), b"abc"])
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="over the limit"):
            await read_length_prefixed(stream, limit=4096)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert stream.left == [b"abc"]


async def test_an_announced_length_within_the_limit_allocates_only_what_arrives() -> None:
    stream = Chunks([varint.encode(1 << 30), b"abc"])
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="ended inside a message"):
            await read_length_prefixed(stream, limit=1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("prefix", ["8100", "ff" * 9 + "01", "80" * 20])
async def test_malformed_length(prefix: str) -> None:
    with pytest.raises(RemoteProtocolError, match="varint is longer"):
        await read_length_prefixed(Chunks(bytewise(bytes.fromhex(prefix))), limit=2**63)


async def test_reader_returns_exact_amounts_and_then_the_rest() -> None:
    reader = BufferedReader(Chunks([b"cd", b"efgh"]), buffered=b"ab")
    assert await reader.receive_exactly(3) == b"abc"
    assert await reader.receive_some(1) == b"d"
    assert await reader.receive_some(2) == b"ef"
    assert reader.leftover() == b"gh"
    assert await reader.receive_some() == b""
    assert await reader.receive_exactly(0) == b""


async def test_reader_tells_a_clean_end_from_a_cut() -> None:
    with pytest.raises(EndOfMessages):
        await BufferedReader(Chunks([])).receive_exactly(1)
    with pytest.raises(RemoteProtocolError, match="ended inside"):
        await BufferedReader(Chunks([b"a"])).receive_exactly(2)


async def test_a_cut_leaves_what_came_before_it_in_the_reader() -> None:
    reader = BufferedReader(Chunks([b"ab"]))
    with pytest.raises(RemoteProtocolError):
        await reader.receive_exactly(3)
    assert reader.leftover() == b"ab"


async def test_cancelled_read_loses_nothing() -> None:
    send, receive = trio.testing.memory_stream_one_way_pair()
    reader = BufferedReader(receive)
    await send.send_all(b"ab")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.receive_exactly, 4)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await send.send_all(b"cd")
    assert await reader.receive_exactly(4) == b"abcd"
