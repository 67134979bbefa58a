"""A WebSocket as a pipe: bytes, pings, orderly ends, and every other kind of end."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing
from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.streams import StreamReader

from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.memory import MemoryPipe
from peerstack.stack.testing import check_pipe
from peerstack.transports.websocket import WebSocketPipe
from peerstack.transports.websocket.wire import MAX_PAYLOAD

from .in_memory import half_websocket, websocket_pair

SIDES = pytest.mark.parametrize("client", [True, False], ids=["client", "server"])


def frame(opcode: TheirOpcode, payload: bytes, pipe: WebSocketPipe, *, fin: bool = True) -> bytes:
    """Encode what the other end of `pipe` sends."""
    return Frame(opcode, payload, fin).serialize(mask=not pipe._client)


def closing(code: int, pipe: WebSocketPipe) -> bytes:
    return frame(TheirOpcode.CLOSE, code.to_bytes(2, "big"), pipe)


async def until_the_end(pipe: WebSocketPipe) -> None:
    while await pipe.receive_some():
        pass


async def frames_of(raw: MemoryPipe, *, masked: bool) -> list[tuple[TheirOpcode, bytes]]:
    """Read all there is of our frames, by the library."""
    await trio.testing.wait_all_tasks_blocked()
    buffer = bytearray(1024 * 1024)
    try:
        data = bytes(buffer[: raw.receive_nowait(memoryview(buffer))])
    except trio.WouldBlock:
        return []
    reader, found = StreamReader(), []
    reader.feed_data(data)
    while reader.buffer:
        parser = Frame.parse(reader.read_exact, mask=masked)
        try:
            next(parser)
        except StopIteration as end:
            found.append((end.value.opcode, bytes(end.value.data)))
    return found


@pytest.mark.parametrize("capacity", [20, 100, 1000, 100_000])
@pytest.mark.parametrize("swapped", [False, True])
async def test_it_is_a_proper_pipe(capacity: int, swapped: bool, autojump_clock: trio.testing.MockClock) -> None:
    async def make() -> tuple[WebSocketPipe, WebSocketPipe]:
        client, server = websocket_pair(capacity)
        return (server, client) if swapped else (client, server)

    await check_pipe(make)


@pytest.mark.parametrize("capacity", [1, 5, 1000, 70_000])
async def test_bytes_pass_whatever_fits_at_once(capacity: int) -> None:
    client, server = websocket_pair(capacity)
    data = bytes(range(256)) * (40 if capacity < 1000 else 2000)
    for sender, receiver in ((client, server), (server, client)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send_all, data)
            got = b""
            while len(got) < len(data):
                got += await receiver.receive_some()
        assert got == data


@SIDES
async def test_a_queue_is_emptied_without_loss_or_repetition(client: bool) -> None:
    """As a channel does: `send_nowait` at any time with whatever is in front of the queue."""
    one, other = websocket_pair(1000)
    sender, receiver = (one, other) if client else (other, one)
    queue, got, expected = b"", b"", b""
    buffer = bytearray(900)
    for turn in range(3000):
        more = bytes([turn % 256]) * (turn * 7 % 1500) if turn < 500 else b""
        queue += more
        expected += more
        queue = queue[sender.send_nowait(queue) :]
        if turn % 3 == 0:
            with suppress(trio.WouldBlock):
                got += buffer[: receiver.receive_nowait(memoryview(buffer))]
    assert got == expected


async def test_what_was_not_counted_as_sent_may_be_changed() -> None:
    client, server = websocket_pair(100)
    sent = client.send_nowait(b"a" * 500)
    assert 0 < sent < 500
    got = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"bcd")
        while not got.endswith(b"bcd"):
            got += await server.receive_some()
    assert got in (b"a" * sent + b"bcd", b"a" * (sent + 1) + b"bcd")


@SIDES
async def test_writes_become_frames_of_a_limited_size(client: bool) -> None:
    pipe, raw = half_websocket(client=client, capacity=500_000)
    await pipe.send_all(bytes(MAX_PAYLOAD * 2 + 7))
    await pipe.send_all(b"small")
    sizes = [len(payload) for _, payload in await frames_of(raw, masked=client)]
    assert sizes == [MAX_PAYLOAD, MAX_PAYLOAD, 7, 5]


@SIDES
async def test_pings_are_answered_between_frames(client: bool) -> None:
    pipe, raw = half_websocket(client=client)
    await raw.send_all(frame(TheirOpcode.PING, b"1", pipe) + frame(TheirOpcode.BINARY, b"x", pipe))
    assert await pipe.receive_some() == b"x"
    assert await frames_of(raw, masked=client) == [(TheirOpcode.PONG, b"1")]


@SIDES
async def test_a_pong_waits_for_the_end_of_a_frame_and_of_many_pings_the_last_is_answered(client: bool) -> None:
    pipe, raw = half_websocket(client=client, capacity=1000)
    sent = pipe.send_nowait(b"d" * 5000)
    for number in range(50):
        await raw.send_all(frame(TheirOpcode.PING, b"%d" % number, pipe) + frame(TheirOpcode.BINARY, b"x", pipe))
        assert await pipe.receive_some() == b"x"
    wire = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe.send_all, b"d" * (5000 - sent))
        while len(wire) < 5000:
            wire += await raw.receive_some()
    await pipe.send_all(b"tail")
    raw.unread(wire)
    assert await frames_of(raw, masked=client) == [
        (TheirOpcode.BINARY, b"d" * 5000),
        (TheirOpcode.PONG, b"49"),
        (TheirOpcode.BINARY, b"tail"),
    ]


@SIDES
@pytest.mark.parametrize("step", [1, 1000])
async def test_a_ping_alone_is_no_end_of_the_stream(client: bool, step: int) -> None:
    pipe, raw = half_websocket(client=client)
    async with trio.open_nursery() as nursery:

        async def expect_data() -> None:
            assert await pipe.receive_some(step) == b"x"

        nursery.start_soon(expect_data)
        await trio.testing.wait_all_tasks_blocked()
        await raw.send_all(frame(TheirOpcode.PING, b"", pipe))
        await trio.testing.wait_all_tasks_blocked()
        await raw.send_all(frame(TheirOpcode.BINARY, b"x", pipe))


@SIDES
@pytest.mark.parametrize("code", [1000, 1001])
async def test_an_orderly_close_is_the_end_and_is_answered(client: bool, code: int) -> None:
    pipe, raw = half_websocket(client=client)
    await raw.send_all(frame(TheirOpcode.BINARY, b"last", pipe) + closing(code, pipe))
    assert await pipe.receive_some() == b"last"
    assert await pipe.receive_some() == b""
    assert await pipe.receive_some() == b""
    ((opcode, payload),) = await frames_of(raw, masked=client)
    assert (opcode, payload) == (TheirOpcode.CLOSE, b"\x03\xe8")
    with pytest.raises(trio.BrokenResourceError, match="the peer has ended this connection"):
        await pipe.send_all(b"too late")


@SIDES
async def test_a_close_without_a_code_is_orderly(client: bool) -> None:
    pipe, raw = half_websocket(client=client)
    await raw.send_all(frame(TheirOpcode.CLOSE, b"", pipe))
    assert await pipe.receive_some() == b""


@SIDES
async def test_nothing_is_sent_to_who_has_closed(client: bool) -> None:
    pipe, raw = half_websocket(client=client)
    await raw.send_all(frame(TheirOpcode.BINARY, b"x", pipe) + closing(1000, pipe))
    assert await pipe.receive_some() == b"x"
    with pytest.raises(trio.BrokenResourceError, match="the peer closed the WebSocket"):
        pipe.send_nowait(b"y")


@SIDES
async def test_another_close_says_why(client: bool) -> None:
    pipe, raw = half_websocket(client=client)
    await raw.send_all(frame(TheirOpcode.CLOSE, b"\x03\xf3broken", pipe))
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=r"the peer closed the WebSocket: 1011 \(internal error\) broken"):
            await pipe.receive_some()


@SIDES
async def test_an_end_of_the_wire_alone_is_a_lost_connection(client: bool) -> None:
    pipe, raw = half_websocket(client=client)
    await raw.send_all(frame(TheirOpcode.BINARY, b"x", pipe))
    await raw.aclose()
    assert await pipe.receive_some() == b"x"
    with pytest.raises(ConnectionLost, match="without a WebSocket Close frame"):
        await pipe.receive_some()


@SIDES
@pytest.mark.parametrize("kept", [1, 3, 9])
async def test_an_end_inside_a_frame_is_a_lost_connection(client: bool, kept: int) -> None:
    pipe, raw = half_websocket(client=client)
    await raw.send_all(frame(TheirOpcode.BINARY, bytes(30), pipe)[:kept])
    await raw.aclose()
    with pytest.raises(ConnectionLost, match="inside a WebSocket frame"):
        await until_the_end(pipe)


@SIDES
async def test_after_our_own_end_the_wire_may_just_end(client: bool) -> None:
    pipe, raw = half_websocket(client=client)
    await pipe.send_eof()
    await raw.send_all(frame(TheirOpcode.BINARY, b"under way", pipe))
    await raw.aclose()
    assert await pipe.receive_some() == b"under way"
    assert await pipe.receive_some() == b""


@SIDES
async def test_text_is_refused_and_the_peer_is_told(client: bool) -> None:
    pipe, raw = half_websocket(client=client)
    await raw.send_all(frame(TheirOpcode.TEXT, b"hello", pipe))
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="text where libp2p sends binary messages only") as caught:
            await pipe.receive_some()
        assert caught.value.code is None  # it is no code of the layers above
    assert await frames_of(raw, masked=client) == [(TheirOpcode.CLOSE, b"\x03\xeb")]


@SIDES
@pytest.mark.parametrize("size", [1, 5000])
async def test_what_came_before_a_fault_is_delivered_first(client: bool, size: int) -> None:
    pipe, raw = half_websocket(client=client)
    await raw.send_all(frame(TheirOpcode.BINARY, b"good", pipe) + frame(TheirOpcode.TEXT, b"bad", pipe))
    got = b""
    while len(got) < 4:
        got += await pipe.receive_some(size)
    assert got == b"good"
    with pytest.raises(RemoteProtocolError, match="text where libp2p sends binary messages only"):
        await pipe.receive_some(size)


@SIDES
async def test_the_end_is_said_once_behind_all_that_was_sent(client: bool) -> None:
    pipe, raw = half_websocket(client=client)
    await pipe.send_all(b"abc")
    await pipe.send_eof()
    await pipe.send_eof()
    await pipe.aclose()
    assert await frames_of(raw, masked=client) == [(TheirOpcode.BINARY, b"abc"), (TheirOpcode.CLOSE, b"\x03\xe8")]


async def test_closing_sends_a_close_frame_if_there_is_room() -> None:
    client, server = websocket_pair()
    await client.aclose()
    assert await server.receive_some() == b""


async def test_closing_does_not_wait_where_there_is_no_room() -> None:
    client, server = websocket_pair(10)
    assert client.send_nowait(bytes(100)) < 100
    await client.aclose()
    with pytest.raises(ConnectionLost, match="inside a WebSocket frame"):
        await until_the_end(server)


@pytest.mark.parametrize("size", [1, 2, 1023, 1024, 5000])
async def test_buffers_of_any_size_are_filled(size: int) -> None:
    client, server = websocket_pair()
    data = bytes(range(256)) * 16
    await client.send_all(data)
    got, buffer = b"", bytearray(size)
    while len(got) < len(data):
        await server.wait_receive_might_not_block()
        got += buffer[: server.receive_nowait(memoryview(buffer))]
    assert got == data
