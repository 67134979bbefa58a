"""A validator with a nursery and clean-up that fails, struck at each of its checkpoints: nothing stays behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import PubsubConfig, PubsubMessage, ValidationResult
from peerstack.stack.errors import ConnectionLost
from peerstack.stack.events import HandlerFailed

from ...stack.checkpoints import Strike
from .parts import open_nodes


class ByTheUser(BaseException):
    """What is no Exception."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("a bug"),
    "ConnectionLost": lambda: ConnectionLost("a bug"),
    "groups": lambda: BaseExceptionGroup("a", [BaseExceptionGroup("b", [ByTheUser("a bug"), ValueError("another")])]),
    "GeneratorExit": GeneratorExit,
}
INTERRUPTS: dict[str, Callable[[], BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": lambda: SystemExit(3),
    "group": lambda: BaseExceptionGroup("a", [ExceptionGroup("b", [ValueError("a bug")]), KeyboardInterrupt()]),
}
POINTS = 30
"""More checkpoints than the validator has."""


async def thorough(message: PubsubMessage[bytes]) -> ValidationResult:
    """Has a nursery, waits of all kinds, and clean-up that waits and fails when it is cancelled."""
    await trio.lowlevel.checkpoint()

    async def part() -> None:
        try:
            await trio.sleep(0.1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(part)
        try:
            await trio.sleep(0.05)
        except trio.Cancelled:
            raise ZeroDivisionError("the clean-up failed") from None
    with trio.move_on_after(0.1):
        await trio.sleep_forever()
    return ValidationResult.ACCEPT


def run(strike: Strike, *, close_early: bool = False) -> None:
    """Let a validator be struck, and look whether all goes on."""

    async def validator(message: PubsubMessage[bytes]) -> ValidationResult:
        return await strike(thorough(message))

    async def main() -> None:
        async with open_nodes(2) as (alice, bob), alice.pubsub.join("news") as at_alice:
            async with bob.pubsub.join("news", validators=[validator]) as at_bob:
                await at_alice.wait_peers()
                await at_alice.publish(b"struck" + bytes(10_000))
                await trio.sleep(0.12 if close_early else 1)
                if close_early:
                    return
                await at_alice.publish(b"after all")
                with trio.fail_after(10):
                    while (await at_bob.receive()).data != b"after all":
                        pass
                await trio.sleep(1)
                assert len(bob.pubsub._router._pending) == 0
                assert bob.pubsub._topics["news"].validation_slots.value == PubsubConfig().validation_concurrency
                assert not bob.pubsub._pipeline._async_validations
                assert "bytes of memory" not in bob.host.statistics().swarm.limits["system"]
                assert bob.events.of(HandlerFailed) == []
                assert bob.pubsub.score(alice.peer_id) >= 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_what_a_validator_raises_at_any_checkpoint_costs_its_message(error: Callable[[], BaseException]) -> None:
    struck = 0
    for at in range(POINTS):
        strike = Strike(at, error)
        run(strike)
        struck += strike.struck
        if not strike.struck:
            break
    assert 3 <= struck < POINTS


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_closing_while_a_validator_raises_ends_in_order(error: Callable[[], BaseException]) -> None:
    for at in range(4):
        run(Strike(at, error), close_early=True)


@pytest.mark.parametrize("error", INTERRUPTS.values(), ids=INTERRUPTS)
def test_an_interrupt_at_any_checkpoint_of_a_validator_leaves_as_itself(error: Callable[[], BaseException]) -> None:
    struck = 0
    for at in range(POINTS):
        strike = Strike(at, error)
        left: BaseException | None = None
        try:
            run(strike)
        except (KeyboardInterrupt, SystemExit) as interrupt:
            left = interrupt
        if not strike.struck:
            break
        struck += 1
        assert strike.raised == (left is not None)
    assert 3 <= struck < POINTS
