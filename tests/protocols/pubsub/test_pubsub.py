"""Publish and subscribe between whole hosts: what arrives, and what receipts say."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack import open_host
from peerstack.protocols.pubsub import (
    DeliveryState,
    GossipConfig,
    PeerJoined,
    PeerLeft,
    PubsubConfig,
    PubsubMessage,
    QueueConfig,
    Receipt,
    SignaturePolicy,
    ValidationResult,
    WhenFull,
    open_pubsub,
)
from peerstack.protocols.pubsub.api.events import PubsubPeerAdded, PubsubPeerRemoved
from peerstack.protocols.pubsub.router.events import Grafted, PeerSubscribed
from peerstack.stack.errors import InvalidInput
from peerstack.stack.identity import Identity
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .parts import open_nodes, open_topics

Clock = trio.testing.MockClock
UNSIGNED = PubsubConfig(signatures=SignaturePolicy.STRICT_NO_SIGN)
FLOOD = PubsubConfig(gossip=GossipConfig(floodsub_only=True))


@pytest.mark.parametrize("config", [PubsubConfig(), UNSIGNED, FLOOD], ids=["signed", "unsigned", "floodsub"])
async def test_what_one_publishes_the_other_gets(autojump_clock: Clock, config: PubsubConfig) -> None:
    async with open_nodes(2, config) as (alice, bob), open_topics([alice, bob]) as (at_alice, at_bob):
        receipt = await at_alice.publish(b"hello")
        message = await at_bob.receive()
        signed = config.signatures.signs
        assert (message.data, message.value, message.topic) == (b"hello", b"hello", "news")
        assert message.author == (alice.peer_id if signed else None)
        assert message.source == alice.peer_id
        assert message.seqno == receipt.seqno
        assert (message.seqno is not None) == signed
        assert message.id == receipt.id
        await receipt.wait_sent()
        assert receipt.sent == (bob.peer_id,)
        assert len(at_alice._subscription) == 0  # our own messages are not delivered to us


async def test_old_and_new_speak_with_each_other(autojump_clock: Clock) -> None:
    async with open_nodes(2, PubsubConfig(), FLOOD) as nodes, open_topics(nodes) as (new, old):
        await new.publish(b"to the old")
        await old.publish(b"to the new")
        assert (await old.receive()).data == b"to the old"
        assert (await new.receive()).data == b"to the new"
        (added,) = nodes[0].events.of(PubsubPeerAdded)
        assert added.protocol == "/floodsub/1.0.0"


async def test_ten_nodes_get_every_message_exactly_once_and_in_order(autojump_clock: Clock) -> None:
    async with open_nodes(10) as nodes, open_topics(nodes) as joined_topics:
        await trio.sleep(3)  # virtual: heartbeats that build the meshes
        assert all(joined.mesh for joined in joined_topics)
        for number in range(30):
            await joined_topics[number % 3].publish(b"%d" % number)
        for index, joined in enumerate(joined_topics):
            expected = [number for number in range(30) if number % 3 != index]
            got = [await joined.receive() for _ in expected]
            assert sorted(int(message.data) for message in got) == expected
            assert sum(message.gap for message in got if not message.late) == sum(message.late for message in got)
        await trio.sleep(5)
        assert [joined.statistics().waiting for joined in joined_topics] == [0] * 10


async def test_messages_before_the_first_heartbeat_are_forwarded(autojump_clock: Clock) -> None:
    async with (
        open_nodes(3, connect=False) as (alice, bob, carol),
        alice.pubsub.join("news") as at_alice,
        bob.pubsub.join("news") as at_bob,
        carol.pubsub.join("news") as at_carol,
    ):
        await alice.host.connect(*bob.host.addresses)
        await at_alice.wait_peers()
        await trio.sleep(2)  # virtual: alice and bob are in one another's mesh
        await carol.host.connect(*bob.host.addresses)
        await at_bob.wait_peers(2)
        assert at_bob.mesh == [alice.peer_id]
        await at_alice.publish(b"hello")
        with trio.fail_after(5):
            assert (await at_carol.receive()).data == b"hello"


async def test_without_peers_a_receipt_says_that_it_reached_no_peer(autojump_clock: Clock) -> None:
    async with open_nodes(1) as (alice,), open_topics([alice]) as (joined,):
        receipt = await joined.publish(b"hello?")
        assert receipt.reached_no_peer
        assert receipt.peers == {}
        await receipt.wait_sent()


async def test_publishing_needs_no_joining(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), bob.pubsub.join("news") as joined:
        await alice.events.wait_for(PeerSubscribed)
        receipt = await alice.pubsub.publish("news", b"hello")
        assert (await joined.receive()).data == b"hello"
        assert receipt.peers.keys() == {bob.peer_id}


async def test_a_topic_left_is_a_topic_not_heard(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news"):
            await at_alice.wait_peers()
        with trio.fail_after(5):
            async for change in at_alice.peer_events():
                if isinstance(change, PeerLeft):
                    break
        assert at_alice.peers == []
        assert (await at_alice.publish(b"hello?")).reached_no_peer


async def test_who_comes_and_goes_is_told(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as joined:
        changes = joined.peer_events()
        async with bob.pubsub.join("news"):
            assert await anext(changes) == PeerJoined(bob.peer_id)
            await bob.host.disconnect(alice.peer_id)
            assert await anext(changes) == PeerLeft(bob.peer_id)
        removed = await alice.events.wait_for(PubsubPeerRemoved)
        assert removed.peer == bob.peer_id
        # The stream and the swarm tell it, whichever the scheduler lets speak first.
        assert removed.reason in {"the peer closed the connection", "the connection is gone"}


async def test_peers_that_were_connected_before_are_found(autojump_clock: Clock) -> None:
    async with open_nodes(2, connect=False) as (alice, bob):
        await alice.host.connect(*bob.host.addresses)
        async with open_topics([alice, bob]) as (at_alice, at_bob):
            await at_alice.publish(b"hello")
            assert (await at_bob.receive()).data == b"hello"


async def test_a_peer_that_comes_back_is_heard_again(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, at_bob):
        for _ in range(3):
            await alice.host.disconnect(bob.peer_id)
            await trio.testing.wait_all_tasks_blocked()
            assert not at_alice.peers + at_bob.peers
            await alice.host.connect(*bob.host.addresses)
            await at_alice.wait_peers()
            await at_bob.wait_peers()
            await at_bob.publish(b"again")
            assert (await at_alice.receive()).data == b"again"


async def test_meshes_form(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (joined, _):
        await trio.sleep(2)
        assert joined.mesh == [bob.peer_id]
        assert alice.events.of(Grafted) == [Grafted(bob.peer_id, "news")]
        assert alice.pubsub.statistics().topics == {"news": (str(bob.peer_id),)}


# ---- bad input from a person


async def test_a_message_that_is_too_large_is_refused_here(autojump_clock: Clock) -> None:
    async with open_nodes(1, PubsubConfig(max_message=100)) as (alice,), open_topics([alice]) as (joined,):
        with pytest.raises(InvalidInput, match="a message of 101 bytes is over the limit of 100"):
            await joined.publish(bytes(101))


@pytest.mark.parametrize("name", ["", "x" * 1025])
async def test_a_topic_needs_a_sensible_name(autojump_clock: Clock, name: str) -> None:
    async with open_nodes(1) as (alice,):
        with pytest.raises(InvalidInput, match="the name of a topic has 1 to 1024 bytes"):
            async with alice.pubsub.join(name):
                pass


# ---- slowness


async def test_publishing_waits_for_a_peer_that_does_not_read(autojump_clock: Clock) -> None:
    config = PubsubConfig(queues=QueueConfig(max_messages=10, stall_timeout=20))
    async with open_nodes(2, config) as (alice, bob):
        async with alice.pubsub.join("news") as at_alice, bob.pubsub.join("news", buffer=5) as at_bob:
            await at_alice.wait_peers()
            await at_alice.publish(b"first")
            await at_bob.receive()  # a reader has begun, but reads no more than this
            receipts: list[Receipt] = []
            with trio.move_on_after(10) as scope:
                while len(receipts) < 2000:
                    receipts.append(await at_alice.publish(bytes(16_000)))
            assert scope.cancelled_caught
            assert len(receipts[-1].queued) == 1
            with trio.move_on_after(30):
                await receipts[-1].wait_sent()
            (delivery,) = receipts[-1].peers.values()
            assert delivery.state is DeliveryState.DROPPED
            assert "took nothing for 20 s" in delivery.reason


async def test_a_burst_for_a_slow_reader_is_delivered_whole(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob):
        async with alice.pubsub.join("news") as at_alice, bob.pubsub.join("news", buffer=10) as at_bob:
            await at_alice.wait_peers()

            async def publish() -> None:
                for number in range(500):
                    await at_alice.publish(b"%d" % number)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish)
                for number in range(500):
                    message = await at_bob.receive()
                    assert (int(message.data), message.gap, message.missed) == (number, 0, 0)
                    await trio.sleep(0.001)


async def test_what_a_reader_misses_is_told(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", buffer=3, when_full=WhenFull.DROP_OLDEST) as at_bob:
            await at_alice.wait_peers()
            for number in range(10):
                await (await at_alice.publish(b"%d" % number)).wait_sent()
            await trio.testing.wait_all_tasks_blocked()
            got = [await at_bob.receive() for _ in range(3)]
            assert [(int(message.data), message.missed, message.gap) for message in got] == [
                (7, 7, 0),
                (8, 0, 0),
                (9, 0, 0),
            ]


async def test_two_subscriptions_to_a_topic_get_all_each(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, one):
        async with bob.pubsub.join("news") as other:
            await at_alice.publish(b"hello")
            assert (await one.receive()).data == (await other.receive()).data == b"hello"
        await at_alice.publish(b"again")
        assert (await one.receive()).data == b"again"


async def test_leaving_the_block_waits_for_what_is_queued(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_nodes(1, network=network) as (bob,), bob.pubsub.join("news") as joined:
        events = RecordingObserver()
        async with open_host(transports=[MemoryTransport(network)], observers=[events]) as alice:
            async with open_pubsub(alice) as pubsub:
                await alice.connect(*bob.host.addresses)
                await events.wait_for(PeerSubscribed)
                receipts = [await pubsub.publish("news", bytes(60_000)) for _ in range(50)]
                assert receipts[-1].queued
            assert all(receipt.sent for receipt in receipts)
            await trio.testing.wait_all_tasks_blocked()
            assert joined.statistics().waiting == 50


async def test_a_host_has_one_pubsub_at_a_time(autojump_clock: Clock) -> None:
    async with open_nodes(1) as (alice,):
        with pytest.raises(InvalidInput, match="speaks pubsub already"):
            async with open_pubsub(alice.host):
                pass


async def test_the_same_message_is_not_sent_again_and_the_receipt_says_so(autojump_clock: Clock) -> None:
    async with open_nodes(2, UNSIGNED) as nodes, open_topics(nodes) as (at_alice, at_bob):
        assert not (await at_alice.publish(b"hello")).repeated
        again = await at_alice.publish(b"hello")
        assert again.repeated
        assert again.reached_no_peer
        assert (await at_bob.receive()).data == b"hello"
        await trio.testing.wait_all_tasks_blocked()
        assert at_bob.statistics().waiting == 0


async def test_what_our_own_validators_refuse_leaves_no_gap(autojump_clock: Clock) -> None:
    def no_secrets(message: PubsubMessage[bytes]) -> ValidationResult:
        return ValidationResult.REJECT if b"secret" in message.data else ValidationResult.ACCEPT

    async with open_nodes(2) as (alice, bob), bob.pubsub.join("news") as at_bob:
        async with alice.pubsub.join("news", validators=[no_secrets]) as at_alice:
            await at_alice.wait_peers()
            await at_alice.publish(b"hello")
            with pytest.raises(InvalidInput, match="a validator of 'news' says reject"):
                await at_alice.publish(b"a secret")
            await at_alice.publish(b"again")
            assert [(message.data, message.gap) for message in [await at_bob.receive() for _ in range(2)]] == [
                (b"hello", 0),
                (b"again", 0),
            ]


async def test_a_topic_may_have_an_author_of_its_own(autojump_clock: Clock) -> None:
    pen_name = Identity.generate("secp256k1")
    async with open_nodes(2) as (alice, bob), bob.pubsub.join("news") as at_bob:
        async with alice.pubsub.join("news", author=pen_name) as at_alice, alice.pubsub.join("news") as again:
            await at_alice.wait_peers()
            for joined in (at_alice, again):
                await joined.publish(b"hello")
                message = await at_bob.receive()
                assert (message.author, message.source) == (pen_name.peer_id, alice.peer_id)
            with pytest.raises(InvalidInput, match="another author already"):
                async with alice.pubsub.join("news", author=Identity.generate()):
                    pass
