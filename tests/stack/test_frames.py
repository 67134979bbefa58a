"""Many messages in one wake-up: `FrameReader`."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from peerstack.stack.errors import RemoteProtocolError
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
