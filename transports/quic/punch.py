"""Being the server of a connection that this side dials: packets keep the way open until the peer's own dial is here.

In a hole punch the NAT before this host lets the peer in only after something went out to the peer. What that says does
not matter: "a UDP packet filled with random bytes" every 10 to 200 ms (libp2p specs, `relay/DCUtR.md`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import uniform
from typing import Final

import trio

from peerstack.stack.background import open_background
from peerstack.stack.errors import ConnectionLost, PeerIdMismatch, StackError
from peerstack.stack.identity import PeerId
from peerstack.stack.net.datagrams import SocketAddress

from .connection import QuicConnection
from .endpoint import Endpoint, Expected
from .interface import Arrived
from .listener import Arrival

NOISE_SIZE: Final = 64
"""Bytes of such a datagram, as in go-libp2p."""
SHORTEST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 0.2
"""Seconds between two of them."""
_LONG_HEADER: Final = 0xC0
"""Such a packet is too short to be answered; one with a short header would be, by a stateless reset."""


@asynccontextmanager
async def open_punch(endpoint: Endpoint, address: SocketAddress, peer: PeerId | None) -> AsyncIterator[Punch]:
    """Punch while the block runs. Raises `OSError` if another dial to there does."""
    with endpoint.expecting(address) as expected:
        punch = Punch(endpoint, address, peer)
        try:
            async with open_background() as nursery:
                nursery.start_soon(punch.read)
                nursery.start_soon(punch.send_noise)
                nursery.start_soon(punch.shake_hands, expected)
                yield punch
        except BaseException:
            punch.abandon()
            raise


class Punch:
    """A dial to an address from which the peer, of whatever name if None, is to begin the connection."""

    def __init__(self, endpoint: Endpoint, address: SocketAddress, peer: PeerId | None) -> None:
        self._endpoint = endpoint
        self._address = address
        self._peer = peer
        self._answered = trio.Event()
        self._settled = trio.Event()
        self._connection: QuicConnection | None = None
        self._failure: Exception | None = None

    async def wait_answered(self) -> None:
        """Wait until a connection from there begins. Raises `OSError` if nothing can be sent there."""
        await self._answered.wait()
        if self._settled.is_set():
            self._check()

    async def wait_connected(self, seconds: float) -> QuicConnection:
        """Wait until the peer is authenticated.

        Raises `PeerIdMismatch`, or what went wrong in the handshake; `trio.TooSlowError` if nothing did, and time ran
        out.
        """
        with trio.move_on_after(seconds):
            await self._settled.wait()
        self._check()
        if self._connection is None:
            raise trio.TooSlowError(f"no answer within {seconds:g} s")
        return self._connection

    def _check(self) -> None:
        if self._connection is None and self._failure is not None:
            raise self._failure

    def abandon(self) -> None:
        """Give up what came about."""
        if self._connection is not None:
            self._connection.abandon()

    # ---- the tasks

    async def read(self) -> None:
        """Take part in reading the socket."""
        try:
            await self._endpoint.drive()
        except (OSError, trio.ClosedResourceError) as error:
            self._fail(ConnectionLost(f"the socket broke: {error}"))

    async def send_noise(self) -> None:
        """Send random bytes now and then."""
        while True:
            noise = bytearray(os.urandom(NOISE_SIZE))
            noise[0] |= _LONG_HEADER
            refusal = self._endpoint.send(bytes(noise), self._address)
            if refusal is not None:
                self._fail(refusal)
            await trio.sleep(uniform(SHORTEST_PAUSE, LONGEST_PAUSE))

    async def shake_hands(self, expected: Expected) -> None:
        """Shake hands with all who come from there, since those of an earlier dial may lead nowhere."""
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._shake_hands, await expected.wait())
                self._answered.set()

    async def _shake_hands(self, arrived: Arrived) -> None:
        try:
            connection = await Arrival(self._endpoint, arrived).upgrade()
        except ConnectionLost as error:
            self._failure = error
            return
        except StackError as error:
            self._fail(error)
            return
        if self._settled.is_set():
            connection.abandon()
        elif self._peer is not None and connection.remote_peer != self._peer:
            connection.abandon()
            self._fail(PeerIdMismatch(self._peer, connection.remote_peer))
        else:
            self._connection = connection
            self._settled.set()

    def _fail(self, failure: Exception) -> None:
        if not self._settled.is_set():
            self._failure = failure
            self._answered.set()
            self._settled.set()
