"""Connections that arrive at a socket, and the handshake of each."""

from __future__ import annotations

import trio

from peerstack.stack.abc import Direction, Incoming, Listener
from peerstack.stack.background import open_background

from .address import quic_address
from .certificates import CertificateVerifier
from .connection import QuicConnection
from .endpoint import Endpoint
from .interface import Arrived


class QuicListener(Listener):
    """A socket that lets connections in."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._broken: OSError | None = None
        self.addresses = (quic_address(endpoint.address),)

    async def accept(self) -> Arrival:
        """Wait for the next connection, and read the socket meanwhile if no other task does. Raises `OSError`, too."""
        await trio.lowlevel.checkpoint()
        while (arrival := self._take()) is None:
            if not self._endpoint.listening:
                raise trio.ClosedResourceError("this listener was closed")
            async with open_background() as nursery:
                nursery.start_soon(self._drive)
                await self._endpoint.wait_arrival()
            if self._broken is not None:
                raise self._broken
        return arrival

    def _take(self) -> Arrival | None:
        while (arrived := self._endpoint.take_arrival()) is not None:
            try:
                return Arrival(self._endpoint, arrived)
            except OSError:  # the network interface of a link-local address is no more
                self._endpoint.ignore(arrived)
        return None

    async def _drive(self) -> None:
        try:
            await self._endpoint.drive()
        except trio.ClosedResourceError:
            pass  # by `aclose`, which wakes the task that accepts
        except OSError as error:
            self._broken = error
            self._endpoint.stop_listening()

    async def aclose(self) -> None:
        """Stop listening; connections accepted before live on."""
        self._endpoint.stop_listening()
        await trio.lowlevel.checkpoint()


class Arrival(Incoming):
    """A connection that arrived; the engine has its first datagrams, unread."""

    def __init__(self, endpoint: Endpoint, arrived: Arrived) -> None:
        self.local_address = quic_address(endpoint.address)
        self.remote_address = quic_address(arrived.address)
        self._endpoint = endpoint
        self._arrival = arrived.arrival

    async def upgrade(self) -> QuicConnection:
        """Shake hands; see `abc.Incoming.upgrade`."""
        endpoint, verifier = self._endpoint, CertificateVerifier(None)
        try:
            handle = endpoint.engine.accept(self._arrival, verifier, trio.current_time())
            connection = QuicConnection(endpoint, handle, verifier)
        finally:
            endpoint.decided(self._arrival)
        try:
            async with connection.driven():
                await connection.wait_connected(Direction.INBOUND)
        except BaseException:
            connection.abandon()
            raise
        return connection

    async def refuse(self) -> None:
        """Answer CONNECTION_REFUSED: after silence the peer tries again."""
        self._endpoint.engine.refuse(self._arrival)
        self._endpoint.decided(self._arrival)
        await trio.lowlevel.checkpoint()
