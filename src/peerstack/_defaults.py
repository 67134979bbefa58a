"""The default transports and security protocols of a host: all that are installed, each library loaded when needed.

A program that speaks TCP only must not wait for the libraries of QUIC, so a transport is made when an address names it,
and TLS when a peer chooses it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import (
    DEFAULT_DIAL,
    DialOptions,
    Listener,
    MuxedConnection,
    RawConnection,
    Secured,
    Security,
    StreamListener,
    StreamTransport,
    Transport,
)
from peerstack.stack.addressing import transport_name
from peerstack.stack.errors import InvalidAddress, StackError
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.limits import GrowsWindows, WindowBudget
from peerstack.stack.report import Attempt
from peerstack.stack.security.noise import Noise
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.unix import UnixTransport

if TYPE_CHECKING:
    from peerstack.stack.security.tls import Tls
    from peerstack.transports.quic import QuicTransport
    from peerstack.transports.websocket import WebSocketTransport


class MissingExtra(InvalidAddress):
    """The transport of an address is not installed; the message says how to install it."""


def default_transports(
    *, server_tls: ssl.SSLContext | None = None, client_tls: ssl.SSLContext | None = None
) -> list[StreamTransport]:
    """Return TCP, unix sockets, and WebSocket over the same TCP, with these contexts for its secure form."""
    tcp = TcpTransport()
    return [tcp, UnixTransport(), _OnDemandWebSocket(tcp, server_tls, client_tls)]


def default_native_transports(identity: Identity) -> list[Transport]:
    """Return QUIC."""
    return [_OnDemandQuic(identity)]


def default_security(identity: Identity) -> list[Security]:
    """Return Noise, and TLS if it is installed."""
    if find_spec("OpenSSL") is None:
        return [Noise(identity)]
    return [Noise(identity), _OnDemandTls(identity)]


class _Knows(Protocol):
    """What both kinds of transports have."""

    def can_dial(self, address: Multiaddr) -> bool: ...

    def can_listen(self, address: Multiaddr) -> bool: ...


TransportT = TypeVar("TransportT", bound=_Knows)


class _OnDemand(Generic[TransportT]):
    """A transport that is made when an address names it.

    If the import fails, the address is still accepted, so that the error can say what to install. Each use tries again:
    an import also fails when file descriptors run out.
    """

    def __init__(self, names: set[str], make: Callable[[], TransportT]) -> None:
        self._names = names
        self._make = make
        self._made: TransportT | None = None

    def can_dial(self, address: Multiaddr) -> bool:
        """Return whether the address names the transport, and the transport itself agrees, if it is installed."""
        return self._is_named(address) and self._agrees(lambda transport: transport.can_dial(address))

    def can_listen(self, address: Multiaddr) -> bool:
        """Return whether the address names the transport, and the transport itself agrees, if it is installed."""
        return self._is_named(address) and self._agrees(lambda transport: transport.can_listen(address))

    def _is_named(self, address: Multiaddr) -> bool:
        return transport_name(address) in self._names

    def _agrees(self, question: Callable[[TransportT], bool]) -> bool:
        try:
            transport = self.real
        except (MissingExtra, OSError):
            return True
        return question(transport)

    @property
    def real(self) -> TransportT:
        """The transport itself. Raises MissingExtra, and OSError where its library cannot be read."""
        if self._made is None:
            try:
                self._made = self._make()
            except ImportError as error:
                raise MissingExtra(str(error)) from error
        return self._made


class _OnDemandWebSocket(_OnDemand["WebSocketTransport"]):
    def __init__(self, tcp: TcpTransport, server_tls: ssl.SSLContext | None, client_tls: ssl.SSLContext | None) -> None:
        def make() -> WebSocketTransport:
            from peerstack.transports.websocket import WebSocketTransport

            return WebSocketTransport(tcp, server_tls=server_tls, client_tls=client_tls)

        super().__init__({"ws", "wss"}, make)

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        return await self.real.dial(address, options)

    async def listen(self, address: Multiaddr) -> StreamListener:
        return await self.real.listen(address)


class _OnDemandQuic(_OnDemand["QuicTransport"], GrowsWindows):
    def __init__(self, identity: Identity) -> None:
        def make() -> QuicTransport:
            from peerstack.transports.quic import QuicTransport

            transport = QuicTransport(identity)
            if self._growth is not None:
                transport.grow_within(*self._growth)
            return transport

        super().__init__({"quic-v1"}, make)
        self._growth: tuple[WindowBudget, int] | None = None

    @property
    def engines(self) -> dict[str, str]:
        """QUIC's engine, once the transport was needed."""
        return {} if self._made is None else self._made.engines

    def grow_within(self, budget: WindowBudget, per_connection: int) -> None:
        """Remember the budget until the transport is made."""
        self._growth = budget, per_connection

    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions = DEFAULT_DIAL
    ) -> MuxedConnection:
        return await self.real.dial(address, peer, attempt, options)

    async def listen(self, address: Multiaddr) -> Listener:
        return await self.real.listen(address)


class _OnDemandTls:
    """TLS, made when a peer wants it instead of Noise."""

    protocol_id = "/tls/1.0.0"

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._made: Tls | None = None

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        return await self._real().secure(stream, initiator=initiator, expect=expect, muxers=muxers)

    def _real(self) -> Tls:
        if self._made is None:
            try:
                from peerstack.stack.security.tls import Tls
            except ImportError as error:
                raise StackError(f"TLS cannot be loaded: {error}") from error
            self._made = Tls(self._identity)
        return self._made
