"""Wires of the simulated network: proper trio streams, whatever the link does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.memory import MemoryPipe
from peerstack.stack.testing import LinkConditions, SimulatedNetwork

ADDRESS = Multiaddr("/memory/1")
PERFECT = LinkConditions()
SLOW = LinkConditions(latency=0.05, jitter=0.02, bandwidth=1e6)
LOSSY = LinkConditions(latency=0.01, jitter=0.01, loss=0.2)


@asynccontextmanager
async def pairs(
    conditions: LinkConditions,
) -> AsyncIterator[Callable[[], Awaitable[tuple[MemoryPipe, MemoryPipe]]]]:
    async with SimulatedNetwork(1, conditions) as network:
        listener = await network.node("bob").listen(ADDRESS)

        async def make() -> tuple[MemoryPipe, MemoryPipe]:
            raw = await network.node("alice").dial(ADDRESS)
            accepted = await listener.accept()
            assert isinstance(raw.stream, MemoryPipe)
            assert isinstance(accepted.stream, MemoryPipe)
            return raw.stream, accepted.stream

        yield make


@pytest.mark.parametrize("conditions", [PERFECT, SLOW, LOSSY], ids=["perfect", "slow", "lossy"])
async def test_a_wire_is_a_proper_half_closeable_stream(
    conditions: LinkConditions, autojump_clock: trio.testing.MockClock
) -> None:
    async with pairs(conditions) as make:

        async def make_clogged() -> tuple[MemoryPipe, MemoryPipe]:
            near, far = await make()
            for pipe in near, far:
                while pipe.outgoing.size != pipe.outgoing.capacity:
                    pipe.send_nowait(bytes(100_000))
                    await trio.sleep(60)
            return near, far

        await trio.testing.check_half_closeable_stream(make, make_clogged)
