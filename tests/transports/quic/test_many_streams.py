"""Connections with many streams: those that have nothing to say cost nothing, and lose nothing when they have."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Stream
from peerstack.transports.quic import QuicConfig
from peerstack.transports.quic.engine_aioquic import AioquicEngine
from peerstack.transports.quic.engine_aioquic.engine import SPARE_TIMERS
from peerstack.transports.quic.engine_aioquic.overrides import LibP2PConnection

from .hosts import connected
from .link import MemoryNetwork

IDLE = 100


async def test_packets_of_one_stream_do_not_look_at_idle_ones(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    write = LibP2PConnection._write_stream_limits

    def counted(*arguments: Any, **named: Any) -> None:
        nonlocal looks
        looks += 1
        write(*arguments, **named)

    network = MemoryNetwork()
    async with connected(network, near=QuicConfig(loopback_datagram_size=1200)) as pair:
        for _ in range(IDLE):
            stream = await pair.near.open_stream()
            await stream.send_all(b"x")
        busy = await pair.near.open_stream()
        await trio.sleep(1)
        monkeypatch.setattr(LibP2PConnection, "_write_stream_limits", counted)
        passed = network.passed
        pair.nursery.start_soon(busy.send_all, bytes(400_000))
        await trio.sleep(1)
        assert network.passed - passed > 300
        assert looks < network.passed - passed


@pytest.mark.parametrize("loss", [0.0, 0.05])
async def test_streams_that_were_idle_lose_nothing(autojump_clock: trio.testing.MockClock, loss: float) -> None:
    async with connected(MemoryNetwork(latency=0.005, loss=loss)) as pair:
        got: dict[bytes, bytes] = {}

        async def serve(stream: Stream) -> None:
            name = bytes(await stream.receive_some(1))
            got[name] = b""
            while data := await stream.receive_some():
                got[name] += data
            await stream.send_all(name)
            await stream.aclose()

        async def accept() -> None:
            while True:
                pair.nursery.start_soon(serve, await pair.far.accept_stream())

        async def speak(stream: Stream, name: bytes, answers: list[bytes]) -> None:
            await stream.send_all(name * 5000)
            await stream.send_eof()
            answers.append(bytes(await stream.receive_some()))
            await stream.aclose()

        pair.nursery.start_soon(accept)
        names = [bytes([number]) for number in range(IDLE)]
        streams = []
        for name in names:
            streams.append(await pair.near.open_stream())
            await streams[-1].send_all(name)
        await trio.sleep(5)
        answers: list[bytes] = []
        async with trio.open_nursery() as nursery:
            for stream, name in zip(streams, names, strict=True):
                nursery.start_soon(speak, stream, name, answers)
        assert sorted(answers) == names
        assert got == {name: name * 5000 for name in names}


@pytest.mark.aioquic
async def test_timers_that_count_no_more_do_not_pile_up(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as pair:
        stream = await pair.near.open_stream()
        await stream.send_all(b"x")
        accepted = await pair.far.accept_stream()
        for _ in range(100):
            await accepted.send_all(await accepted.receive_some())
            await stream.send_all(await stream.receive_some())
            await trio.sleep(0.03)  # acknowledgements are no longer delayed then, and the next timer is that of silence
        engine = pair.near._engine
        assert isinstance(engine, AioquicEngine)
        assert len(engine._timers) <= SPARE_TIMERS + 2
