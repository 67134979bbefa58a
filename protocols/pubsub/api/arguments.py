"""Checks of the arguments of public calls: a wrong one is refused in one line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from peerstack.stack.errors import InvalidInput
from peerstack.stack.host.arguments import as_list, check_kind, check_part, type_name
from peerstack.stack.identity import Identity, PeerId

from .subscription import WhenFull

if TYPE_CHECKING:
    from ..validation.message_id import MessageIdFunction
    from ..validation.validators import Validator

MAX_TOPIC: Final = 1024
"""Bytes of a topic's name; others refuse longer ones."""


def check_topic(topic: str) -> None:
    """Raise TypeError for what is no text, InvalidInput for a name that no topic can have."""
    check_kind(topic, "the name of a topic", str)
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"the name of a topic is UTF-8, {topic!r} is not") from None
    if not 0 < size <= MAX_TOPIC:
        raise InvalidInput(f"the name of a topic has 1 to {MAX_TOPIC} bytes, not {size}")


def parse_when_full(when_full: WhenFull | str) -> WhenFull:
    """Return the WhenFull that `when_full` is or names. Raises TypeError and InvalidInput."""
    check_kind(when_full, "when_full", str, " such as WhenFull.WAIT")
    try:
        return WhenFull(when_full)
    except ValueError:
        choices = ", ".join(repr(str(choice)) for choice in WhenFull)
        raise InvalidInput(f"when_full is one of {choices}, not {when_full!r}") from None


def check_buffer(buffer: int) -> None:
    """Raise TypeError or InvalidInput unless `buffer` is a positive number of messages."""
    if isinstance(buffer, bool) or not isinstance(buffer, int):
        raise TypeError(f"buffer is a number of messages, not {type_name(buffer)}")
    if buffer < 1:
        raise InvalidInput(f"the buffer must hold at least one message, not {buffer}")


def check_validators(validators: Iterable[Validator]) -> list[Validator]:
    """Return validators as a list. Raises TypeError for what is none."""
    found: list[Validator] = as_list(validators, "validators")
    for validator in found:
        _check_callable(validator, "a validator", "takes a message")
    return found


def check_join(codec: Any, message_id: MessageIdFunction | None, author: Identity | None) -> None:
    """Raise TypeError for a codec, message_id or author that is none."""
    if codec is not None:
        check_part(codec, "a codec", "encode", "decode")
    if message_id is not None:
        _check_callable(message_id, "message_id", "takes a message and returns bytes")
    if author is not None:
        check_kind(author, "author", Identity)


def check_direct(direct: Iterable[PeerId]) -> tuple[PeerId, ...]:
    """Return the direct peers. Raises TypeError for what is no peer id."""
    peers = tuple(as_list(direct, "direct"))
    for peer in peers:
        check_kind(peer, "a direct peer", PeerId, "; PeerId.parse makes one of text")
    return peers


def _check_callable(value: object, what: str, does: str) -> None:
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{what} must be a function that {does}, not {type_name(value)}")
