"""What an application's code may raise inside pubsub, and when: it costs the message, and one line a minute."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import cast

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import (
    JoinedTopic,
    PubsubConfig,
    PubsubMessage,
    ScoreConfig,
    ValidationResult,
    Validator,
)
from peerstack.protocols.pubsub.validation.failures import Failures
from peerstack.protocols.pubsub.wire import Message
from peerstack.stack.errors import ConnectionLost
from peerstack.stack.events import HandlerFailed

from .parts import Node, open_nodes

Clock = trio.testing.MockClock


async def receive(topic: JoinedTopic[bytes]) -> bytes:
    with trio.fail_after(30):
        return (await topic.receive()).data


def for_bad(bug: Validator) -> Validator:
    """Ask `bug` about messages that begin with `bad` only."""
    return lambda message: bug(message) if message.data.startswith(b"bad") else ValidationResult.ACCEPT


# ---- clean-up that fails


async def cleans_up_badly(message: PubsubMessage[bytes]) -> ValidationResult:
    """Raises a group of its own and the cancellation, as a nursery does whose task says the end to a peer."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        try:
            await trio.sleep_forever()
        finally:
            raise ConnectionLost("there is no connection")


async def nested(message: PubsubMessage[bytes]) -> ValidationResult:
    async def one() -> None:
        await cleans_up_badly(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
    raise AssertionError


async def swallows(message: PubsubMessage[bytes]) -> ValidationResult:
    """Answers although it was cancelled."""
    with suppress(trio.Cancelled):
        await trio.sleep_forever()
    return ValidationResult.ACCEPT


async def raises_instead(message: PubsubMessage[bytes]) -> ValidationResult:
    try:
        await trio.sleep_forever()
    finally:
        raise BaseExceptionGroup("two", [ZeroDivisionError(), ExceptionGroup("one", [KeyError("x")])])


CANCELLED_BADLY = [cleans_up_badly, nested, swallows, raises_instead]


@pytest.mark.parametrize("bug", CANCELLED_BADLY)
async def test_a_validator_that_fails_when_its_time_is_over_costs_its_message(
    autojump_clock: Clock, bug: Validator
) -> None:
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[for_bad(bug)]) as at_bob:
            await at_alice.wait_peers()
            await at_alice.publish(b"bad")
            await at_alice.publish(b"good")
            assert await receive(at_bob) == b"good"
            await at_alice.publish(b"later")
            assert await receive(at_bob) == b"later"
            assert bob.pubsub.statistics().ignored == {"validation_timed_out": 1}
            assert bob.pubsub._topics["news"].validation_slots.value == PubsubConfig().validation_concurrency
            assert bob.events.of(HandlerFailed) == []
            assert bob.pubsub.score(alice.peer_id) >= 0


@pytest.mark.parametrize("bug", CANCELLED_BADLY)
@pytest.mark.parametrize("leave_first", [True, False])
async def test_a_validator_that_fails_when_all_is_closed_lets_it_end_in_order(
    autojump_clock: Clock, bug: Validator, leave_first: bool
) -> None:
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[bug]):
            await at_alice.wait_peers()
            await at_alice.publish(b"bad")
            await trio.sleep(1)
            assert len(bob.pubsub._router._pending) == 1
            if not leave_first:
                return
        await trio.sleep(0.5)


