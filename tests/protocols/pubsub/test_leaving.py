"""Leaving: what was published last is read before the connection goes, and who does not tell so is not waited for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from peerstack import open_host
from peerstack.protocols.pubsub import Pubsub, PubsubConfig, PubsubMessage, ValidationResult, open_pubsub
from peerstack.protocols.pubsub.router.events import PeerSubscribed
from peerstack.protocols.pubsub.streams.peers import READ_TIMEOUT
from peerstack.protocols.pubsub.wire import MESHSUB_12, Subscription, encode_subscriptions, frame
from peerstack.stack.abc import Stream
from peerstack.stack.host import Host
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .parts import open_nodes

Clock = trio.testing.MockClock
MESSAGES = 500


@asynccontextmanager
async def open_leaver(network: MemoryNetwork, other: Host) -> AsyncIterator[Pubsub]:
    """Open a host that knows what another one subscribes to; pubsub and host are closed at once."""
    events = RecordingObserver()
    async with open_host(transports=[MemoryTransport(network)], observers=[events]) as host:
        async with open_pubsub(host) as pubsub:
            await host.connect(*other.addresses)
            await events.wait_for(PeerSubscribed)
            yield pubsub


async def test_messages_of_a_peer_that_publishes_and_leaves_at_once_arrive(autojump_clock: Clock) -> None:
    network, busy = MemoryNetwork(), PubsubConfig(validation_concurrency=1)

    async def take_time(_: PubsubMessage[bytes]) -> ValidationResult:
        await trio.sleep(READ_TIMEOUT / 2 / MESSAGES)
        return ValidationResult.ACCEPT

    async with open_nodes(1, busy, network=network) as (bob,):
        async with bob.pubsub.join("news", validators=[take_time]) as topic:
            async with open_leaver(network, bob.host) as pubsub:
                for number in range(MESSAGES):
                    await pubsub.publish("news", b"%d" % number)
            await trio.sleep(READ_TIMEOUT)
            assert topic.statistics().waiting == MESSAGES


@pytest.mark.parametrize(("published", "seconds"), [(0, 0.0), (1, READ_TIMEOUT)])
async def test_who_never_tells_that_it_has_read_is_given_some_time(
    autojump_clock: Clock, published: int, seconds: float
) -> None:
    network = MemoryNetwork()

    async def read_on(stream: Stream) -> None:
        async with await mute.open_stream(stream.remote_peer, MESHSUB_12) as own:
            await own.send_all(frame(encode_subscriptions([Subscription(True, "news")])))
            async for _ in stream:
                pass
            await trio.sleep_forever()

    async with open_host(listen=["/memory/0"], transports=[MemoryTransport(network)]) as mute:
        mute.handle(MESHSUB_12, read_on)
        async with open_leaver(network, mute) as pubsub:
            for _ in range(published):
                await pubsub.publish("news", b"x")
            await pubsub.drain()
            began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(seconds)
