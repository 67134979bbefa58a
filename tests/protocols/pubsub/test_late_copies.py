"""Copies that come after the ids of their messages were forgotten: a slow reader passes them on late."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import (
    GossipConfig,
    JoinedTopic,
    PubsubConfig,
    PubsubMessage,
    QueueConfig,
    SignaturePolicy,
    ValidationResult,
    sha256_of_data,
)
from peerstack.protocols.pubsub.validation.signing import sign
from peerstack.protocols.pubsub.wire import IHave, encode_control

from .parts import Node, open_nodes, open_topics

Clock = trio.testing.MockClock


@asynccontextmanager
async def open_diamond(config: PubsubConfig) -> AsyncIterator[tuple[list[Node], list[JoinedTopic[bytes]]]]:
    """Open alice, who publishes, bob and carol beside her, and dave behind both."""
    async with open_nodes(4, config, connect=False) as nodes, AsyncExitStack() as stack:
        alice, bob, carol, dave = nodes
        for near, far in ((alice, bob), (alice, carol), (bob, dave), (carol, dave)):
            await near.host.connect(*far.host.addresses)
        topics = [
            await stack.enter_async_context(node.pubsub.join("news", buffer=2 if node is bob else 1024))
            for node in nodes
        ]
        for topic in topics:
            await topic.wait_peers(2)
        await trio.sleep(3)
        yield nodes, topics


async def read_all(topic: JoinedTopic[bytes], seconds: float = 30) -> list[PubsubMessage[bytes]]:
    got = []
    with trio.move_on_after(seconds):
        while True:
            got.append(await topic.receive())
    return got


NUMBERS = PubsubConfig()
CONTENT = PubsubConfig(message_id=sha256_of_data)
ANONYMOUS = PubsubConfig(signatures=SignaturePolicy.STRICT_NO_SIGN)


@pytest.mark.parametrize("ids", [NUMBERS, CONTENT, ANONYMOUS], ids=["numbers", "content", "anonymous"])
@pytest.mark.parametrize("pause", [10, 130, 500])
async def test_a_reader_that_lags_behind_the_seen_cache_causes_no_duplicates(
    autojump_clock: Clock, pause: float, ids: PubsubConfig
) -> None:
    # One read of the memory transport brings a message each, so that most wait in the stream to bob, unread.
    config = replace(ids, queues=QueueConfig(stall_timeout=10_000))
    async with open_diamond(config) as (nodes, (at_alice, at_bob, at_carol, at_dave)):
        await at_alice.publish(b"first")
        assert (await at_bob.receive()).data == b"first"  # from here on the network waits for this reader
        sent = [b"first"]
        for number in range(30):
            sent.append(b"%d" % number + bytes(20_000))
            await at_alice.publish(sent[-1])
            await trio.sleep(0.1)
        early = await read_all(at_dave)
        await trio.sleep(pause)
        late = [message.data for message in await read_all(at_bob)]
        assert sorted(late) == sorted(sent[1:])
        for topic, before in ((at_dave, early), (at_carol, [])):
            assert sorted(message.data for message in before + await read_all(topic)) == sorted(sent)
        assert [node.pubsub.statistics().rejected for node in nodes] == [{}] * 4
        assert nodes[3].pubsub.statistics().missing == 0
        assert min(nodes[3].pubsub.score(node.peer_id) for node in nodes[1:3]) >= 0
        assert bool(nodes[1].pubsub.statistics().counts["stale"]) == (ids is not NUMBERS and pause > 60)


async def test_a_reader_that_has_caught_up_passes_on_again(autojump_clock: Clock) -> None:
    config = replace(CONTENT, queues=QueueConfig(stall_timeout=10_000))
    async with open_nodes(3, config, connect=False) as (alice, bob, carol), AsyncExitStack() as stack:
        await alice.host.connect(*bob.host.addresses)
        await bob.host.connect(*carol.host.addresses)
        at_alice, at_carol = [await stack.enter_async_context(node.pubsub.join("news")) for node in (alice, carol)]
        at_bob = await stack.enter_async_context(bob.pubsub.join("news", buffer=1))
        await at_bob.wait_peers(2)
        await at_alice.publish(b"first")
        await at_bob.receive()
        for number in range(10):
            await at_alice.publish(b"%d" % number + bytes(20_000))
        before = await read_all(at_carol, 100)
        assert len(await read_all(at_bob, 1)) == 10
        await at_alice.publish(b"last")
        assert len(before) < 10
        assert [message.data for message in await read_all(at_carol, 1)] == [b"last"]
        assert len(before) + bob.pubsub.statistics().counts["stale"] == 11


async def test_an_old_offer_is_not_asked_for(autojump_clock: Clock) -> None:
    async with open_nodes(2, CONTENT) as nodes:
        alice, bob = nodes
        async with open_topics(nodes):
            offer = encode_control(ihave=[IHave("news", [b"id"])])[0]
            streams = bob.pubsub._peers.streams[alice.peer_id]
            for age, asked in ((61, 0), (59, 1)):
                await bob.pubsub._pipeline.handle_frames(streams, [offer], trio.current_time() - age)
                assert bob.pubsub.statistics().entries_sent["iwant"] == asked
            await trio.sleep(10)
            assert bob.pubsub.statistics().counts["broken_promises"] == 1


async def test_a_message_that_an_asynchronous_validator_accepts_is_passed_on_by_its_age(
    autojump_clock: Clock,
) -> None:
    async def accept(message: PubsubMessage[bytes]) -> ValidationResult:
        await trio.sleep(1)
        return ValidationResult.ACCEPT

    async with open_nodes(3, CONTENT, connect=False) as (alice, bob, carol), AsyncExitStack() as stack:
        for node in (alice, carol):
            await node.host.connect(*bob.host.addresses)
        at_carol = await stack.enter_async_context(carol.pubsub.join("news"))
        at_bob = await stack.enter_async_context(bob.pubsub.join("news", validators=[accept]))
        await at_carol.wait_peers(1)
        await trio.sleep(2)
        streams = bob.pubsub._peers.streams[alice.peer_id]
        for age in (58.5, 59.5):
            message = sign(alice.host.identity, "news", b"%f" % age, 1)
            await bob.pubsub._pipeline.handle_frames(streams, [message.entry], trio.current_time() - age)
        assert [message.data for message in await read_all(at_bob, 2)] == [b"58.500000", b"59.500000"]
        assert [message.data for message in await read_all(at_carol, 2)] == [b"58.500000"]


async def test_a_copy_whose_number_is_known_is_not_delivered_however_late(autojump_clock: Clock) -> None:
    config = PubsubConfig(gossip=GossipConfig(seen_ttl=5))
    async with open_nodes(2, config) as (alice, bob):
        async with alice.pubsub.join("news") as at_alice, bob.pubsub.join("news") as at_bob:
            await at_alice.wait_peers()
            receipts = [await at_alice.publish(b"%d" % number) for number in range(3)]
            messages = [alice.pubsub._router._cache.get(receipt.id) for receipt in receipts]
            assert len(await read_all(at_bob, 1)) == 3
            await trio.sleep(60)
            link = bob.pubsub._peers.streams[alice.peer_id]
            for message in messages:
                assert message is not None
                await bob.pubsub._pipeline.handle_frames(link, [message.entry])
            assert await read_all(at_bob, 1) == []
            assert bob.pubsub.statistics().ignored == {"repeated": 3}
            assert len(bob.pubsub._router._pending) == 0
            await bob.pubsub._pipeline.handle_frames(link, [messages[0].entry])  # type: ignore[union-attr]  # checked above
            assert bob.pubsub.statistics().ignored == {"repeated": 3}  # its id is remembered again
            assert bob.pubsub.score(alice.peer_id) >= 0


async def test_ids_of_the_content_may_be_said_again_after_their_time(autojump_clock: Clock) -> None:
    config = PubsubConfig(gossip=GossipConfig(seen_ttl=5), message_id=sha256_of_data)
    async with open_nodes(2, config) as (alice, bob):
        async with alice.pubsub.join("news") as at_alice, bob.pubsub.join("news") as at_bob:
            await at_alice.wait_peers()
            for _ in range(2):
                await at_alice.publish(b"tick")
                await trio.sleep(60)
            assert [message.data for message in await read_all(at_bob, 1)] == [b"tick", b"tick"]


async def test_a_message_whose_validator_timed_out_is_not_repeated_when_it_comes_again(autojump_clock: Clock) -> None:
    slow = True

    async def moody(message: PubsubMessage[bytes]) -> ValidationResult:
        await trio.sleep(100 if slow else 0)
        return ValidationResult.ACCEPT

    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[moody]) as at_bob:
            await at_alice.wait_peers()
            receipt = await at_alice.publish(b"twice")
            message = alice.pubsub._router._cache.get(receipt.id)
            assert message is not None
            await trio.sleep(10)
            slow = False
            await bob.pubsub._pipeline.handle_frames(bob.pubsub._peers.streams[alice.peer_id], [message.entry])
            assert [message.data for message in await read_all(at_bob, 1)] == [b"twice"]
