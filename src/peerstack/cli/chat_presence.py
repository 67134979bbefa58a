"""Presences: what members of a chat room publish besides their lines, their names, connections and addresses.

They have a topic of their own, so that the topic of the room carries only plain text, as other programs expect.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from multiaddr import Multiaddr

from peerstack.stack.addressing import is_unix, is_unspecified, parse_address, split_peer
from peerstack.stack.errors import InvalidAddress, InvalidPeerId
from peerstack.stack.identity import PeerId

VERSION = 1
MAX_NAME = 32  # characters
MAX_SEES = 256
"""Peers in the list of one member: a list from a peer must not fill the memory."""
MAX_SIZE = 32 * 1024  # bytes; 256 peer ids take half of it
MAX_ADDRESSES = 4
"""Addresses of one member; others dial them all."""


@dataclass(frozen=True, slots=True)
class Presence:
    """What a member says of itself."""

    name: str
    sees: tuple[str, ...]
    leaving: bool = False
    addresses: tuple[Multiaddr, ...] = ()
    """Where others can dial it, without the peer id; believed of the author of the message only."""


def topic_of(room: str) -> str:
    """Return the topic that carries the presence of a room."""
    return f"{room}/presence"


def encode(presence: Presence) -> bytes:
    """Return the message for a presence."""
    fields = {
        "version": VERSION,
        "name": presence.name,
        "sees": presence.sees[:MAX_SEES],
        "leaving": presence.leaving,
        "addresses": [str(address) for address in presence.addresses[:MAX_ADDRESSES]],
    }
    return json.dumps(fields).encode()


def decode(data: bytes) -> Presence | None:
    """Return the presence in a message; None if it is invalid or of another version."""
    if len(data) > MAX_SIZE:
        return None
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        return None
    match fields:
        case {"version": 1, "name": str(name), "sees": list(sees)}:
            leaving = fields.get("leaving") is True
            addresses = tuple(_addresses(fields.get("addresses")))
            return Presence(clean_name(name), tuple(dict.fromkeys(_peer_ids(sees))), leaving, addresses)
        case _:
            return None


def _addresses(found: object) -> Iterator[Multiaddr]:
    for text in found[:MAX_ADDRESSES] if isinstance(found, list) else []:
        try:
            address, _ = split_peer(parse_address(text)) if isinstance(text, str) else (None, None)
        except InvalidAddress:
            continue
        if address is not None and address.to_bytes() and not is_unix(address) and not is_unspecified(address):
            yield address


def clean_name(name: str) -> str:
    """Return a name without what could control a terminal or look like words of ours; it may come out empty."""
    return " ".join("".join(char if char.isprintable() else " " for char in name).split())[:MAX_NAME].rstrip()


def _peer_ids(found: list[object]) -> list[str]:
    return [text for item in found[:MAX_SEES] if isinstance(item, str) and (text := _peer_id(item))]


def _peer_id(text: str) -> str:
    try:
        return str(PeerId.parse(text))
    except InvalidPeerId:
        return ""
