"""Hosts of commands: they take every address that what is installed can carry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.abc import Listener, MuxedConnection, Observer, Secured, StreamListener, Wire
from peerstack.stack.addressing import components
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.report import Attempt
from peerstack.stack.security.noise import Noise
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.unix import UnixTransport

from .wiring import PLAIN, Wiring

if TYPE_CHECKING:
    from peerstack.stack.security.tls import Tls
    from peerstack.transports.quic import QuicTransport
    from peerstack.transports.websocket import WebSocketTransport


class MissingExtra(InvalidAddress):
    """The transport of an address is not installed; the message says how to install it."""


class _Knows(Protocol):
    """What both kinds of transports say of addresses."""

    def can_dial(self, address: Multiaddr) -> bool: ...

    def can_listen(self, address: Multiaddr) -> bool: ...


TransportT = TypeVar("TransportT", bound=_Knows)


def open_any_host(
    *,
    wiring: Wiring = PLAIN,
    identity: Identity | None = None,
    agent: str | None = None,
    observers: Iterable[Observer] = (),
) -> AbstractAsyncContextManager[Host]:
    """Open a host with TCP, unix sockets, WebSocket and QUIC, Noise and TLS; libraries are loaded at need.

    In a private network it has no QUIC.
    """
    identity = identity or Identity.generate()
    quic = _OnDemandQuic({"quic-v1"}, lambda: _make_quic(identity))
    websocket = _OnDemandWebSocket({"ws", "wss"}, lambda: _make_websocket(wiring))
    return open_host(
        identity=identity,
        transports=[TcpTransport(), UnixTransport(), websocket],
        native_transports=[quic] if wiring.private_network is None else [],
        security=[Noise(identity), _OnDemandTls(identity)],
        private_network=wiring.private_network,
        agent=agent,
        observers=observers,
    )


def _make_websocket(wiring: Wiring) -> WebSocketTransport:
    from peerstack.transports.websocket import WebSocketTransport

    return WebSocketTransport(TcpTransport(), server_tls=wiring.server_tls, client_tls=wiring.client_tls)


def _make_quic(identity: Identity) -> QuicTransport:
    from peerstack.transports.quic import QuicTransport

    return QuicTransport(identity)


class _OnDemand(Generic[TransportT]):
    """A transport that is made when an address names it: a ping over TCP must not wait for the libraries of QUIC."""

    def __init__(self, names: set[str], make: Callable[[], TransportT]) -> None:
        self._names = names
        self._make = make

    def can_dial(self, address: Multiaddr) -> bool:
        """Say whether the address names the transport, and the transport itself agrees, if it is installed."""
        return self._is_named(address) and (isinstance(self._made, str) or self._made.can_dial(address))

    def can_listen(self, address: Multiaddr) -> bool:
        """Say whether the address names the transport, and the transport itself agrees, if it is installed."""
        return self._is_named(address) and (isinstance(self._made, str) or self._made.can_listen(address))

    def _is_named(self, address: Multiaddr) -> bool:
        return any(name in self._names for name, _ in components(address))

    @cached_property
    def _made(self) -> TransportT | str:
        """The transport, or in words what must be installed for it."""
        try:
            return self._make()
        except ImportError as error:
            return str(error)

    @property
    def _real(self) -> TransportT:
        if isinstance(self._made, str):
            raise MissingExtra(self._made)
        return self._made


class _OnDemandWebSocket(_OnDemand["WebSocketTransport"]):
    async def dial(self, address: Multiaddr) -> Wire:
        return await self._real.dial(address)

    async def listen(self, address: Multiaddr) -> StreamListener:
        return await self._real.listen(address)


class _OnDemandQuic(_OnDemand["QuicTransport"]):
    async def dial(self, address: Multiaddr, peer: PeerId | None, attempt: Attempt) -> MuxedConnection:
        return await self._real.dial(address, peer, attempt)

    async def listen(self, address: Multiaddr) -> Listener:
        return await self._real.listen(address)


class _OnDemandTls:
    """TLS, made when a peer wants it instead of Noise."""

    protocol_id = "/tls/1.0.0"

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        return await self._real.secure(stream, initiator=initiator, expect=expect, muxers=muxers)

    @cached_property
    def _real(self) -> Tls:
        from peerstack.stack.security.tls import Tls

        return Tls(self._identity)
