"""Addresses as the contract writes them: a unix path with `%2F` for its slashes, so that a peer id can follow it."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from multiaddr import Multiaddr

from peerstack.stack.addressing import parse_address, split_peer
from peerstack.stack.identity import PeerId
from peerstack.transports.unix.address import unix_path

UNIX: Final = "/unix/"


def read(text: str) -> tuple[Multiaddr, PeerId]:
    """Return the address and the peer it names. Raises ValueError."""
    if text.startswith(UNIX):
        path, _, peer = text.partition("/p2p/")
        return parse_address(path), PeerId.parse(peer)
    address, named = split_peer(parse_address(text))
    if named is None:
        raise ValueError(f"{text} names no peer")
    return address, named


def write(address: Multiaddr, peer: PeerId) -> str:
    """Return the text for an address of `peer`, which already names it unless it is of a unix socket."""
    path = unix_path(address)
    return str(address) if path is None else f"{UNIX}{quote(path, safe='')}/p2p/{peer}"
