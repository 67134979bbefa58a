"""Validators of applications: what they answer, and how they are asked."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from .codec import Codec
from .subscription import PubsubMessage

_log = logging.getLogger(__name__)


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


def decode(codec: Codec[Any], topic: str, data: bytes) -> tuple[Verdict, Any]:
    """Return ACCEPT and the value in a payload; REJECT if there is none, IGNORE if the codec fails in another way."""
    try:
        return Verdict.ACCEPT, codec.decode(data)
    except ValueError:
        return Verdict.REJECT, None
    except Exception:  # noqa: BLE001
        # Codecs are the application's, too.
        _log.exception("the codec of %r failed; the message is ignored", topic)
        return Verdict.IGNORE, None


def ask(validators: Sequence[Validator], message: PubsubMessage[Any]) -> Verdict | Question:
    """Ask validators in order until one does not accept; return the verdict, or how to get it by waiting."""
    for index, validator in enumerate(validators):
        answer = _call(validator, message)
        if isinstance(answer, Verdict):
            if answer is not Verdict.ACCEPT:
                return answer
            continue
        rest = validators[index + 1 :]
        return lambda: _ask_on(answer, rest, message)
    return Verdict.ACCEPT


async def ask_all(validators: Sequence[Validator], message: PubsubMessage[Any]) -> Verdict:
    """Ask validators in order until one does not accept."""
    answer = ask(validators, message)
    return answer if isinstance(answer, Verdict) else await answer()


async def _ask_on(waiting: Awaitable[Any], rest: Sequence[Validator], message: PubsubMessage[Any]) -> Verdict:
    verdict = await _wait_for(waiting, message)
    return verdict if verdict is not Verdict.ACCEPT else await ask_all(rest, message)


def _call(validator: Validator, message: PubsubMessage[Any]) -> Verdict | Awaitable[Any]:
    # The supervisor of the application's validators: their bugs must not become the peer's fault, nor end the reading.
    try:
        answer = validator(message)
        return answer if inspect.isawaitable(answer) else _checked(answer)
    except Exception:  # noqa: BLE001
        return _failed(message)


async def _wait_for(waiting: Awaitable[Any], message: PubsubMessage[Any]) -> Verdict:
    try:
        return _checked(await waiting)
    except Exception:  # noqa: BLE001
        return _failed(message)


def _checked(answer: object) -> Verdict:
    if isinstance(answer, Verdict):
        return answer
    raise TypeError(f"a validator answers with a Verdict, not with {answer!r}")


def _failed(message: PubsubMessage[Any]) -> Verdict:
    _log.exception("a validator of %r failed; the message is ignored", message.topic)
    return Verdict.IGNORE
