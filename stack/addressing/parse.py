"""Parse, split and build multiaddrs; bad input raises InvalidAddress only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from multiaddr import Multiaddr

from ..errors import InvalidAddress, InvalidPeerId
from ..identity import PeerId
from . import codec
from .codec import Component
from .suggest import suggestion

AnyPeer: TypeAlias = PeerId | str | Multiaddr
"""A peer as programs may name it: its id, the text of the id, or an address that ends in `/p2p/<id>`."""

MAX_ADDRESSES = 500
"""Addresses taken from one list of a peer; go-libp2p keeps as many."""


def parse_address(address: str | bytes | Multiaddr) -> Multiaddr:
    """Return the multiaddr in text or bytes, or check one that the library made without checking.

    The result is canonical: equal addresses have equal bytes, `/ipfs/ID` became `/p2p/ID`, and str() works.
    Raises InvalidAddress with one line on what is wrong and what to type instead; so for a `Multiaddr` of text that
    the library writes in bytes of its own (a peer id as CID, /unix): hand such text to this function instead.
    TypeError for anything else.
    """
    match address:
        case _Parsed():
            return address
        case str():
            return _Parsed(_encode(address))
        case Multiaddr():
            codec.decode(address.to_bytes())
            return _Parsed(address.to_bytes())
        case bytes():
            codec.decode(address)
            return _Parsed(address)
        case _:
            return parse_address(_text_or_parsed(address))


class _Parsed(Multiaddr):
    """A multiaddr that was checked.

    The library imports codecs when it prints an address, which fails while the process is out of file descriptors, and
    refuses to print names with an underscore.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return codec.text(components(self))


def _encode(text: str) -> bytes:
    try:
        return codec.encode(text)
    except InvalidAddress as error:
        advice = suggestion(text)
        if advice is None:
            raise
        what = str(error) if text.startswith("/") else f"{codec.show(text)} is not a multiaddr"
    raise InvalidAddress(f"{what}; {advice}")


def parse_addresses(addresses: str | Multiaddr | Iterable[str | Multiaddr]) -> list[Multiaddr]:
    """Return the multiaddrs that a program gave as one, or as an iterable of them, each text or a Multiaddr.

    Raises InvalidAddress and TypeError as `parse_address` does.
    """
    # A Multiaddr is a mapping, and text a sequence of text: neither must be iterated over.
    if isinstance(addresses, (str, Multiaddr)):
        return [parse_address(addresses)]
    if isinstance(addresses, (bytes, bytearray, memoryview)) or not isinstance(addresses, Iterable):
        raise TypeError(f"addresses are a list of text such as {codec.EXAMPLE} or Multiaddrs, not {_type(addresses)}")
    return [parse_address(_text_or_parsed(address)) for address in addresses]


def _text_or_parsed(address: object) -> str | Multiaddr:
    if isinstance(address, (str, Multiaddr)):
        return address
    raise TypeError(f"an address is text such as {codec.EXAMPLE}, or a Multiaddr, not {_type(address)}")


def parse_peer(peer: AnyPeer) -> PeerId:
    """Return the peer that a program gave as its id, the text of the id, or an address that ends in `/p2p/<id>`.

    Raises InvalidPeerId and InvalidAddress for other text, TypeError for anything else.
    """
    match peer:
        case PeerId():
            return peer
        case str() if not peer.startswith("/"):
            return _peer_or_advice(peer)
        case str() | Multiaddr():
            named = split_peer(parse_address(peer))[1]
            if named is None:
                raise InvalidAddress(f"{peer} names no peer: the address of a peer ends in /p2p/ and its id")
            return named
        case _:
            raise TypeError(
                f"a peer is a PeerId, the text of one, or an address that ends in /p2p/ and its id, not {_type(peer)}"
            )


def _peer_or_advice(text: str) -> PeerId:
    try:
        return PeerId.parse(text)
    except InvalidPeerId:
        advice = suggestion(text)
        if advice is None:
            raise
    raise InvalidAddress(f"{codec.show(text)} is neither a peer id nor a multiaddr; {advice}")


def parse_addresses_lossy(encoded: Iterable[bytes], *, limit: int = MAX_ADDRESSES) -> list[Multiaddr]:
    """Return the valid ones of the first `limit` addresses in order; a peer may know protocols that we do not."""
    addresses: list[Multiaddr] = []
    for _, data in zip(range(limit), encoded, strict=False):
        try:
            addresses.append(parse_address(data))
        except InvalidAddress:
            continue
    return addresses


def components(address: Multiaddr) -> tuple[Component, ...]:
    """Return the (name, value) pairs of `address`, none for the empty multiaddr; raises InvalidAddress."""
    data = address.to_bytes()
    return codec.decode(data) if data else ()


def split_peer(address: Multiaddr) -> tuple[Multiaddr, PeerId | None]:
    """Split off the peer id at the end: `/ip4/…/tcp/1/p2p/ID` is `/ip4/…/tcp/1` and ID.

    The rest of `/p2p/ID` alone is the empty multiaddr. The relay's id inside a relayed address stays.
    """
    parts = components(address)
    if not parts or parts[-1].name != "p2p" or parts[-1].value is None:
        return address, None
    peer = PeerId.parse(parts[-1].value)
    size = len(_peer_suffix(peer))
    return _Parsed(address.to_bytes()[:-size]), peer


def with_peer(address: Multiaddr, peer: PeerId) -> Multiaddr:
    """Return `address` with `/p2p/peer` at its end, once; InvalidAddress if it ends in another peer's id."""
    _, present = split_peer(address)
    if present == peer:
        return address
    if present is not None:
        raise InvalidAddress(f"{address} already names peer {present}, not {peer}")
    return parse_address(address.to_bytes() + _peer_suffix(peer))


def _peer_suffix(peer: PeerId) -> bytes:
    return codec.encode(f"/p2p/{peer}")


def _type(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
