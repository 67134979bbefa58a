"""Validators of applications: what each result does, and that their bugs harm no other peer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import cast

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import (
    JoinedTopic,
    PubsubConfig,
    PubsubMessage,
    ValidationResult,
    Validator,
    sha256_of_data,
)
from peerstack.protocols.pubsub.api.events import MessageRejected
from peerstack.protocols.pubsub.validation.failures import Failures
from peerstack.protocols.pubsub.validation.signing import sign
from peerstack.protocols.pubsub.validation.validators import run, run_all
from peerstack.stack.errors import InvalidInput
from peerstack.stack.events import HandlerFailed
from peerstack.stack.identity import Identity

from .parts import Node, open_nodes, open_topics

Clock = trio.testing.MockClock
MESSAGE = PubsubMessage("news", b"x", b"x", None, None, None, b"id")


async def receive(topic: JoinedTopic[bytes]) -> bytes:
    with trio.fail_after(30):
        return (await topic.receive()).data


async def slowly(message: PubsubMessage[bytes]) -> ValidationResult:
    await trio.sleep(1)
    return ValidationResult.ACCEPT


async def never(message: PubsubMessage[bytes]) -> ValidationResult:
    await trio.sleep_forever()
    raise AssertionError


def only(prefix: bytes, otherwise: ValidationResult) -> Validator:
    return lambda message: ValidationResult.ACCEPT if message.data.startswith(prefix) else otherwise


# ---- asking


async def test_the_first_that_does_not_accept_decides() -> None:
    asked = []

    def say(result: ValidationResult) -> Validator:
        def validator(message: PubsubMessage[bytes]) -> ValidationResult:
            asked.append(result)
            return result

        return validator

    async def later(message: PubsubMessage[bytes]) -> ValidationResult:
        asked.append(ValidationResult.ACCEPT)
        return ValidationResult.ACCEPT

    failures = Failures("'news'")
    assert run([], MESSAGE, failures) is ValidationResult.ACCEPT
    assert (
        run(
            [say(ValidationResult.ACCEPT), say(ValidationResult.REJECT), say(ValidationResult.IGNORE)],
            MESSAGE,
            failures,
        )
        is ValidationResult.REJECT
    )
    assert asked == [ValidationResult.ACCEPT, ValidationResult.REJECT]
    asked.clear()
    assert (
        await run_all(
            [later, say(ValidationResult.ACCEPT), later, say(ValidationResult.IGNORE), later], MESSAGE, failures
        )
        is ValidationResult.IGNORE
    )
    assert asked == [ValidationResult.ACCEPT] * 3 + [ValidationResult.IGNORE]


def raises(message: PubsubMessage[bytes]) -> ValidationResult:
    raise ZeroDivisionError("a bug of the application")


async def raises_later(message: PubsubMessage[bytes]) -> ValidationResult:
    await trio.lowlevel.checkpoint()
    raise ExceptionGroup("bugs", [ZeroDivisionError("a bug of the application")])


def nonsense(message: PubsubMessage[bytes]) -> ValidationResult:
    return cast("ValidationResult", True)


async def nonsense_later(message: PubsubMessage[bytes]) -> ValidationResult:
    return cast("ValidationResult", "accept")


def nothing(message: PubsubMessage[bytes]) -> ValidationResult:
    return cast("ValidationResult", None)


class Foreign:
    """Something of another event loop."""

    def __await__(self) -> object:
        yield self


def of_another_loop(message: PubsubMessage[bytes]) -> Awaitable[ValidationResult]:
    return cast("Awaitable[ValidationResult]", Foreign())


BUGS: list[Validator] = [raises, raises_later, nonsense, nonsense_later, nothing, of_another_loop]


@pytest.mark.parametrize("bug", BUGS)
async def test_a_bug_costs_the_message_and_penalises_no_peer(
    autojump_clock: Clock, bug: Validator, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, at_bob):
        async with bob.pubsub.join("news", validators=[bug]):
            await at_alice.publish(b"lost")
            await trio.testing.wait_all_tasks_blocked()
        await at_alice.publish(b"after all")
        assert await receive(at_bob) == b"after all"
        assert bob.pubsub.statistics().ignored == {"validation_ignored": 1}
        assert bob.pubsub.statistics().rejected == {}
        assert bob.pubsub.score(alice.peer_id) >= 0
        assert bob.events.of(HandlerFailed) == []
        assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
            "a validator of 'news' failed; the message is ignored"
        ]


# ---- what becomes of the message


async def test_what_is_rejected_is_neither_delivered_nor_passed_on_and_charged(autojump_clock: Clock) -> None:
    async with open_nodes(3, connect=False) as (alice, bob, carol):
        await alice.host.connect(*bob.host.addresses)
        await carol.host.connect(*bob.host.addresses)
        async with alice.pubsub.join("news") as at_alice, carol.pubsub.join("news") as at_carol:
            async with bob.pubsub.join("news", validators=[only(b"good", ValidationResult.REJECT)]) as at_bob:
                await at_bob.wait_peers(2)
                await trio.sleep(2)
                await at_alice.publish(b"bad")
                await at_alice.publish(b"good")
                assert await receive(at_bob) == await receive(at_carol) == b"good"
                assert at_carol.statistics().waiting == at_bob.statistics().waiting == 0
                assert bob.events.of(MessageRejected) == [MessageRejected(alice.peer_id, "news", "validation_failed")]
                assert bob.pubsub.statistics().rejected == {"validation_failed": 1}
                await trio.sleep(1)
                assert bob.pubsub.score(alice.peer_id) < bob.pubsub.score(carol.peer_id) + 1


async def test_what_is_ignored_penalises_no_peer(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[only(b"good", ValidationResult.IGNORE)]) as at_bob:
            await at_alice.wait_peers()
            await at_alice.publish(b"bad")
            await at_alice.publish(b"good")
            assert await receive(at_bob) == b"good"
            assert bob.pubsub.statistics().ignored == {"validation_ignored": 1}
            assert bob.pubsub.score(alice.peer_id) >= 0


async def test_our_own_messages_are_asked_about_too(autojump_clock: Clock) -> None:
    async with open_nodes(1) as (alice,):
        async with alice.pubsub.join("news", validators=[only(b"good", ValidationResult.REJECT)]) as topic:
            await topic.publish(b"good")
            with pytest.raises(InvalidInput, match="a validator of 'news' says reject to this message"):
                await topic.publish(b"bad")


async def test_order_is_kept_while_some_take_longer(autojump_clock: Clock) -> None:
    async def moody(message: PubsubMessage[bytes]) -> ValidationResult:
        await trio.sleep((100 - int(message.data)) / 100)
        return ValidationResult.REJECT if int(message.data) % 7 == 0 else ValidationResult.ACCEPT

    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[moody]) as at_bob:
            await at_alice.wait_peers()
            for number in range(100):
                await at_alice.publish(b"%d" % number)
            expected = [number for number in range(100) if number % 7]
            assert [int(await receive(at_bob)) for _ in expected] == expected


async def test_two_messages_with_one_id_are_one(autojump_clock: Clock) -> None:
    """Both are valid and under validation at the same time, since their ids come from the data alone."""
    config = PubsubConfig(message_id=sha256_of_data)
    async with open_nodes(2, config) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[slowly]) as at_bob:
            await at_alice.wait_peers()
            copies = [sign(Identity.generate(), "news", b"same", 1) for _ in range(3)]
            await take(bob, alice, b"".join(copy.entry for copy in copies))
            await trio.sleep(3)
            assert await receive(at_bob) == b"same"
            assert at_bob.statistics().waiting == 0


async def take(node: Node, source: Node, *rpcs: bytes) -> None:
    """Let a node process RPCs as if they came from another."""
    await node.pubsub._pipeline.handle_frames(node.pubsub._peers.streams[source.peer_id], rpcs)


# ---- validators that take long


async def test_a_validator_that_never_returns_holds_up_no_other_topic(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob], "other") as (_, at_bob):
        async with alice.pubsub.join("stuck") as stuck, bob.pubsub.join("stuck", validators=[never]):
            await stuck.wait_peers()
            for _ in range(100):
                await stuck.publish(b"never decided")
            began = trio.current_time()
            await alice.pubsub.publish("other", b"on time")
            assert await receive(at_bob) == b"on time"
            assert trio.current_time() - began < 0.1
            assert len(bob.pubsub._router._pending) == 100
            await trio.sleep(6)
            assert bob.pubsub.statistics().ignored == {"validation_timed_out": 100}
            assert len(bob.pubsub._router._pending) == 0
            assert bob.pubsub.score(alice.peer_id) >= 0


async def test_at_most_so_many_are_validated_at_once_and_none_is_lost(autojump_clock: Clock) -> None:
    at_once = most = 0

    async def count(message: PubsubMessage[bytes]) -> ValidationResult:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await trio.sleep(0.1)
        at_once -= 1
        return ValidationResult.ACCEPT

    config = PubsubConfig(validation_concurrency=8)
    async with open_nodes(2, config) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[count]) as at_bob:
            await at_alice.wait_peers()
            for number in range(100):
                await at_alice.publish(b"%d" % number)
            assert [int(await receive(at_bob)) for _ in range(100)] == list(range(100))
            assert most == 8


async def test_what_waits_behind_one_long_validation_is_bounded(autojump_clock: Clock) -> None:
    """All others are decided at once, but are to be delivered in order."""

    def choose(message: PubsubMessage[bytes]) -> ValidationResult | Awaitable[ValidationResult]:
        return never(message) if message.data == b"long" else ValidationResult.ACCEPT

    config = PubsubConfig(validation_concurrency=50, validation_timeout=5)
    async with open_nodes(2, config) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[choose], buffer=10_000) as at_bob:
            await at_alice.wait_peers()
            await at_alice.publish(b"long")
            most = 0
            for number in range(1000):
                await (await at_alice.publish(b"%d" % number)).wait_sent()
                await trio.testing.wait_all_tasks_blocked()
                most = max(most, len(bob.pubsub._topics["news"]._order))
                if number == 500:
                    assert at_bob.statistics().waiting == 0
            assert 100 < most <= 4 * 50 + 10  # the last ones read came together
            assert [int(await receive(at_bob)) for _ in range(1000)] == list(range(1000))


async def test_leaving_a_topic_while_its_messages_are_validated(autojump_clock: Clock) -> None:
    config = PubsubConfig(validation_concurrency=8)
    async with open_nodes(2, config) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[slowly]):
            await at_alice.wait_peers()
            for number in range(30):
                await at_alice.publish(b"%d" % number)
            await trio.sleep(0.5)
            assert len(bob.pubsub._router._pending) > 0
        await trio.sleep(10)
        assert len(bob.pubsub._router._pending) == 0
        async with bob.pubsub.join("news") as again:
            await at_alice.wait_peers()
            await at_alice.publish(b"later")
            assert await receive(again) == b"later"
        assert bob.events.of(HandlerFailed) == []
