"""A peer over QUIC that is started again with the same key, while its first life fell silent without a word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack import open_host
from peerstack.stack.abc import ConnectionState, Stream
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.transports.quic import QuicTransport

from .hosts import ANYWHERE
from .link import MemoryNetwork

Clock = trio.testing.MockClock
ECHO = "/echo/1"
LOWER, HIGHER = sorted((Identity.generate() for _ in range(2)), key=lambda identity: identity.peer_id)


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@asynccontextmanager
async def host(network: MemoryNetwork, identity: Identity) -> AsyncIterator[Host]:
    transport = QuicTransport(identity, network=network)
    async with open_host(listen=[ANYWHERE], identity=identity, transports=[], native_transports=[transport]) as opened:
        opened.handle(ECHO, echo)
        yield opened


async def meet(dialer: Host, other: Host) -> None:
    await dialer.swarm.dial(None, other.addresses)


@pytest.mark.parametrize(
    ("lower", "old_by_peer", "new_by_peer"),
    [(lower, old, new) for lower in (True, False) for old in (True, False) for new in (True, False)],
)
async def test_new_streams_use_the_new_connection_at_once_and_the_old_one_goes(
    lower: bool, old_by_peer: bool, new_by_peer: bool, autojump_clock: Clock
) -> None:
    network = MemoryNetwork()
    mine, theirs = (LOWER, HIGHER) if lower else (HIGHER, LOWER)
    async with host(network, mine) as home, host(network, theirs) as first:
        await meet(first, home) if old_by_peer else await meet(home, first)
        await trio.sleep(1)
        dead = set(network.sockets) - {address for address in network.sockets if is_of(home, address)}

        def lose(datagram: bytes, source: SocketAddress, destination: SocketAddress) -> bytes | None:
            return None if source in dead or destination in dead else datagram

        network.tap = lose
        await trio.sleep(5)
        async with host(network, theirs) as second:
            await meet(second, home) if new_by_peer else await meet(home, second)
            await trio.sleep(0.02)
            began = trio.current_time()
            async with await home.open_stream(second.peer_id, ECHO) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
            assert trio.current_time() - began < 0.1
            best, old = home.connections(second.peer_id)
            assert (best.state, old.state) == (ConnectionState.ALIVE, ConnectionState.SUSPECTED)
            await trio.sleep(6)
            assert home.connections(second.peer_id) == [best]


def is_of(home: Host, address: SocketAddress) -> bool:
    """Say whether a socket belongs to the host: it listens there, or dials from there."""
    ports = {listening.value_for_protocol("udp") for listening in home.swarm.listen_addresses}
    ports |= {each.info.local_address.value_for_protocol("udp") for each in home.connections()}
    return str(address[1]) in ports
