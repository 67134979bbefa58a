"""The composition root: builds a host of its parts, wires them, and gets out of the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import trio
from multiaddr import Multiaddr

from peerstack.protocols import ping
from peerstack.stack.abc import Gater, Muxer, Observer, Security, StreamTransport, Transport
from peerstack.stack.addressing.resolve import Resolver
from peerstack.stack.background import open_background
from peerstack.stack.host import EventHub, Host, Peerstore
from peerstack.stack.identity import Identity
from peerstack.stack.limits import Limits
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.security.noise import Noise
from peerstack.stack.swarm import Swarm, SwarmConfig, TrimConfig, Trimmer, UpgradedTransport
from peerstack.transports.tcp import TcpTransport

CLOSE_TIMEOUT = 2.0
"""Seconds for goodbyes when the block is left; a peer that stalls must not hold up the end of a program."""


@asynccontextmanager
async def open_host(
    *,
    listen: Iterable[str | Multiaddr] = (),
    identity: Identity | None = None,
    transports: Sequence[StreamTransport] | None = None,
    native_transports: Sequence[Transport] = (),
    security: Sequence[Security] | None = None,
    muxers: Sequence[Muxer] | None = None,
    limits: Limits | None = None,
    gater: Gater | None = None,
    resolver: Resolver | None = None,
    trim: TrimConfig | None = None,
    swarm: SwarmConfig | None = None,
    observers: Iterable[Observer] = (),
) -> AsyncIterator[Host]:
    """Open a host, listen, and serve identify and ping until the block is left.

    `identity` is a fresh Ed25519 key by default. `transports` carry byte streams and are secured by `security` and
    muxed by `muxers` (TCP, Noise and yamux by default); `native_transports` bring both of their own, like QUIC.
    Raises InvalidAddress and OSError for addresses that can not be listened on. What the block raises leaves as itself.
    """
    identity = identity or Identity.generate()
    limits = limits or Limits()
    config = swarm or SwarmConfig()
    events = EventHub(observers)
    peerstore = Peerstore()
    upgraded = [
        UpgradedTransport(
            transport,
            security if security is not None else [Noise(identity)],
            muxers if muxers is not None else [Yamux()],
            config,
        )
        for transport in (transports if transports is not None else [TcpTransport()])
    ]
    engine = Swarm(
        local_peer=identity.peer_id,
        transports=[*upgraded, *native_transports],
        limits=limits,
        gater=gater,
        resolver=resolver,
        trimmer=Trimmer(trim),
        config=config,
        notify=events.notify,
    )
    host = Host(identity=identity, swarm=engine, peerstore=peerstore, events=events)
    host.handle(ping.PROTOCOL, ping.serve)
    async with open_background() as nursery:
        await nursery.start(engine.run)
        try:
            for address in listen:
                await host.listen(address)
            yield host
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await engine.aclose()
