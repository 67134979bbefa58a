"""The transport over the compiled engine: beside the other engine, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from peerstack.stack.background import open_background
from peerstack.stack.identity import Identity
from peerstack.stack.limits import WindowBudget
from peerstack.stack.testing import ConnectionEnd
from peerstack.transports.quic import QuicConfig, QuicTransport
from peerstack.transports.quic.config import MIB
from peerstack.transports.quic.engine_aioquic import AioquicEngine
from peerstack.transports.quic.engines import find_engine
from peerstack.transports.quic.interface import EngineFactory

from ..hosts import ANYWHERE, connected, join
from ..link import MemoryNetwork

pytest.importorskip("peerstack_engine", reason="the engine in Rust is not built: say `make engine`")
if TYPE_CHECKING:
    from peerstack.transports.quic.engine_native import NativeEngine
else:
    NativeEngine = find_engine("native")

Clock = trio.testing.MockClock
ENGINES = [(AioquicEngine, NativeEngine), (NativeEngine, AioquicEngine)]


def test_it_is_taken_by_its_name() -> None:
    assert QuicTransport(Identity.generate(), engine="native").engines == {"quic-v1": "native"}


@pytest.mark.parametrize(("near", "far"), ENGINES, ids=["aioquic dials", "native dials"])
async def test_the_engines_speak_to_each_other(near: EngineFactory, far: EngineFactory, autojump_clock: Clock) -> None:
    network = MemoryNetwork(latency=0.01)
    dialer = QuicTransport(Identity.generate(), network=network, engine=near)
    server = QuicTransport(Identity.generate(), network=network, engine=far)
    data = bytes(range(256)) * 4000
    async with await server.listen(ANYWHERE) as listener, open_background() as nursery:
        ends = [ConnectionEnd(connection) for connection in await join(dialer, listener)]
        for end in ends:
            nursery.start_soon(end.run)
        dialed, accepted = (end.connection for end in ends)
        assert (dialed.remote_peer, accepted.remote_peer) == (server.local_peer, dialer.local_peer)

        async def echo() -> None:
            stream = await accepted.accept_stream()
            async for piece in stream:
                await stream.send_all(piece)
            await stream.send_eof()

        nursery.start_soon(echo)
        stream, got = await dialed.open_stream(), bytearray()
        async with trio.open_nursery() as sending:

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            sending.start_soon(send)
            async for piece in stream:
                got += piece
        assert bytes(got) == data
        await dialed.aclose()
        await ends[1].ended.wait()
        assert ends[1].failure is None


async def test_what_is_not_read_is_bounded_by_the_windows(autojump_clock: Clock) -> None:
    config = QuicConfig(stream_window=100_000, connection_window=250_000)
    async with connected(far=config) as pair:
        sent = [0] * 5

        async def fill(index: int) -> None:
            stream = await pair.near.open_stream()
            while True:
                await stream.send_all(bytes(1000))
                sent[index] += 1000

        with trio.move_on_after(60):
            async with trio.open_nursery() as nursery:
                for index in range(5):
                    nursery.start_soon(fill, index)
        assert 200_000 <= sum(sent) <= 260_000
        # Two thirds of the connection's window, and what is kept for a reset.
        assert max(sent) <= 250_000 * 3 // 4


async def test_windows_grow_within_the_budget_and_give_it_back(autojump_clock: Clock) -> None:
    network = MemoryNetwork(latency=0.02)
    budget = WindowBudget(4 * MIB)
    dialer = QuicTransport(Identity.generate(), network=network)
    server = QuicTransport(Identity.generate(), network=network, memory=budget)
    async with await server.listen(ANYWHERE) as listener, open_background() as nursery:
        ends = [ConnectionEnd(connection) for connection in await join(dialer, listener)]
        for end in ends:
            nursery.start_soon(end.run)
        dialed, accepted = (end.connection for end in ends)

        async def send() -> None:
            stream = await dialed.open_stream()
            await stream.send_all(bytes(16 * MIB))
            await stream.aclose()

        for _ in range(3):
            nursery.start_soon(send)
        async with trio.open_nursery() as readers:

            async def read() -> None:
                async for _ in await accepted.accept_stream():
                    pass

            for _ in range(3):
                readers.start_soon(read)
        assert budget.used > MIB
        await dialed.aclose()
        await ends[1].ended.wait()
        assert not budget.used
