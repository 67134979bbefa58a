"""WebSocket over any transport of byte streams, which is TCP everywhere but in tests."""

from __future__ import annotations

import ssl
from functools import partial

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import (
    DEFAULT_DIAL,
    DialOptions,
    Direction,
    Pipe,
    RawConnection,
    StreamListener,
    StreamTransport,
)
from peerstack.stack.background import close_at_once
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.net.pipes import as_pipe

from .address import WebSocketAddress, websocket_address
from .handshake import accept_websocket, connect_websocket
from .tls import accept_tls, client_context, connect_tls


class WebSocketTransport:
    """Dials and listens on WebSocket; implements `abc.StreamTransport`."""

    def __init__(
        self,
        below: StreamTransport,
        *,
        server_tls: ssl.SSLContext | None = None,
        client_tls: ssl.SSLContext | None = None,
    ) -> None:
        """`below` carries the bytes: `TcpTransport()`.

        `server_tls`, such as `server_context(certificate, key)`, is needed to listen on `/wss`; servers are verified by
        `client_tls`, by default `client_context()`, which trusts the authorities of the system.
        """
        self._below = below
        self._server_tls = server_tls
        self._client_tls = client_tls

    def can_dial(self, address: Multiaddr) -> bool:
        """Return whether it is a WebSocket address on one that the transport below can dial."""
        target = websocket_address(address)
        return target is not None and self._below.can_dial(target.below)

    def can_listen(self, address: Multiaddr) -> bool:
        """Return whether it is a WebSocket address on one that the transport below can listen on."""
        target = websocket_address(address)
        return target is not None and self._below.can_listen(target.below) and target.on(target.below) == address

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        """Connect and shake hands, as the server if `options` say `INBOUND`, which takes a certificate for `/wss`.

        Raises OSError with the cause, RemoteProtocolError with the handshake (TLS or WebSocket) and the check that
        failed, ConnectionLost, InvalidAddress for other addresses and where a certificate lacks.
        """
        target = _taken_apart(address)
        server = options.direction is Direction.INBOUND
        server_tls = self._server_context(address, target) if server else None
        raw = await self._below.dial(target.below, options)
        try:
            pipe = as_pipe(raw.stream)
            if server:
                stream = await _accept(pipe, server_tls)
            else:
                if target.secure:
                    pipe = await connect_tls(pipe, self._client_context(), target.host)
                stream = await connect_websocket(pipe, target.uri)
        except BaseException:
            await close_at_once(raw.stream)
            raise
        return RawConnection(stream, target.on(raw.local_address), target.on(target.below))

    async def listen(self, address: Multiaddr) -> StreamListener:
        """Bind. Raises OSError with the cause, InvalidAddress for other addresses and where a certificate lacks."""
        target = _taken_apart(address)
        server_tls = self._server_context(address, target)
        below = await self._below.listen(target.below)
        return WebSocketListener(below, target, server_tls)

    def _server_context(self, address: Multiaddr, target: WebSocketAddress) -> ssl.SSLContext | None:
        if target.secure and self._server_tls is None:
            raise InvalidAddress(
                f"to serve {address} takes a certificate: WebSocketTransport(..., server_tls=server_context(...))"
            )
        return self._server_tls if target.secure else None

    def _client_context(self) -> ssl.SSLContext:
        if self._client_tls is None:
            self._client_tls = client_context()  # reads all the authorities of the system: once, when first needed
        return self._client_tls


class WebSocketListener(StreamListener):
    """A listener whose raw connections still need their handshake: the upgrader runs it, with a deadline."""

    def __init__(self, below: StreamListener, target: WebSocketAddress, tls: ssl.SSLContext | None) -> None:
        self._below = below
        self._target = target
        self._tls = tls
        self._follow()
        below.on_addresses_changed(self._follow)

    def _follow(self) -> None:
        self.addresses = tuple(self._target.on(address) for address in self._below.addresses)

    async def accept(self) -> RawConnection:
        """Wait for the next connection; slow clients hold up their own handshake only."""
        raw = await self._below.accept()
        local, remote = self._target.on(raw.local_address), self._target.on(raw.remote_address)
        return RawConnection(raw.stream, local, remote, partial(_accept, as_pipe(raw.stream), self._tls))

    async def aclose(self) -> None:
        """Stop listening; connections accepted before live on."""
        await self._below.aclose()


async def _accept(pipe: Pipe, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """Shake hands as the server."""
    return await accept_websocket(pipe if tls is None else await accept_tls(pipe, tls))


def _taken_apart(address: Multiaddr) -> WebSocketAddress:
    target = websocket_address(address)
    if target is None:
        raise InvalidAddress(f"{address} is not a WebSocket address such as /ip4/127.0.0.1/tcp/4001/ws")
    return target
