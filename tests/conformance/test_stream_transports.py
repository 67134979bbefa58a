"""Every transport of plain byte streams passes the same suite."""

from collections.abc import Iterator

import pytest
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.testing import LinkConditions, SimulatedNetwork, check_stream_transport
from peerstack.transports.memory import MemoryNetwork, MemoryTransport
from peerstack.transports.tcp import TcpTransport

MEMORY = Multiaddr("/memory/0")


async def test_memory(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    await check_stream_transport(lambda: MemoryTransport(network), MEMORY)


async def test_memory_with_tiny_buffers(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(capacity=1000)
    await check_stream_transport(lambda: MemoryTransport(network), MEMORY)


@pytest.mark.parametrize(
    "conditions",
    [
        LinkConditions(),
        LinkConditions(latency=0.05, jitter=0.02, bandwidth=1e7),
        LinkConditions(latency=0.01, loss=0.1),
    ],
    ids=["perfect", "slow", "lossy"],
)
async def test_simulated_network(conditions: LinkConditions, autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork(7, conditions) as network:
        names: Iterator[str] = iter(("alice", "bob"))
        await check_stream_transport(lambda: network.node(next(names)), MEMORY, settle=10.0)


@pytest.mark.slow
async def test_tcp() -> None:
    await check_stream_transport(TcpTransport, Multiaddr("/ip4/127.0.0.1/tcp/0"))
