"""Raise at every checkpoint of a validator: the message is ignored, the next is delivered, and interrupts leave."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from peerstack import open_host
from peerstack.protocols.pubsub import PubsubMessage, ValidationResult, open_pubsub
from peerstack.stack.testing import run_deterministic
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from ...stack.checkpoints import ERRORS, INTERRUPTS, Strike


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def _scenario(strike: Strike) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    network = MemoryNetwork()

    async def think() -> ValidationResult:
        for _ in range(3):
            await trio.sleep(0.01)
        return ValidationResult.ACCEPT

    async def validator(message: PubsubMessage[Any]) -> ValidationResult:
        return await strike(think())

    listening = open_host(listen=["/memory/7"], transports=[MemoryTransport(network)])
    async with listening as bob, open_host(transports=[MemoryTransport(network)]) as alice:
        async with open_pubsub(bob, seed=1) as bobs, open_pubsub(alice, seed=2) as alices:
            await alice.connect(*bob.addresses)
            async with bobs.join("news", validators=[validator]) as topic, alices.join("news") as to_bob:
                await trio.sleep(2)
                await to_bob.publish(b"one")
                await trio.sleep(1)
                await to_bob.publish(b"two")
                received = (await anext(aiter(topic))).data
                if received == b"one":
                    received = (await anext(aiter(topic))).data
                assert received == b"two"
    assert trio.lowlevel.current_statistics().tasks_living == before


def _at_each_checkpoint(error: Callable[[], BaseException], *, leaves: bool) -> None:
    at = 0
    for at in range(100):
        strike = Strike(at, error)
        try:
            run_deterministic(_scenario, strike, seed=at)
        except (KeyboardInterrupt, SystemExit):
            assert leaves
        else:
            assert not (leaves and strike.raised), "the interrupt was lost"
        if not strike.struck:
            break
    assert at > 0


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_at_any_checkpoint_of_a_validator_ends_nothing(error: str) -> None:
    _at_each_checkpoint(ERRORS[error], leaves=False)


@pytest.mark.parametrize("error", INTERRUPTS)
def test_an_interrupt_at_any_checkpoint_of_a_validator_leaves_as_itself(error: str) -> None:
    _at_each_checkpoint(INTERRUPTS[error], leaves=True)
