"""Streams to peers that lose early data are opened in the slow way, others in the fast one."""

from __future__ import annotations

import pytest
import trio.testing

from peerstack import open_host
from peerstack.stack.abc import Stream
from peerstack.stack.errors import NegotiationError
from peerstack.stack.host.quirks import takes_early_proposals
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

JS = "js-libp2p/3.3.11 node/20.11.0"


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


@pytest.mark.parametrize(
    ("agent", "early"),
    [
        (JS, False),
        ("helia/5.1.0 browser/Mozilla/5.0 (X11)", False),
        ("js-libp2p/2.0.0", False),
        ("go-libp2p/0.51.0", True),
        ("kubo/0.36.0/", True),
        ("rust-libp2p/0.57.1", True),
        ("peerstack/0.1.0", True),
        ("", True),
    ],
)
def test_agents_that_take_early_proposals(agent: str, early: bool) -> None:
    assert takes_early_proposals(agent) is early


@pytest.mark.parametrize(("agent", "early"), [(JS, False), ("go-libp2p/0.51.0", True)])
async def test_a_refusal_shows_when_a_stream_is_opened_unless_the_proposal_is_early(
    agent: str, early: bool, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork()
    async with (
        open_host(transports=[MemoryTransport(network)], listen=["/memory/7"], agent=agent) as listener,
        open_host(transports=[MemoryTransport(network)]) as dialer,
    ):
        listener.handle("/echo/1", echo)
        peer = await dialer.connect(listener.addresses[0])
        listener.unhandle("/echo/1")
        if not early:
            with pytest.raises(NegotiationError):
                await dialer.open_stream(peer, "/echo/1")
            return
        stream = await dialer.open_stream(peer, "/echo/1")
        with pytest.raises(NegotiationError):
            await stream.receive_some()
