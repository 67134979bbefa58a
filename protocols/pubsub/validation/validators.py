"""Validators of applications: what they return, and how they are run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from ..api.codec import Codec
from ..api.subscription import PubsubMessage
from .failures import Failures


class ValidationResult(StrEnum):
    """What a validator decides about a message (go-libp2p: ValidationResult, rust-libp2p: MessageAcceptance)."""

    ACCEPT = "accept"
    """It is valid: deliver and forward it."""
    IGNORE = "ignore"
    """Neither deliver nor forward it; the peer it came from is not penalised."""
    REJECT = "reject"
    """It is invalid: the peers that forward it lose score."""


Validator: TypeAlias = Callable[[PubsubMessage[Any]], ValidationResult | Awaitable[ValidationResult]]
"""Validates a message, synchronously or as a coroutine. If it raises, that is logged and the message ignored."""

PendingResult: TypeAlias = Callable[[], Awaitable[ValidationResult]]


def decode(codec: Codec[Any], data: bytes, failures: Failures) -> tuple[ValidationResult, Any]:
    """Return ACCEPT and the value in a payload; REJECT for a ValueError, IGNORE if the codec raises anything else."""
    with failures.contained("the codec"):
        try:
            return ValidationResult.ACCEPT, codec.decode(data)
        except ValueError:
            return ValidationResult.REJECT, None
    return ValidationResult.IGNORE, None


def run(
    validators: Sequence[Validator], message: PubsubMessage[Any], failures: Failures
) -> ValidationResult | PendingResult:
    """Run validators in order until one does not accept; return the result, or a function that waits for it."""
    for index, validator in enumerate(validators):
        answer = _call(validator, message, failures)
        if isinstance(answer, ValidationResult):
            if answer is not ValidationResult.ACCEPT:
                return answer
            continue
        rest = validators[index + 1 :]
        return lambda: _run_rest(answer, rest, message, failures)
    return ValidationResult.ACCEPT


async def run_all(validators: Sequence[Validator], message: PubsubMessage[Any], failures: Failures) -> ValidationResult:
    """Run validators in order until one does not accept."""
    answer = run(validators, message, failures)
    return answer if isinstance(answer, ValidationResult) else await answer()


async def _run_rest(
    waiting: Awaitable[Any], rest: Sequence[Validator], message: PubsubMessage[Any], failures: Failures
) -> ValidationResult:
    result = await _wait_for(waiting, failures)
    return result if result is not ValidationResult.ACCEPT else await run_all(rest, message, failures)


def _call(validator: Validator, message: PubsubMessage[Any], failures: Failures) -> ValidationResult | Awaitable[Any]:
    # A bug of the application must neither count against the peer nor end the reading.
    with failures.contained("a validator"):
        answer = validator(message)
        return answer if inspect.isawaitable(answer) else _checked(answer)
    return ValidationResult.IGNORE


async def _wait_for(waiting: Awaitable[Any], failures: Failures) -> ValidationResult:
    with failures.contained("a validator"):
        return _checked(await waiting)
    return ValidationResult.IGNORE


def _checked(answer: object) -> ValidationResult:
    if isinstance(answer, ValidationResult):
        return answer
    raise TypeError(f"a validator returns a ValidationResult, not {answer!r}")
