"""How many peers share an IP address: one machine can be many peers (P6 of the peer score)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from peerstack.stack.limits import PRIVATE_NETWORKS

_SUBNET = 64  # bits; what one IPv6 customer gets, and can use any address of
_PRIVATE = tuple(ip_network(network) for network in PRIVATE_NETWORKS)


class Colocation:
    """Counts the connected peers by address, and by /64 subnet where the address is IPv6."""

    __slots__ = ("_allowed", "_counts", "_private", "_private_threshold", "_threshold")

    def __init__(self, threshold: int, allowed: Iterable[str], private_factor: int = 1) -> None:
        """`private_factor` times as many may share an address that is private: it may stand for a whole network."""
        self._threshold = threshold
        self._private_threshold = private_factor * threshold
        self._private: set[str] = set()
        """The keys in use that are private."""
        self._allowed = [ip_network(network) for network in allowed]
        self._counts: dict[str, int] = {}

    def keys(self, ips: Iterable[str]) -> tuple[str, ...]:
        """Return under which keys a peer with these addresses counts: none for those in allowed networks.

        What is no IP address is left out.
        """
        keys: dict[str, None] = {}
        for text in ips:
            address = parse_ip(text)
            if address is None or any(address in network for network in self._allowed):
                continue
            keys[str(address)] = None
            if isinstance(address, IPv6Address):
                keys[subnet_of(address)] = None
        return tuple(keys)

    def add(self, keys: Iterable[str]) -> None:
        """Count a peer under `keys`."""
        for key in keys:
            count = self._counts[key] = self._counts.get(key, 0) + 1
            if count == 1 and _is_private(key):
                self._private.add(key)

    def remove(self, keys: Iterable[str]) -> None:
        """Count a peer no longer under `keys`, where it was added."""
        for key in keys:
            left = self._counts[key] - 1
            if left:
                self._counts[key] = left
            else:
                del self._counts[key]
                self._private.discard(key)

    def surplus(self, keys: Iterable[str]) -> float:
        """Return the sum over `keys` of the squared number of peers beyond the threshold."""
        total = 0
        for key in keys:
            surplus = self._counts[key] - (self._private_threshold if key in self._private else self._threshold)
            if surplus > 0:
                total += surplus * surplus
        return float(total)

    def __len__(self) -> int:
        return len(self._counts)


def parse_ip(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address in `text`, an IPv4-mapped one as IPv4 and without its zone; None if it is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def subnet_of(address: IPv6Address) -> str:
    """Return the /64 subnet of `address` in text form."""
    return str(IPv6Network((address, _SUBNET), strict=False))


def _is_private(key: str) -> bool:
    address = ip_address(key.partition("/")[0])
    return any(address in network for network in _PRIVATE)
