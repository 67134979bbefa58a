"""Every transport with security and streams of its own passes the same suite."""

import pytest
from multiaddr import Multiaddr

from peerstack.stack.testing import check_transport
from peerstack.transports.quic import QuicTransport


@pytest.mark.slow
async def test_quic() -> None:
    await check_transport(QuicTransport, Multiaddr("/ip4/127.0.0.1/udp/0/quic-v1"))
