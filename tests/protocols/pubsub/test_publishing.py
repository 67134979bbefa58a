"""What publishing and joining refuse, and what a message that went to no peer leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import (
    TEXT,
    GossipConfig,
    JsonCodec,
    PubsubConfig,
    PubsubMessage,
    QueueConfig,
    SignaturePolicy,
    SubscriptionRefused,
    ValidationResult,
    WhenFull,
    open_pubsub,
    sha256_of_data,
)
from peerstack.stack.errors import InvalidInput, LimitExceeded
from peerstack.stack.identity import PeerId

from .parts import open_nodes

Clock = trio.testing.MockClock
UNSIGNED = PubsubConfig(signatures=SignaturePolicy.STRICT_NO_SIGN)
BY_CONTENT = PubsubConfig(message_id=sha256_of_data)


# ---- the wrong type


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], 1.5])
async def test_what_is_no_bytes_is_not_published(autojump_clock: Clock, data: Any) -> None:
    async with open_nodes(1) as (alice,), alice.pubsub.join("news") as topic:
        with pytest.raises(TypeError, match="this topic carries bytes, not"):
            await alice.pubsub.publish("news", data)
        with pytest.raises(TypeError, match="this topic carries bytes, not"):
            await topic.publish(data)


async def test_text_is_published_where_the_codec_says_so(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob):
        async with alice.pubsub.join("news", codec=TEXT) as at_alice, bob.pubsub.join("news", codec=TEXT) as at_bob:
            await at_alice.wait_peers()
            await at_alice.publish("grüß dich")
            assert (await at_bob.receive()).value == "grüß dich"
            with pytest.raises(TypeError, match="this topic carries text, not bytes"):
                await at_alice.publish(b"bytes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"when_full": "nonsense"}, InvalidInput, "when_full is one of 'wait', 'drop oldest', 'raise', not 'nonsense'"),
        ({"when_full": 3}, TypeError, "when_full must be of type str"),
        ({"buffer": 0}, InvalidInput, "at least one message, not 0"),
        ({"buffer": "many"}, TypeError, "buffer is a number of messages, not str"),
        ({"buffer": True}, TypeError, "buffer is a number of messages, not bool"),
        ({"codec": JsonCodec}, TypeError, "JsonCodec is a class"),
        ({"codec": "json"}, TypeError, "a codec: str has no method"),
        ({"validators": lambda message: ValidationResult.ACCEPT}, TypeError, "validators is a list, even of one"),
        ({"validators": ["strict"]}, TypeError, "a validator must be a function that takes a message, not str"),
        ({"message_id": b"id"}, TypeError, "message_id must be a function"),
        ({"author": "me"}, TypeError, "author must be of type Identity"),
    ],
)
async def test_a_topic_is_not_joined_with_what_it_cannot_use(
    autojump_clock: Clock, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    async with open_nodes(1) as (alice,):
        with pytest.raises(error, match=words):
            async with alice.pubsub.join("news", **options):
                pass
        assert alice.pubsub.topics == []


@pytest.mark.parametrize("name", [b"news", 5, None])
async def test_the_name_of_a_topic_is_text(autojump_clock: Clock, name: Any) -> None:
    async with open_nodes(1) as (alice,):
        with pytest.raises(TypeError, match="the name of a topic must be of type str"):
            await alice.pubsub.publish(name, b"hello")
        with pytest.raises(TypeError, match="the name of a topic must be of type str"):
            async with alice.pubsub.join(name):
                pass


async def test_when_full_may_be_text(autojump_clock: Clock) -> None:
    options: dict[str, Any] = {"when_full": "drop oldest"}
    async with open_nodes(1) as (alice,), alice.pubsub.join("news", **options) as topic:
        assert topic._subscription.when_full is WhenFull.DROP_OLDEST


async def test_direct_peers_are_peer_ids(autojump_clock: Clock) -> None:
    async with open_nodes(1) as (alice,):
        with pytest.raises(TypeError, match="a direct peer must be of type PeerId"):
            async with open_pubsub(alice.host, direct=[str(alice.peer_id)]):  # type: ignore[list-item]
                pass


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("/ip4/127.0.0.1/tcp/1",), "the host that speaks pubsub: str has no method"),
        ((open_pubsub,), "the host that speaks pubsub: function has no method"),
        ((None, {"gossip": 6}), "config must be of type PubsubConfig, not dict"),
        ((None, PubsubConfig), "config must be of type PubsubConfig, not the class PubsubConfig"),
    ],
)
async def test_pubsub_is_opened_for_a_host_and_with_a_config(
    autojump_clock: Clock, arguments: tuple[Any, ...], says: str
) -> None:
    async with open_nodes(1) as (alice,):
        with pytest.raises(TypeError, match=says):
            async with open_pubsub(arguments[0] or alice.host, *arguments[1:]):
                pass


async def test_what_is_asked_of_a_peer_takes_its_id_as_text_and_refuses_what_is_none(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), bob.pubsub.join("news"), alice.pubsub.join("news") as topic:
        await topic.wait_peers()
        assert await alice.pubsub.acknowledged(str(bob.peer_id))
        assert alice.pubsub.score(str(bob.peer_id)) == alice.pubsub.score(bob.peer_id)
        snapshot = alice.pubsub.score_snapshot(str(bob.peer_id))
        assert snapshot == alice.pubsub.score_snapshot(bob.peer_id)
        wrong: list[Any] = [None, 5, b"x", PeerId]
        for peer in wrong:
            for ask in (alice.pubsub.score, alice.pubsub.score_snapshot):
                with pytest.raises(TypeError, match="a peer"):
                    ask(peer)
            with pytest.raises(TypeError, match="a peer"):
                await alice.pubsub.acknowledged(peer)
            with pytest.raises(TypeError, match="the name of a topic must be of type str"):
                alice.pubsub.topic_peers(peer)
        with pytest.raises(InvalidInput):
            alice.pubsub.score("bob")


# ---- validators of our own


async def test_publishing_waits_no_longer_than_validation_may_take(autojump_clock: Clock) -> None:
    async def never(message: PubsubMessage[bytes]) -> ValidationResult:
        await trio.sleep_forever()
        raise AssertionError

    async with open_nodes(2) as (alice, bob), bob.pubsub.join("news") as at_bob:
        async with alice.pubsub.join("news", validators=[never]) as at_alice:
            await at_alice.wait_peers()
            began = trio.current_time()
            with pytest.raises(InvalidInput, match="gave no result for this message within 5 s"):
                await at_alice.publish(b"hello?")
            assert trio.current_time() - began == 5
        await alice.pubsub.publish("news", b"hello")
        message = await at_bob.receive()
        assert (message.data, message.gap) == (b"hello", 0)


# ---- published to no peer


@pytest.mark.parametrize("config", [UNSIGNED, BY_CONTENT], ids=["unsigned", "by content"])
async def test_what_went_to_no_peer_may_be_published_again(autojump_clock: Clock, config: PubsubConfig) -> None:
    async with open_nodes(2, config, connect=False) as (alice, bob), alice.pubsub.join("news") as at_alice:
        for _ in range(2):
            receipt = await at_alice.publish(b"hello")
            assert receipt.reached_no_peer
            assert not receipt.repeated
        async with bob.pubsub.join("news") as at_bob:
            await trio.sleep(30)  # longer than gossip offers it
            await alice.host.connect(*bob.host.addresses)
            await at_alice.wait_peers()
            receipt = await at_alice.publish(b"hello")
            assert not receipt.repeated
            assert (await at_bob.receive()).data == b"hello"
            assert (await at_alice.publish(b"hello")).repeated


async def test_what_another_publishes_is_heard_though_we_published_it_to_no_peer(autojump_clock: Clock) -> None:
    async with open_nodes(2, UNSIGNED, connect=False) as (alice, bob):
        async with alice.pubsub.join("news") as at_alice, bob.pubsub.join("news") as at_bob:
            await at_alice.publish(b"hello")
            await trio.sleep(30)
            await alice.host.connect(*bob.host.addresses)
            await at_bob.wait_peers()
            await at_bob.publish(b"hello")
            with trio.fail_after(5):
                assert (await at_alice.receive()).data == b"hello"


async def test_what_was_dropped_for_every_peer_may_be_published_again(autojump_clock: Clock) -> None:
    config = PubsubConfig(message_id=sha256_of_data, queues=QueueConfig(stall_timeout=5))
    async with open_nodes(2, config) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", buffer=1) as at_bob:
            await at_alice.wait_peers()
            await at_alice.publish(b"first")
            await at_bob.receive()  # a reader that reads no more
            receipts = [await at_alice.publish(b"%d" % number + bytes(60_000)) for number in range(50)]
            last = b"49" + bytes(60_000)
            await trio.sleep(6)
            assert receipts[-1].reached_no_peer
            assert receipts[-1].dropped == (bob.peer_id,)
            assert not (await at_alice.publish(last)).repeated


# ---- too many topics


async def test_more_topics_than_peers_keep_are_not_joined_in_silence(autojump_clock: Clock) -> None:
    config = PubsubConfig(gossip=GossipConfig(max_topics_per_peer=3))
    async with open_nodes(1, config) as (alice,):
        async with alice.pubsub.join("a"), alice.pubsub.join("b"), alice.pubsub.join("c"):
            with pytest.raises(LimitExceeded, match="our limit of 3 topics"):
                async with alice.pubsub.join("d"):
                    pass
            async with alice.pubsub.join("a"):
                pass
        async with alice.pubsub.join("d"):
            pass


async def test_subscriptions_that_are_ignored_are_told_and_counted(autojump_clock: Clock) -> None:
    small, large = (PubsubConfig(gossip=GossipConfig(max_topics_per_peer=count)) for count in (3, 10))
    async with open_nodes(2, small, large) as (alice, bob):
        async with bob.pubsub.join("a"), bob.pubsub.join("b"), bob.pubsub.join("c"):
            async with bob.pubsub.join("d"), bob.pubsub.join("e"):
                await trio.sleep(1)
                refused = alice.events.of(SubscriptionRefused)
                assert refused == [SubscriptionRefused(bob.peer_id, "d", 3)]
                assert alice.pubsub.statistics().peers[str(bob.peer_id)].topics_refused == 2


# ---- older messages


async def test_messages_from_before_one_joined_are_marked(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        await at_alice.publish(b"before")
        async with bob.pubsub.join("news") as at_bob:
            await at_alice.wait_peers()
            await at_alice.publish(b"now")
            got = {message.data: message.fetched for message in [await at_bob.receive() for _ in range(2)]}
            assert got == {b"before": True, b"now": False}
