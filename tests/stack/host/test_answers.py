"""An answer reaches who asked, also where the handler does not read the question, or resets its stream right behind."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
import trio.testing

from peerstack import Stream, StreamReset, open_host
from peerstack.stack.muxing.mplex import Mplex
from peerstack.stack.muxing.yamux import Yamux
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

ANSWER = bytes(range(256)) * 400


async def refuse(stream: Stream) -> None:
    """Answer, and return with the question unread."""
    await stream.send_all(ANSWER)


async def drop(stream: Stream) -> None:
    """Answer, and drop the stream as litep2p does."""
    await stream.receive_some()
    await stream.send_all(b"answer")
    stream.reset()


async def ask(stream: Stream, question: bytes) -> bytes:
    """Send all of a question, then read all of the answer."""
    with suppress(StreamReset):
        await stream.send_all(question)
    await stream.send_eof()
    return await read_answer(stream)


async def read_answer(stream: Stream) -> bytes:
    """Read all of the answer."""
    answer = b""
    with suppress(StreamReset):
        while piece := await stream.receive_some():
            answer += piece
    return answer


@pytest.mark.parametrize("muxer", [Yamux, Mplex])
@pytest.mark.parametrize("half_closed_first", [True, False])
async def test_an_answer_gets_through(
    muxer: type[Yamux] | type[Mplex], half_closed_first: bool, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork()
    async with (
        open_host(transports=[MemoryTransport(network)], muxers=[muxer()], listen=["/memory/0"]) as server,
        open_host(transports=[MemoryTransport(network)], muxers=[muxer()]) as client,
    ):
        server.handle("/refuse/1", refuse)
        server.handle("/drop/1", drop)
        peer = await client.connect(server.addresses[0])
        for _ in range(2):  # the second time the protocol is known, and proposed along with the question
            stream = await client.open_stream(peer, "/refuse/1")
            assert await ask(stream, bytes(2_000_000)) == ANSWER
            await stream.aclose()
            stream = await client.open_stream(peer, "/drop/1")
            await stream.send_all(b"question")
            if half_closed_first:
                await stream.send_eof()
            await trio.testing.wait_all_tasks_blocked()
            assert await read_answer(stream) == b"answer"
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert sum(connection.stream_count for connection in client.connections()) == 0
