"""How a connection is closed: its peer sees the end at once, and has a moment to read the rest."""

from __future__ import annotations

import trio
import trio.testing

from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.muxing.yamux.connection import CLOSE_LINGER
from peerstack.stack.muxing.yamux.wire import GO_AWAY, HEADER_SIZE, decode_header
from peerstack.stack.testing import MemoryPipe, PlainChannel, connection_infos, memory_pipe_pair


async def read_to_end(pipe: MemoryPipe) -> bytes:
    return b"".join([bytes(data) async for data in pipe])


async def test_a_peer_that_hangs_up_at_the_end_of_the_wire_only_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    near, far = memory_pipe_pair()
    connection = Yamux().mux(PlainChannel(near), connection_infos()[0])
    seen = b""

    async def js_libp2p() -> None:
        nonlocal seen
        seen = await read_to_end(far)
        await far.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        nursery.start_soon(js_libp2p)
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        await connection.aclose()
        assert trio.current_time() == started
    assert decode_header(seen, 0)[0] == GO_AWAY


async def test_a_peer_that_never_hangs_up_is_waited_for_a_moment(autojump_clock: trio.testing.MockClock) -> None:
    near, _ = memory_pipe_pair()
    connection = Yamux().mux(PlainChannel(near), connection_infos()[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        await trio.testing.wait_all_tasks_blocked()
        started = trio.current_time()
        await connection.aclose()
        assert trio.current_time() - started == CLOSE_LINGER


async def test_a_slow_peer_gets_all_that_was_sent_before_the_end(autojump_clock: trio.testing.MockClock) -> None:
    near, far = memory_pipe_pair(1000)
    connection = Yamux().mux(PlainChannel(near), connection_infos()[0])
    payload = b"x" * 50_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        stream = await connection.open_stream()
        await stream.send_all(payload)
        nursery.start_soon(connection.aclose)
        seen = await read_to_end(far)
        await far.aclose()
    assert payload in seen
    assert decode_header(seen, len(seen) - HEADER_SIZE)[0] == GO_AWAY
