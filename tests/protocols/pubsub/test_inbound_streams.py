"""More than one stream of a peer: rust-libp2p opens one for each connection and sends on both, others open several."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import JoinedTopic
from peerstack.protocols.pubsub.streams.peer_streams import MAX_INBOUND
from peerstack.protocols.pubsub.validation.signing import sign
from peerstack.protocols.pubsub.wire import MESHSUB_12, frame
from peerstack.stack.abc import Stream

from .parts import Node, open_nodes, open_topics

Clock = trio.testing.MockClock


async def send(author: Node, stream: Stream, number: int) -> None:
    message = sign(author.host.identity, "news", b"number %d" % number, number)
    await stream.send_all(frame([message.entry]))


async def numbers(topic: JoinedTopic[bytes], count: int) -> list[bytes]:
    with trio.fail_after(5):
        return sorted([(await topic.receive()).data for _ in range(count)])


async def test_a_new_stream_leaves_the_one_before_as_it_is(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, at_bob):
        async with await bob.host.open_stream(alice.peer_id, MESHSUB_12) as second:
            await send(bob, second, 2)
            await at_bob.publish(b"number 1")  # on the first
            await send(bob, second, 3)
            assert await numbers(at_alice, 3) == [b"number 1", b"number 2", b"number 3"]
        await at_bob.publish(b"number 4")
        assert await numbers(at_alice, 1) == [b"number 4"]
        assert at_alice.peers == [bob.peer_id]


async def test_of_too_many_streams_the_oldest_is_reset(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, _), AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(await bob.host.open_stream(alice.peer_id, MESHSUB_12))
            for _ in range(MAX_INBOUND + 1)
        ]
        for stream in streams:
            await stream.send_all(b"\0")  # opens it there
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await send(bob, streams[0], 1)
        for number, stream in enumerate(streams[1:]):
            await send(bob, stream, 10 + number)
        assert await numbers(at_alice, MAX_INBOUND) == [b"number %d" % (10 + n) for n in range(MAX_INBOUND)]
