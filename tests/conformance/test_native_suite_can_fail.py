"""The suite for transports of their own fails for QUIC with one fault each."""

from __future__ import annotations

import re

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.identity import PeerId
from peerstack.stack.report import Attempt
from peerstack.stack.testing import check_transport
from peerstack.transports.quic import QuicConnection, QuicListener, QuicTransport
from peerstack.transports.quic.endpoint import Arrival

from ..transports.quic.hosts import ANYWHERE
from ..transports.quic.link import MemoryNetwork


class TakesAnybody(QuicTransport):
    async def dial(self, address: Multiaddr, peer: PeerId | None, attempt: Attempt) -> QuicConnection:
        return await super().dial(address, None, attempt)


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
        (TakesAnybody, "a connection to another peer was made"),
        (LosesArrivals, "a connection that arrived was lost"),
        (DialsAnything, "can_dial.*is True"),
    ],
)
async def test_faulty_transports_fail(
    transport: type[QuicTransport], complaint: str, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork()
    with pytest.raises(AssertionError, match=re.compile(complaint, re.DOTALL)):
        await check_transport(lambda identity: transport(identity, network=network), ANYWHERE, settle=1.0)
