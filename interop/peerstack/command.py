"""One command of the contract, and the answer to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from peerstack.stack.errors import InvalidInput
from peerstack.stack.identity import PeerId

Answer: TypeAlias = Mapping[str, object]
Id: TypeAlias = int | str | None


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command with the arguments it may have; each operation looks at its own."""

    op: str = ""
    address: str = ""
    peer: str = ""
    count: int = 1
    concurrency: int = 1
    bytes: int = 0
    chunk: int = 64 * 1024
    upload: int = 0
    download: int = 0
    topic: str = ""
    start: int = 0
    interval_ms: float = 0.0
    seconds: float = 30.0
    confirm: bool = False

    @property
    def peer_id(self) -> PeerId:
        """The peer it is about. Raises InvalidPeerId."""
        return PeerId.parse(self.peer)


def parse(line: bytes) -> tuple[Id, Mapping[str, object]]:
    """Return the id and all fields of a line. Raises ValueError."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise InvalidInput("a command is a JSON object")
    number = message.get("id")
    if not isinstance(number, int | str):
        raise InvalidInput("a command has an id")
    return number, message


def command(message: Mapping[str, object]) -> Command:
    """Return the command in a message. Raises InvalidInput."""
    arguments: dict[str, Any] = {}
    for field in fields(Command):
        value = message.get(field.name, field.default)
        if type(value) is int and type(field.default) is float:
            value = float(value)
        if type(value) is not type(field.default):
            raise InvalidInput(f"{field.name} is {value!r}")
        arguments[field.name] = value
    made = Command(**arguments)
    if min(made.count, made.concurrency, made.chunk) < 1:
        raise InvalidInput("count, concurrency and chunk are at least 1")
    if min(made.bytes, made.upload, made.download, made.start, made.interval_ms, made.seconds) < 0:
        raise InvalidInput("no size, number or time is below 0")
    return made


def describe(error: BaseException) -> str:
    """Return an error in one line; of a group, its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
