"""The composition root: builds a host from its parts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import version

import trio
from multiaddr import Multiaddr
from multiaddr.protocols import PROTOCOLS

from peerstack.protocols import identify, ping
from peerstack.stack.abc import (
    Gater,
    Muxer,
    PeerRouting,
    Protector,
    Security,
    StreamTransport,
    Transport,
)
from peerstack.stack.addressing import parse_addresses
from peerstack.stack.addressing.resolve import Resolver
from peerstack.stack.background import open_background, require_trio
from peerstack.stack.errors import InvalidInput
from peerstack.stack.events import Observer
from peerstack.stack.host import EventHub, Host, Peerstore
from peerstack.stack.host.arguments import as_list
from peerstack.stack.identity import Identity
from peerstack.stack.limits import GrowsWindows, Limits
from peerstack.stack.muxing import yamux
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.swarm import (
    HostUpgrader,
    ObservedAddresses,
    Swarm,
    SwarmConfig,
    TrimConfig,
    Trimmer,
    UpgradedTransport,
)

from ._arguments import (
    check_identity,
    check_plugins,
    check_settings,
    checked_agent,
    checked_muxers,
    checked_native_transports,
    checked_security,
    checked_transports,
)
from ._defaults import default_native_transports, default_security, default_transports

CLOSE_TIMEOUT = 2.0
"""Seconds to close connections when the block is left; a peer that stalls must not delay the end of a program."""

FORCE_PRIVATE = "LIBP2P_FORCE_PNET"
"""Environment variable: when it is 1, no host opens without the key of a private network (as in go-libp2p)."""

_NEEDED_LATER = (
    "cryptography.exceptions",
    "encodings.idna",
    "google.protobuf.message",
    "peerstack.stack.identity.records_pb2",
    "peerstack.stack.security.noise.noise_pb2",
    *(f"multiaddr.codecs.{protocol.codec}" for protocol in PROTOCOLS if protocol.codec is not None),
)
"""What is imported where it is first used, which may be when a peer says something and no file can be opened."""


@asynccontextmanager
async def open_host(
    *,
    listen: str | Multiaddr | Iterable[str | Multiaddr] = (),
    identity: Identity | None = None,
    transports: Sequence[StreamTransport] | None = None,
    native_transports: Sequence[Transport] | None = None,
    security: Sequence[Security] | None = None,
    muxers: Sequence[Muxer] | None = None,
    private_network: Protector | None = None,
    limits: Limits | None = None,
    gater: Gater | None = None,
    resolver: Resolver | None = None,
    trim: TrimConfig | None = None,
    swarm: SwarmConfig | None = None,
    agent: str | None = None,
    routers: Iterable[PeerRouting] = (),
    observers: Iterable[Observer] = (),
) -> AsyncIterator[Host]:
    """Open a host, listen, and serve identify and ping until the block is left.

    `listen` is one address or several. `identity` is a fresh Ed25519 key by default. `transports` carry byte streams
    and are secured by `security` and muxed by `muxers`; `native_transports` bring both of their own, like QUIC. Left
    out they are what is installed: TCP, unix sockets and WebSocket, Noise and TLS, yamux, and QUIC unless `transports`
    or a `private_network` are given. The libraries of extras are loaded when an address or a peer needs them.
    `private_network` is the key that peers must share to connect, such as PreSharedKey.load(path) returns; with
    LIBP2P_FORCE_PNET=1 in the environment it is required.
    `routers` are asked for the addresses of a peer if none is known, or none answers.
    `agent` is what identify calls this program, "peerstack/<version>" by default, at most 128 characters.
    Raises InvalidAddress and OSError for addresses that cannot be listened on, InvalidInput for parts that do not go
    together, TypeError for what is no such part, RuntimeError outside of trio. What the block raises leaves as itself,
    and so does what an observer raises, which ends the host.
    """
    require_trio("open_host")
    check_settings(identity=identity, limits=limits, trim=trim, swarm=swarm, resolver=resolver)
    check_plugins(gater=gater, private_network=private_network)
    listening = parse_addresses(listen)
    agent = checked_agent(agent, f"peerstack/{version('peerstack')}")
    for module in _NEEDED_LATER:
        import_module(module)
    identity = identity or Identity.generate()
    limits = limits or Limits()
    config = swarm or SwarmConfig()
    native = _native(native_transports, identity, alone=transports is None and private_network is None)
    _check_private(private_network, native)
    secured = default_security(identity) if security is None else checked_security(security)
    check_identity(identity, [*secured, *native])
    streams = default_transports() if transports is None else checked_transports(transports)
    events = EventHub(observers)
    peerstore = Peerstore()
    engine = Swarm(
        local_peer=identity.peer_id,
        transports=native,
        limits=limits,
        gater=gater,
        resolver=resolver,
        trimmer=Trimmer(trim),
        config=config,
        notify=events.notify,
    )
    for growing in native:
        if isinstance(growing, GrowsWindows):
            growing.grow_within(engine.scopes.windows, limits.receive_windows_per_connection)
    muxing = [_yamux(engine)] if muxers is None else checked_muxers(muxers)
    upgrader = HostUpgrader(secured, muxing, config, protector=private_network)
    for transport in streams:
        engine.add_transport(UpgradedTransport(transport, upgrader, config))
    observed = ObservedAddresses()
    host = Host(
        identity=identity, swarm=engine, peerstore=peerstore, events=events, observed=observed, upgrader=upgrader
    )
    for router in as_list(routers, "routers"):
        host.add_router(router)
    host.handle(ping.PROTOCOL, ping.serve, max_streams_per_peer=2)  # as in go-libp2p
    async with open_background() as nursery:
        events.on_failure = nursery.cancel_scope.cancel
        await nursery.start(engine.run)
        async with identify.open_identify(host, identify.IdentifyConfig(agent=agent), observed=observed):
            try:
                for address in listening:
                    await host.listen(address)
                yield host
            finally:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await engine.aclose()
                host.ended.set()
                events.close()
    if events.failure is not None:
        raise events.failure


def _native(given: Sequence[Transport] | None, identity: Identity, *, alone: bool) -> Sequence[Transport]:
    """Return the native transports; `alone` allows those that are installed."""
    if given is not None:
        return checked_native_transports(given)
    return default_native_transports(identity) if alone else []


def _check_private(private_network: Protector | None, native_transports: Sequence[Transport]) -> None:
    """Check that the private network covers all transports. Raises InvalidInput."""
    if private_network is None:
        if os.environ.get(FORCE_PRIVATE) == "1":
            raise InvalidInput(f"{FORCE_PRIVATE}=1 forbids hosts without a key: open_host(private_network=...)")
    elif native_transports:
        names = ", ".join(type(transport).__name__ for transport in native_transports)
        raise InvalidInput(
            f"a private network cannot protect native transports, which have their own encryption: {names}"
        )


def _yamux(engine: Swarm) -> Yamux:
    """Make a muxer whose windows grow within the limits of the host."""
    limits = engine.scopes.limits
    return Yamux(yamux.Config(max_window_growth=limits.receive_windows_per_connection), memory=engine.scopes.windows)
