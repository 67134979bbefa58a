"""What members of a chat room tell one another beside what they say: their names, and whom they see.

It goes over a topic of its own, so that the room's own topic carries nothing but plain text, as others read it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from peerstack.stack.errors import InvalidPeerId
from peerstack.stack.identity import PeerId

VERSION = 1
MAX_NAME = 32  # characters
MAX_SEES = 256
"""Peers that one member can see; a list of strangers must not fill the memory."""
MAX_SIZE = 32 * 1024  # bytes; 256 peer ids take half of it


@dataclass(frozen=True, slots=True)
class Presence:
    """What a member says of itself."""

    name: str
    sees: tuple[str, ...]
    leaving: bool = False


def topic_of(room: str) -> str:
    """Return the topic that carries the presence of a room."""
    return f"{room}/presence"


def encode(presence: Presence) -> bytes:
    """Return the message for a presence."""
    fields = {"version": VERSION, "name": presence.name, "sees": presence.sees[:MAX_SEES], "leaving": presence.leaving}
    return json.dumps(fields).encode()


def decode(data: bytes) -> Presence | None:
    """Return the presence in a message of a stranger; None if there is none, or one of another version."""
    if len(data) > MAX_SIZE:
        return None
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    match fields:
        case {"version": 1, "name": str(name), "sees": list(sees)}:
            leaving = fields.get("leaving") is True
            return Presence(clean_name(name), tuple(dict.fromkeys(_peer_ids(sees))), leaving)
        case _:
            return None


def clean_name(name: str) -> str:
    """Return a name without what could steer a terminal or look like several words of ours; it may come out empty."""
    return " ".join("".join(char if char.isprintable() else " " for char in name).split())[:MAX_NAME].rstrip()


def _peer_ids(found: list[object]) -> list[str]:
    return [text for item in found[:MAX_SEES] if isinstance(item, str) and (text := _peer_id(item))]


def _peer_id(text: str) -> str:
    try:
        return str(PeerId.parse(text))
    except InvalidPeerId:
        return ""
