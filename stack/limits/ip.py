"""The keys under which addresses are counted."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from multiaddr import Multiaddr

PRIVATE_NETWORKS: Final = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
    "fe80::/10",
)
"""Private and shared addresses (RFC 1918, 3927, 6598, 4193, 4291) without loopback: one may stand for a network."""

_PRIVATE = tuple(ip_network(network) for network in PRIVATE_NETWORKS)
_IP4, _IP6 = b"\x04", b"\x29"  # multiaddr codes
_MAPPED_IP4 = bytes(10) + b"\xff\xff"
_LOOPBACK_IP6 = bytes(15) + b"\x01"
_IP6_KEY = 7  # bytes: a /56, what one customer is commonly given (RFC 6177)
_IP6_SITE = 6  # bytes: a /48, what larger sites get, and the smallest that is routed by itself
_IP4_NETWORK = 3  # bytes: a /24, the smallest that is routed by itself


def ip_key(address: Multiaddr) -> bytes | None:
    """Return the key under which `address` is counted: an IPv4 address or an IPv6 /56; None for loopback or no IP.

    For a relayed address it is the relay's, so that all clients of one relay share its limits.
    """
    data = address.to_bytes()
    if data[:1] == _IP4:
        ip = data[1:5]
    elif data[:1] == _IP6 and data[1:13] == _MAPPED_IP4:
        ip = data[13:17]
    elif data[:1] == _IP6 and data[1:17] != _LOOPBACK_IP6:
        return data[1 : 1 + _IP6_KEY]
    else:
        return None
    return None if ip[0] == 127 else ip


def site_key(key: bytes) -> bytes | None:
    """Return what stands for the IPv6 /48 that an `ip_key` is in; None for an IPv4 address."""
    return None if len(key) == 4 else key[:_IP6_SITE]


def is_private(key: bytes) -> bool:
    """Return whether an `ip_key` is of a private address, which may stand for a whole network."""
    address = ip_address(key if len(key) == 4 else key.ljust(16, b"\0"))
    return any(address in network for network in _PRIVATE)


def network_key(address: Multiaddr) -> bytes | None:
    """Return the network of `address`: an IPv4 /24 or an IPv6 /48; None for loopback or no IP.

    One party can have many addresses of one such network, but hardly addresses of many networks.
    """
    key = ip_key(address)
    return None if key is None else site_key(key) or key[:_IP4_NETWORK]


def format_ip_key(key: bytes) -> str:
    """Return an `ip_key` or `site_key` as text: `192.0.2.1`, `2001:db8:0:100::/56` or `2001:db8:0::/48`."""
    if len(key) == 4:
        return ".".join(map(str, key))
    groups = [(key + b"\0")[i : i + 2].hex() for i in range(0, len(key), 2)]
    return ":".join(groups) + f"::/{8 * len(key)}"
