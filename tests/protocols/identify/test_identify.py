"""The exchanges of identify read to the end and no further than their caps, whatever the peer sends."""

from __future__ import annotations

import tracemalloc

import pytest
import trio

from peerstack.protocols.identify import Identify, identify, push, serve, serve_push
from peerstack.stack.abc import Stream
from peerstack.stack.errors import LimitExceeded, RemoteProtocolError
from peerstack.stack.framing import encode_length_prefixed
from peerstack.stack.limits import MemoryAccount, Resource, Scope
from peerstack.stack.wire import varint

StreamPair = tuple[Stream, Stream]

OURS = Identify(public_key=b"key", protocols=("/a", "/b"), agent="peerstack", signed_record=b"r" * 4000)


async def test_who_asks_is_answered(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, near, OURS)
        assert await identify(far) == OURS


async def test_what_is_pushed_is_taken(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(push, near, OURS)
        assert await serve_push(far) == OURS


async def send(stream: Stream, data: bytes) -> None:
    await stream.send_all(data)
    await stream.send_eof()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05abc",
        b"\x80",
        b"\x81\x00a",
        b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        encode_length_prefixed(b"\x0a\x05ab"),
        encode_length_prefixed(bytes(8193)),
        b"\0" * 11,
    ],
    ids=["nothing", "cut off", "cut length", "not minimal", "long length", "not protobuf", "too large", "too many"],
)
async def test_malformed_answers_are_the_peers_error(stream_pair: StreamPair, data: bytes) -> None:
    near, far = stream_pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, near, data)
        with pytest.raises(RemoteProtocolError):
            await identify(far)


@pytest.mark.parametrize("size", [2**31, 2**62])
async def test_an_announced_size_allocates_nothing(stream_pair: StreamPair, size: int) -> None:
    near, far = stream_pair
    await near.send_all(varint.encode(size))
    tracemalloc.start()
    with pytest.raises(RemoteProtocolError, match="limit of 8192"):
        await identify(far)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


async def test_ten_full_messages_are_the_most_that_is_taken(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    address = b"\x12\xfc\x3f" + bytes(8188)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, near, encode_length_prefixed(address) * 10)
        assert len((await identify(far)).listen_addresses) == 10


async def test_what_is_read_is_held_in_memory_meanwhile_and_then_no_more(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    scope = Scope("peer", {Resource.MEMORY: 30_000})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, near, Identify(agent="x"))
        assert (await identify(far, memory=MemoryAccount(scope))).agent == "x"
    assert scope.statistics() == {}


async def test_an_answer_that_there_is_no_memory_for_is_refused_and_leaves_nothing(stream_pair: StreamPair) -> None:
    near, far = stream_pair
    scope = Scope("peer", {Resource.MEMORY: 20_000})
    message = encode_length_prefixed(Identify(agent="x" * 8000).agent.encode())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, near, message * 3)
        with pytest.raises(LimitExceeded, match="our limit of 20000 bytes of memory in scope 'peer'"):
            await identify(far, memory=MemoryAccount(scope))
    assert scope.statistics() == {}
