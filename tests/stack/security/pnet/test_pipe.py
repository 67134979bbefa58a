"""A pipe inside a private network: its bytes on the wire, and a keystream that stays in step whatever is sent."""

from __future__ import annotations

from random import Random

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Pipe
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security.pnet import PreSharedKey
from peerstack.stack.security.pnet.xsalsa20 import xsalsa20
from peerstack.stack.testing import check_pipe

Clock = trio.testing.MockClock
KEY = bytes(range(32))
PSK = PreSharedKey(KEY)


async def drain(pipe: MemoryPipe) -> bytes:
    """Take what lies in the pipe."""
    return bytes(await pipe.receive_some(100_000))


async def test_the_bytes_on_the_wire() -> None:
    near, raw = memory_pipe_pair()
    pipe = PSK.protect(near)
    await pipe.send_all(b"hello, ")
    assert pipe.send_nowait(b"wor") == 3
    assert await pipe.send_some(b"ld") == 2
    wire = await drain(raw)
    assert len(wire) == 24 + 12
    assert xsalsa20(KEY, wire[:24]).encrypt(wire[24:]) == b"hello, world"


async def test_who_only_listens_sends_its_nonce_alone_and_once(autojump_clock: Clock) -> None:
    near, raw = memory_pipe_pair()
    pipe = PSK.protect(near)
    with trio.move_on_after(1):  # a peer that says nothing before it has our nonce, such as js-libp2p and rust-libp2p
        await pipe.receive_some()
    with pytest.raises(trio.WouldBlock):
        pipe.receive_nowait(memoryview(bytearray(1)))
    nonce = await drain(raw)
    assert len(nonce) == 24
    await pipe.send_all(b"hello")
    assert xsalsa20(KEY, nonce).encrypt(await drain(raw)) == b"hello"


async def test_what_came_before_the_end_of_the_connection_is_received_without_a_nonce_of_ours() -> None:
    near, raw = memory_pipe_pair()
    await PSK.protect(raw).send_all(b"last words")
    await raw.aclose()
    assert await PSK.protect(near).receive_some() == b"last words"


async def test_every_pipe_has_nonces_of_its_own() -> None:
    wires: set[bytes] = set()
    for _ in range(20):
        near, raw = memory_pipe_pair()
        await PSK.protect(near).send_all(b"x")
        wires.add((await drain(raw))[:24])
    assert len(wires) == 20


async def test_it_is_a_proper_pipe_over_one_that_takes_little(autojump_clock: Clock) -> None:
    async def make() -> tuple[Pipe, Pipe]:
        near, far = memory_pipe_pair(30)  # the nonce and six bytes
        return PSK.protect(near), PSK.protect(far)

    await check_pipe(make)


@pytest.mark.parametrize("seed", range(10))
async def test_the_keystream_stays_in_step_when_only_a_part_is_taken_and_the_caller_thinks_again(seed: int) -> None:
    random = Random(seed)
    near, raw = memory_pipe_pair(random.choice((1, 7, 30, 1000)))
    pipe, sent, wire = PSK.protect(near), b"", b""
    for _ in range(200):
        # Other bytes each time, also where the ones before were refused.
        data = random.randbytes(random.randrange(1, 2000))
        sent += data[: pipe.send_nowait(data)]
        if raw.incoming.size and random.random() < 0.7:
            wire += await raw.receive_some(random.randrange(1, 1500))
    while raw.incoming.size:
        wire += await raw.receive_some()
    assert sent
    assert xsalsa20(KEY, wire[:24]).encrypt(wire[24:]) == sent


async def test_the_keystream_stays_in_step_when_a_send_is_cancelled(autojump_clock: Clock) -> None:
    near, raw = memory_pipe_pair(100)
    pipe = PSK.protect(near)
    assert pipe.send_nowait(b"a" * 200) == 76
    with trio.move_on_after(1):
        await pipe.send_some(b"never to be seen")
    wire = await drain(raw)
    assert await pipe.send_some(b"seen") == 4
    wire += await drain(raw)
    assert xsalsa20(KEY, wire[:24]).encrypt(wire[24:]) == b"a" * 76 + b"seen"


@pytest.mark.parametrize("size", [1, 10, 64 * 1024, 64 * 1024 + 1, 1_000_000])
async def test_both_sides_understand_each_other(size: int) -> None:
    one, other = (PSK.protect(end) for end in memory_pipe_pair())
    data, received = Random(size).randbytes(size), bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.send_all, data)
        while len(received) < size:
            received += await other.receive_some(50_000)
    assert received == data


async def test_a_nonce_that_comes_in_pieces_and_a_buffer_that_is_filled() -> None:
    near, raw = memory_pipe_pair()
    pipe, nonce = PSK.protect(near), bytes(24)
    buffer = bytearray(8)
    for piece in (nonce[:10], nonce[10:23]):
        await raw.send_all(piece)
        with pytest.raises(trio.WouldBlock):
            pipe.receive_nowait(memoryview(buffer))
    await raw.send_all(nonce[23:] + xsalsa20(KEY, nonce).encrypt(b"0123456789"))
    assert pipe.receive_nowait(memoryview(buffer)) == 8
    assert buffer == b"01234567"
    assert await pipe.receive_some() == b"89"


@pytest.mark.parametrize("size", [1, 23])
async def test_a_nonce_that_is_cut_short(size: int) -> None:
    near, raw = memory_pipe_pair()
    await raw.send_all(bytes(size))
    await raw.send_eof()
    pipe = PSK.protect(near)
    with pytest.raises(RemoteProtocolError, match=f"after {size} of the nonce's 24 bytes"):
        await pipe.receive_some()
    with pytest.raises(RemoteProtocolError, match="nonce"):
        pipe.receive_nowait(memoryview(bytearray(1)))


async def test_a_peer_that_says_nothing_is_an_end() -> None:
    near, raw = memory_pipe_pair()
    await raw.send_eof()
    pipe = PSK.protect(near)
    assert await pipe.receive_some() == b""
    assert pipe.receive_nowait(memoryview(bytearray(1))) == 0


async def test_plain_streams_will_do() -> None:
    one, other = (PSK.protect(end) for end in trio.testing.memory_stream_pair())
    await one.send_all(b"over a plain stream")
    assert await other.receive_some() == b"over a plain stream"


async def test_two_senders_at_once_are_told(autojump_clock: Clock) -> None:
    near, _ = memory_pipe_pair(10)
    pipe = PSK.protect(near)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe.send_all, b"x" * 100)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            pipe.send_nowait(b"x")
        with pytest.raises(trio.BusyResourceError):
            await pipe.send_some(b"x")
        nursery.cancel_scope.cancel()