async def test_a_validator_that_shields_itself_holds_up_nothing(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    config = PubsubConfig(validation_concurrency=3)
    release = trio.Event()

    async def shielded(message: PubsubMessage[bytes]) -> ValidationResult:
        with trio.CancelScope(shield=True), trio.move_on_after(1000):
            await release.wait()
        return ValidationResult.ACCEPT

    async with open_nodes(2, config) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with alice.pubsub.join("other") as other, bob.pubsub.join("other") as other_at_bob:
            async with bob.pubsub.join("news", validators=[for_bad(shielded)]) as at_bob:
                await at_alice.wait_peers()
                await other.wait_peers()
                await at_alice.publish(b"bad")
                await at_alice.publish(b"good")
                assert await receive(at_bob) == b"good"
                for _ in range(20):
                    await at_alice.publish(b"bad")
                await trio.sleep(60)
                overdue = bob.pubsub._topics["news"].overdue
                assert 3 <= overdue < 6
                assert len(bob.pubsub._router._pending) == 0
                assert bob.pubsub.statistics().ignored == {
                    "validation_timed_out": overdue,
                    "validation_throttled": 21 - overdue,
                }
                await other.publish(b"on time")
                assert await receive(other_at_bob) == b"on time"
                release.set()
                await trio.testing.wait_all_tasks_blocked()
                assert bob.pubsub._topics["news"].overdue == 0
                await at_alice.publish(b"again")
                assert await receive(at_bob) == b"again"
    assert "did not end when it was cancelled" in caplog.text


# ---- what must leave as itself


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("when", ["at once", "later", "in a nursery"])
def test_an_interrupt_inside_a_validator_leaves_trio_run_as_itself(kind: type[BaseException], when: str) -> None:
    async def later(message: PubsubMessage[bytes]) -> ValidationResult:
        await trio.lowlevel.checkpoint()
        raise kind

    async def in_a_nursery(message: PubsubMessage[bytes]) -> ValidationResult:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            await later(message)
        raise AssertionError

    def validator(message: PubsubMessage[bytes]) -> ValidationResult | Awaitable[ValidationResult]:
        if when == "at once":
            raise kind
        return in_a_nursery(message) if when == "in a nursery" else later(message)

    async def main() -> None:
        async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
            async with bob.pubsub.join("news", validators=[validator]) as at_bob:
                await at_alice.wait_peers()
                await at_alice.publish(b"interrupted")
                await at_bob.receive()

    with pytest.raises(kind):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# ---- a line a minute


async def test_a_validator_that_always_fails_is_logged_once_and_then_counted(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(message: PubsubMessage[bytes]) -> ValidationResult:
        raise ZeroDivisionError("a bug of the application")

    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[broken]):
            await at_alice.wait_peers()
            for number in range(180):
                await at_alice.publish(b"%d" % number)
                await trio.sleep(1)
    lines = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [line.getMessage() for line in lines] == [
        "a validator of 'news' failed; the message is ignored",
        "a validator of 'news' failed, 60 times since the last line; the message is ignored;"
        " the last error: ZeroDivisionError('a bug of the application')",
        "a validator of 'news' failed, 60 times since the last line; the message is ignored;"
        " the last error: ZeroDivisionError('a bug of the application')",
        "the code of 'news' failed 59 more times; the message is ignored",
    ]
    assert [bool(line.exc_info) for line in lines] == [True, False, False, False]


async def test_the_lines_of_one_topic_do_not_hide_those_of_another(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Failures("'a'"), Failures("'b'")
    for _ in range(3):
        first.report("the codec", KeyError("x"))
        second.report("the codec", KeyError("x"))
    assert len(caplog.records) == 2
    assert first.count == second.count == 3


# ---- the other plug-ins


def broken_id(message: Message) -> bytes:
    if message.data.startswith(b"bad"):
        raise ZeroDivisionError
    return message.data


def no_bytes(message: Message) -> bytes:
    return cast("bytes", str(message.data)) if message.data.startswith(b"bad") else message.data


@pytest.mark.parametrize("function", [broken_id, no_bytes])
async def test_an_id_function_that_fails_costs_the_message(autojump_clock: Clock, function: object) -> None:
    good = PubsubConfig(message_id=lambda message: message.data)
    bad = PubsubConfig(message_id=function)  # type: ignore[arg-type]
    async with open_nodes(2, good, bad) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news") as at_bob:
            await at_alice.wait_peers()
            await at_alice.publish(b"bad")
            await at_alice.publish(b"good")
            assert await receive(at_bob) == b"good"
            assert bob.pubsub.statistics().ignored == {"validation_ignored": 1}
            assert bob.events.of(HandlerFailed) == []
            with pytest.raises((ZeroDivisionError, TypeError)):
                await at_bob.publish(b"bad of our own")


class Weak:
    """A codec with a bug."""

    def encode(self, value: bytes, /) -> bytes:
        return value

    def decode(self, data: bytes, /) -> bytes:
        if data == b"bad":
            raise ZeroDivisionError
        return data


async def test_a_codec_that_fails_costs_the_message(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", codec=Weak()) as at_bob:
            await at_alice.wait_peers()
            for _ in range(3):
                await at_alice.publish(b"bad")
            await at_alice.publish(b"good")
            assert await receive(at_bob) == b"good"
            assert bob.pubsub._topics["news"].failures.count == 3


@pytest.mark.parametrize("answer", [ZeroDivisionError(), "high", float("nan")], ids=["raises", "text", "nan"])
async def test_an_application_score_that_fails_counts_as_nothing(autojump_clock: Clock, answer: object) -> None:
    def score(peer: object) -> float:
        if isinstance(answer, Exception):
            raise answer
        return cast("float", answer)

    config = PubsubConfig(score=ScoreConfig(application_score=score))
    async with open_nodes(2, config) as nodes, nodes[0].pubsub.join("news") as topic:
        await hears(nodes, topic)


async def hears(nodes: list[Node], topic: JoinedTopic[bytes]) -> None:
    async with nodes[1].pubsub.join("news") as other:
        await other.wait_peers()
        await trio.sleep(5)
        await other.publish(b"still here")
        assert await receive(topic) == b"still here"
        assert nodes[0].pubsub.score(nodes[1].peer_id) >= 0


async def test_a_bug_of_our_own_in_validation_costs_those_messages_only(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def later(message: PubsubMessage[bytes]) -> ValidationResult:
        await trio.sleep(0.1)
        return ValidationResult.ACCEPT

    async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
        async with bob.pubsub.join("news", validators=[later]) as at_bob:
            await at_alice.wait_peers()
            with monkeypatch.context() as patched:
                patched.setattr(bob.pubsub._pipeline, "_apply", lambda *_: 1 // 0)
                await at_alice.publish(b"lost")
                await trio.sleep(1)
            await at_alice.publish(b"after all")
            assert await receive(at_bob) == b"after all"
