"""Every transport of plain byte streams passes the same suite."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, RawConnection, StreamListener, StreamTransport
from peerstack.stack.security.pnet import PreSharedKey
from peerstack.stack.testing import LinkConditions, SimulatedNetwork, check_stream_transport
from peerstack.transports.memory import MemoryNetwork, MemoryTransport
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.unix import UnixListener, UnixTransport
from peerstack.transports.unix.address import unix_address
from peerstack.transports.websocket import WebSocketTransport, client_context, server_context

from ..transports.websocket.certificates import Authority
from ..transports.websocket.in_memory import MemoryTcp

BUSY = 0.2
"""Seconds without progress until a socket counts as clogged, where the tests keep every processor busy."""
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
    async with SimulatedNetwork(7, conditions, send_buffer=16 * 1024, window=64 * 1024) as network:
        names: Iterator[str] = iter(("alice", "bob"))
        await check_stream_transport(lambda: network.node(next(names)), MEMORY, settle=10.0)


@pytest.mark.slow
async def test_tcp() -> None:
    await check_stream_transport(TcpTransport, Multiaddr("/ip4/127.0.0.1/tcp/0"), settle=BUSY)


@pytest.mark.parametrize("capacity", [1000, 64 * 1024])
async def test_websocket_in_memory(capacity: int, autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(capacity=capacity)
    await check_stream_transport(
        lambda: WebSocketTransport(MemoryTcp(network)), Multiaddr("/ip4/127.0.0.1/tcp/0/ws"), half_close=False
    )


def websocket() -> WebSocketTransport:
    return WebSocketTransport(TcpTransport())


@pytest.mark.slow
async def test_websocket() -> None:
    await check_stream_transport(websocket, Multiaddr("/ip4/127.0.0.1/tcp/0/ws"), half_close=False, settle=BUSY)


@pytest.mark.slow
async def test_secure_websocket(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = server_context(*authority.issue("127.0.0.1", "localhost")), client_context(authority.file)

    def make() -> WebSocketTransport:
        return WebSocketTransport(TcpTransport(), server_tls=server, client_tls=client)

    await check_stream_transport(make, Multiaddr("/ip4/127.0.0.1/tcp/0/tls/ws"), half_close=False, settle=BUSY)


class InFolder(UnixTransport):
    """Unix sockets, of which the one that has the path of the folder gets a free path in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._names = iter(range(1000))

    async def listen(self, address: Multiaddr) -> UnixListener:
        free = address == unix_address(str(self._folder))
        return await super().listen(unix_address(f"{self._folder}/{next(self._names)}") if free else address)


@pytest.mark.slow
async def test_unix(tmp_path: Path) -> None:
    await check_stream_transport(lambda: InFolder(tmp_path), unix_address(str(tmp_path)), settle=BUSY)


class PrivateTransport:
    """A transport of which every connection is inside a private network."""

    def __init__(self, below: StreamTransport, key: PreSharedKey) -> None:
        self._below = below
        self._key = key
        self.can_dial, self.can_listen = below.can_dial, below.can_listen

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        raw = await self._below.dial(address, options)
        return replace(raw, stream=self._key.protect(raw.stream))

    async def listen(self, address: Multiaddr) -> StreamListener:
        return PrivateListener(await self._below.listen(address), self._key)


class PrivateListener(StreamListener):
    def __init__(self, below: StreamListener, key: PreSharedKey) -> None:
        self._below = below
        self._key = key
        self.addresses = below.addresses

    async def accept(self) -> RawConnection:
        raw = await self._below.accept()
        return replace(raw, stream=self._key.protect(raw.stream))

    async def aclose(self) -> None:
        await self._below.aclose()


async def test_a_private_network(autojump_clock: trio.testing.MockClock) -> None:
    network, key = MemoryNetwork(), PreSharedKey.generate()
    await check_stream_transport(lambda: PrivateTransport(MemoryTransport(network), key), MEMORY)


async def test_a_private_network_with_tiny_buffers(autojump_clock: trio.testing.MockClock) -> None:
    network, key = MemoryNetwork(capacity=1000), PreSharedKey.generate()
    await check_stream_transport(lambda: PrivateTransport(MemoryTransport(network), key), MEMORY)


@pytest.mark.slow
async def test_a_private_network_over_tcp() -> None:
    key = PreSharedKey.generate()
    await check_stream_transport(
        lambda: PrivateTransport(TcpTransport(), key), Multiaddr("/ip4/127.0.0.1/tcp/0"), settle=BUSY
    )
