"""Many messages in one wake-up: `FrameReader`."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from peerstack.stack.errors import LimitExceeded, RemoteProtocolError
from peerstack.stack.framing import EndOfMessages, FrameReader, encode_length_prefixed


class Chunks(trio.abc.ReceiveStream):
    """Delivers the given chunks, then the end."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._chunks.pop(0) if self._chunks else b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def read_all(reader: FrameReader) -> list[list[bytes]]:
    wake_ups = []
    while True:
        try:
            wake_ups.append(await reader.receive())
        except EndOfMessages:
            return wake_ups


async def test_what_arrived_together_comes_out_together() -> None:
    data = encode_length_prefixed(b"one") + encode_length_prefixed(b"two")
    assert await read_all(FrameReader(Chunks(data), limit=10)) == [[b"one", b"two"]]


async def test_empty_messages_are_left_out() -> None:
    data = b"\x00" + encode_length_prefixed(b"one") + b"\x00\x00"
    assert await read_all(FrameReader(Chunks(b"\x00", data), limit=10)) == [[b"one"]]


async def test_a_message_over_the_limit_is_refused_before_its_bytes_came() -> None:
    with pytest.raises(RemoteProtocolError, match="message of 11 bytes is over the limit of 10"):
        await FrameReader(Chunks(b"\x0b"), limit=10).receive()


async def test_an_end_inside_a_message_is_an_error_of_the_peer() -> None:
    reader = FrameReader(Chunks(b"\x05ab"), limit=10)
    with pytest.raises(RemoteProtocolError, match="inside a message"):
        await reader.receive()


async def test_an_end_inside_a_length_is_an_error_of_the_peer() -> None:
    with pytest.raises(RemoteProtocolError, match="inside a message"):
        await FrameReader(Chunks(b"\x85"), limit=1000).receive()


@pytest.mark.parametrize("prefix", [b"\x81\x00", b"\xff" * 10])
async def test_a_malformed_length_is_an_error_of_the_peer(prefix: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="varint"):
        await FrameReader(Chunks(prefix), limit=1000).receive()


@given(
    messages=st.lists(st.binary(min_size=1, max_size=400), max_size=8),
    cuts=st.lists(st.integers(min_value=1, max_value=60), min_size=1, max_size=8),
)
def test_however_the_bytes_are_cut_the_messages_are_the_same(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(encode_length_prefixed(message) for message in messages)
    chunks: list[bytes] = []
    position = 0
    while position < len(data):
        size = cuts[len(chunks) % len(cuts)]
        chunks.append(data[position : position + size])
        position += size
    wake_ups = trio.run(read_all, FrameReader(Chunks(*chunks), limit=400))
    assert [message for wake_up in wake_ups for message in wake_up] == messages


# ---- what is held of an unfinished message


class Counted:
    """Memory with a limit, that counts."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self.held = self.most = 0
        self._limit = limit

    def hold(self, amount: int, /) -> None:
        if self.held + amount > self._limit:
            raise LimitExceeded("peer", "bytes of memory", self._limit)
        self.held += amount
        self.most = max(self.most, self.held)

    def free(self, amount: int, /) -> None:
        self.held -= amount


async def test_a_large_message_is_held_before_it_came_and_freed_when_it_is_whole() -> None:
    memory, message = Counted(), bytes(100_000)
    data = encode_length_prefixed(message)
    with FrameReader(Chunks(data[:10], data[10:50_000], data[50_000:]), limit=200_000, memory=memory) as reader:
        assert await reader.receive() == [message]
        assert (memory.most, memory.held) == (len(data), 0)


async def test_small_messages_are_not_counted() -> None:
    memory, data = Counted(), encode_length_prefixed(bytes(2000))
    with FrameReader(Chunks(data[:10], data[10:]), limit=200_000, memory=memory) as reader:
        assert len(await reader.receive()) == 1
    assert memory.most == 0


async def test_what_came_before_a_message_that_is_too_much_comes_out_first() -> None:
    memory = Counted(limit=50_000)
    first, second = encode_length_prefixed(b"first"), encode_length_prefixed(bytes(100_000))
    reader = FrameReader(Chunks(first + second[:10], second[10:]), limit=200_000, memory=memory)
    with reader:
        assert await reader.receive() == [b"first"]
        with pytest.raises(LimitExceeded, match="limit of 50000 bytes of memory"):
            await reader.receive()
    assert memory.held == 0


@pytest.mark.parametrize("end", [b"", None], ids=["ended", "cancelled"])
async def test_a_message_that_never_came_whole_is_held_no_longer_than_its_reader(end: bytes | None) -> None:
    memory, data = Counted(), encode_length_prefixed(bytes(100_000))
    send, receive = trio.testing.memory_stream_one_way_pair()
    with trio.move_on_after(0.1), suppress(RemoteProtocolError):
        with FrameReader(receive, limit=200_000, memory=memory) as reader:
            await send.send_all(data[:50_000])
            if end is not None:
                send.close()
            await reader.receive()
    assert (memory.most, memory.held) == (len(data), 0)
