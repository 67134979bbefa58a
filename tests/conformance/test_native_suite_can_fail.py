"""The suite for transports of their own fails for QUIC with one fault each."""

from __future__ import annotations

import re

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, Direction
from peerstack.stack.errors import LocalProtocolError
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.report import Attempt
from peerstack.stack.testing import check_transport
from peerstack.stack.testing.native_checks import _can_serve, _Subject
from peerstack.transports.quic import QuicConnection, QuicListener, QuicTransport
from peerstack.transports.quic.listener import Arrival

from ..transports.quic.hosts import ANYWHERE
from ..transports.quic.link import MemoryNetwork


class TakesAnyPeer(QuicTransport):
    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions = DEFAULT_DIAL
    ) -> QuicConnection:
        expected = None if options == DEFAULT_DIAL else peer
        return await super().dial(address, expected, attempt, options)


class ServesAnyPeer(QuicTransport):
    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions = DEFAULT_DIAL
    ) -> QuicConnection:
        expected = peer if options == DEFAULT_DIAL else None
        return await super().dial(address, expected, attempt, options)


class IgnoresDirection(QuicTransport):
    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions = DEFAULT_DIAL
    ) -> QuicConnection:
        return await super().dial(address, peer, attempt)


class CannotServe(QuicTransport):
    async def dial(
        self, address: Multiaddr, peer: PeerId | None, attempt: Attempt, options: DialOptions = DEFAULT_DIAL
    ) -> QuicConnection:
        if options.direction is Direction.INBOUND:
            raise LocalProtocolError("this transport is always the client of what it dials")
        return await super().dial(address, peer, attempt)


class LosingListener(QuicListener):
    """Has a checkpoint after the connection was taken."""

    async def accept(self) -> Arrival:
        arrival = await super().accept()
        await trio.lowlevel.checkpoint()
        return arrival


class LosesArrivals(QuicTransport):
    async def listen(self, address: Multiaddr) -> QuicListener:
        listener = await super().listen(address)
        listener.__class__ = LosingListener
        return listener


class DialsAnything(QuicTransport):
    def can_dial(self, address: Multiaddr) -> bool:
        return True


@pytest.mark.parametrize(
    ("transport", "complaint"),
    [
        (TakesAnyPeer, "a connection to another peer was made"),
        (LosesArrivals, "a connection that arrived was lost"),
        (DialsAnything, "can_dial.*is True"),
        (ServesAnyPeer, "a connection with another peer was made"),
        (IgnoresDirection, "a listener saw the connection"),
    ],
)
async def test_faulty_transports_fail(
    transport: type[QuicTransport], complaint: str, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork()
    with pytest.raises(AssertionError, match=re.compile(complaint, re.DOTALL)):
        await check_transport(lambda identity: transport(identity, network=network), ANYWHERE, settle=1.0)


@pytest.mark.parametrize(("transport", "can"), [(QuicTransport, True), (CannotServe, False)])
async def test_a_transport_may_be_always_the_client(
    transport: type[QuicTransport], can: bool, autojump_clock: trio.testing.MockClock
) -> None:
    network, (one, other) = MemoryNetwork(), (Identity.generate(), Identity.generate())
    transports = (transport(one, network=network), transport(other, network=network))
    assert await _can_serve(_Subject(*transports, one, other, ANYWHERE, settle=1.0)) is can
    assert not network.sockets
