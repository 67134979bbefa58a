"""Validators of applications: what they answer, and how they are asked."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from ..api.codec import Codec
from ..api.subscription import PubsubMessage
from .failures import Failures


class ValidationResult(StrEnum):
    """What a validator thinks of a message."""

    ACCEPT = "accept"
    """It is valid: deliver it and pass it on."""
    IGNORE = "ignore"
    """Neither deliver it nor pass it on; the peer it came from is not to blame."""
    REJECT = "reject"
    """It is not valid, and whoever passes it on is scored down."""


Validator: TypeAlias = Callable[[PubsubMessage[Any]], ValidationResult | Awaitable[ValidationResult]]
"""Judges a message, at once or after a while. One that raises is logged, and the message ignored."""

Question: TypeAlias = Callable[[], Awaitable[ValidationResult]]


def decode(codec: Codec[Any], data: bytes, failures: Failures) -> tuple[ValidationResult, Any]:
    """Return ACCEPT and the value in a payload; REJECT if there is none, IGNORE if the codec fails in another way."""
    with failures.contained("the codec"):
        try:
            return ValidationResult.ACCEPT, codec.decode(data)
        except ValueError:
            return ValidationResult.REJECT, None
    return ValidationResult.IGNORE, None


def ask(
    validators: Sequence[Validator], message: PubsubMessage[Any], failures: Failures
) -> ValidationResult | Question:
    """Ask validators in order until one does not accept; return the verdict, or how to get it by waiting."""
    for index, validator in enumerate(validators):
        answer = _call(validator, message, failures)
        if isinstance(answer, ValidationResult):
            if answer is not ValidationResult.ACCEPT:
                return answer
            continue
        rest = validators[index + 1 :]
        return lambda: _ask_on(answer, rest, message, failures)
    return ValidationResult.ACCEPT


async def ask_all(validators: Sequence[Validator], message: PubsubMessage[Any], failures: Failures) -> ValidationResult:
    """Ask validators in order until one does not accept."""
    answer = ask(validators, message, failures)
    return answer if isinstance(answer, ValidationResult) else await answer()


async def _ask_on(
    waiting: Awaitable[Any], rest: Sequence[Validator], message: PubsubMessage[Any], failures: Failures
) -> ValidationResult:
    verdict = await _wait_for(waiting, failures)
    return verdict if verdict is not ValidationResult.ACCEPT else await ask_all(rest, message, failures)


def _call(validator: Validator, message: PubsubMessage[Any], failures: Failures) -> ValidationResult | Awaitable[Any]:
    # The bugs of the application must not become the peer's fault, nor end the reading.
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
    raise TypeError(f"a validator answers with a ValidationResult, not with {answer!r}")
