"""Pairs of QUIC connections over a network in memory, and transports that share one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from peerstack import open_host
from peerstack.stack.abc import Gater
from peerstack.stack.addressing import parse_address
from peerstack.stack.background import open_background
from peerstack.stack.events import Observer
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity
from peerstack.stack.report import Attempt
from peerstack.stack.testing import ConnectionEnd
from peerstack.transports.quic import QuicConfig, QuicConnection, QuicListener, QuicTransport
from peerstack.transports.quic.engine_aioquic import AioquicEngine
from peerstack.transports.quic.engine_aioquic.connection import AioquicConnection

from .link import MemoryNetwork

ANYWHERE = parse_address("/ip4/127.0.0.1/udp/0/quic-v1")


@asynccontextmanager
async def victim_and_honest(
    network: MemoryNetwork, *, identity: Identity | None = None, observer: Observer, gater: Gater | None = None
) -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts that speak QUIC only: one that listens, observed, and one that does not."""
    identity, other = identity or Identity.generate(), Identity.generate()
    async with (
        open_host(
            listen=[ANYWHERE],
            identity=identity,
            transports=[],
            native_transports=[QuicTransport(identity, network=network)],
            observers=[observer],
            gater=gater,
        ) as victim,
        open_host(
            identity=other,
            transports=[],
            native_transports=[QuicTransport(other, network=network)],
        ) as honest,
    ):
        yield victim, honest


def attempt() -> Attempt:
    return Attempt("somewhere", trio.current_time())


@dataclass(slots=True)
class Pair:
    """A dialed and an accepted connection, running, and what made them."""

    network: MemoryNetwork
    near: QuicConnection
    far: QuicConnection
    near_end: ConnectionEnd
    far_end: ConnectionEnd
    listener: QuicListener
    dialer: QuicTransport
    server: QuicTransport
    nursery: trio.Nursery


async def accept(listener: QuicListener) -> QuicConnection:
    return await (await listener.accept()).upgrade()


async def join(dialer: QuicTransport, listener: QuicListener) -> tuple[QuicConnection, QuicConnection]:
    accepted: list[QuicConnection] = []

    async def take() -> None:
        accepted.append(await accept(listener))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        dialed = await dialer.dial(listener.address, None, attempt())
    return dialed, accepted[0]


@asynccontextmanager
async def connected(
    network: MemoryNetwork | None = None, *, near: QuicConfig | None = None, far: QuicConfig | None = None
) -> AsyncIterator[Pair]:
    """Run two connections over a network in memory."""
    network = network or MemoryNetwork()
    dialer = QuicTransport(Identity.generate(), near, network=network)
    server = QuicTransport(Identity.generate(), far, network=network)
    async with await server.listen(ANYWHERE) as listener, open_background() as nursery:
        ends = [ConnectionEnd(connection) for connection in await join(dialer, listener)]
        for end in ends:
            nursery.start_soon(end.run)
        near_end, far_end = ends
        assert isinstance(near_end.connection, QuicConnection)
        assert isinstance(far_end.connection, QuicConnection)
        yield Pair(
            network, near_end.connection, far_end.connection, near_end, far_end, listener, dialer, server, nursery
        )


def inside(connection: QuicConnection) -> AioquicConnection:
    """Return what the engine on aioquic keeps of a connection."""
    engine = connection._engine
    assert isinstance(engine, AioquicEngine)
    return engine._connections[connection._handle]
