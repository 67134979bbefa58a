"""Validators of applications: what they answer, and how they are asked."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from ..api.codec import Codec
from ..api.subscription import PubsubMessage
from .failures import Failures


class Verdict(StrEnum):
    """What a validator thinks of a message."""

    ACCEPT = "accept"
    """It is valid: deliver it and pass it on."""
    IGNORE = "ignore"
    """Neither deliver it nor pass it on; the peer it came from is not to blame."""
    REJECT = "reject"
    """It is not valid, and whoever passes it on is scored down."""


Validator: TypeAlias = Callable[[PubsubMessage[Any]], Verdict | Awaitable[Verdict]]
"""Judges a message, at once or after a while. One that raises is logged, and the message ignored."""

Question: TypeAlias = Callable[[], Awaitable[Verdict]]


def decode(codec: Codec[Any], data: bytes, failures: Failures) -> tuple[Verdict, Any]:
    """Return ACCEPT and the value in a payload; REJECT if there is none, IGNORE if the codec fails in another way."""
    with failures.contained("the codec"):
        try:
            return Verdict.ACCEPT, codec.decode(data)
        except ValueError:
            return Verdict.REJECT, None
    return Verdict.IGNORE, None


def ask(validators: Sequence[Validator], message: PubsubMessage[Any], failures: Failures) -> Verdict | Question:
    """Ask validators in order until one does not accept; return the verdict, or how to get it by waiting."""
    for index, validator in enumerate(validators):
        answer = _call(validator, message, failures)
        if isinstance(answer, Verdict):
            if answer is not Verdict.ACCEPT:
                return answer
            continue
        rest = validators[index + 1 :]
        return lambda: _ask_on(answer, rest, message, failures)
    return Verdict.ACCEPT


async def ask_all(validators: Sequence[Validator], message: PubsubMessage[Any], failures: Failures) -> Verdict:
    """Ask validators in order until one does not accept."""
    answer = ask(validators, message, failures)
    return answer if isinstance(answer, Verdict) else await answer()


async def _ask_on(
    waiting: Awaitable[Any], rest: Sequence[Validator], message: PubsubMessage[Any], failures: Failures
) -> Verdict:
    verdict = await _wait_for(waiting, failures)
    return verdict if verdict is not Verdict.ACCEPT else await ask_all(rest, message, failures)


def _call(validator: Validator, message: PubsubMessage[Any], failures: Failures) -> Verdict | Awaitable[Any]:
    # The bugs of the application must not become the peer's fault, nor end the reading.
    with failures.contained("a validator"):
        answer = validator(message)
        return answer if inspect.isawaitable(answer) else _checked(answer)
    return Verdict.IGNORE


async def _wait_for(waiting: Awaitable[Any], failures: Failures) -> Verdict:
    with failures.contained("a validator"):
        return _checked(await waiting)
    return Verdict.IGNORE


def _checked(answer: object) -> Verdict:
    if isinstance(answer, Verdict):
        return answer
    raise TypeError(f"a validator answers with a Verdict, not with {answer!r}")
