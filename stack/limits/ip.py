"""Whose limits an address counts against."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiaddr import Multiaddr

_IP4, _IP6 = b"\x04", b"\x29"  # multiaddr codes
_MAPPED_IP4 = bytes(10) + b"\xff\xff"
_LOOPBACK_IP6 = bytes(15) + b"\x01"
_IP6_KEY = 7  # bytes: a /56, what one customer is commonly given (RFC 6177)


def ip_key(address: Multiaddr) -> bytes | None:
    """Return what stands for whoever is behind `address`: an IPv4 address or an IPv6 /56; None for loopback or no IP.

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


def format_ip_key(key: bytes) -> str:
    """Return an `ip_key` as text: `192.0.2.1` or `2001:db8::/56`."""
    if len(key) == 4:
        return ".".join(map(str, key))
    groups = [(key + b"\0")[i : i + 2].hex() for i in range(0, 8, 2)]
    return ":".join(groups) + "::/56"
