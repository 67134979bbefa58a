"""From where a multiaddr can be reached: this machine, its network, or the internet.

The ranges are those of go-multiaddr (`net/private.go`), so that both keep and drop the same addresses; the
properties of `ipaddress` for the same purpose changed between Python releases. Only the first component is
considered: for a relayed address, the relay's.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from multiaddr import Multiaddr

from .codec import Component
from .parse import components

_PRIVATE4 = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),  # carrier-grade NAT
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
)
_UNROUTABLE4 = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("192.0.0.0/26"),
    IPv4Network("192.0.2.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv4Network("198.18.0.0/15"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv4Network("224.0.0.0/4"),
    IPv4Network("240.0.0.0/4"),
)
_BROADCAST = IPv4Address("255.255.255.255")
_PRIVATE6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"), IPv6Network("fe80::/10"))
_PUBLIC6 = IPv6Network("2000::/3")
_DOCUMENTATION6 = IPv6Network("2001:db8::/32")
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAMES = frozenset({"localhost", "localdomain", "local", "internal", "arpa", "invalid", "test"})
"""Last labels of names that the public DNS does not serve."""


def ip_of(address: Multiaddr) -> IPv4Address | IPv6Address | None:
    """Return the IP address that `address` begins with, or None; IPv4 inside IPv6 is returned as IPv4."""
    match _first(address):
        case Component("ip4", str(text)):
            return IPv4Address(text)
        case Component("ip6", str(text)):
            ip = IPv6Address(text)
            return ip.ipv4_mapped or ip
    return None


def is_ip(address: Multiaddr) -> bool:
    """Return whether `address` begins with an IP address."""
    return ip_of(address) is not None


def is_loopback(address: Multiaddr) -> bool:
    """Return whether `address` stays on this machine, by its IP address, the name localhost, or as a unix socket."""
    ip = ip_of(address)
    return ip.is_loopback if ip is not None else _last_label(address) == "localhost" or is_unix(address)


def is_unix(address: Multiaddr) -> bool:
    """Return whether `address` is a path in our own file system: only we may name one."""
    first = _first(address)
    return first is not None and first.name == "unix"


def is_link_local(address: Multiaddr) -> bool:
    """Return whether `address` holds on one link only."""
    ip = ip_of(address)
    return ip is not None and ip.is_link_local


def is_unspecified(address: Multiaddr) -> bool:
    """Return whether `address` is of 0.0.0.0 or ::, where one can listen but not dial."""
    ip = ip_of(address)
    return ip is not None and ip.is_unspecified


def is_broadcast(address: Multiaddr) -> bool:
    """Return whether `address` is of all hosts of the network that we are in, 255.255.255.255."""
    return ip_of(address) == _BROADCAST


def is_multicast(address: Multiaddr) -> bool:
    """Return whether `address` is of a group of hosts."""
    ip = ip_of(address)
    return ip is not None and ip.is_multicast


def is_nat64(address: Multiaddr) -> bool:
    """Return whether `address` is an IPv4 address as a NAT64 gateway (64:ff9b::/96) shows it to IPv6 hosts."""
    ip = ip_of(address)
    return isinstance(ip, IPv6Address) and ip in _NAT64


def is_private(address: Multiaddr) -> bool:
    """Return whether `address` is of this machine, one link, a local network, or a carrier's NAT."""
    match ip_of(address):
        case IPv4Address() as ip:
            return _within(ip, _PRIVATE4)
        case IPv6Address() as ip:
            return any(ip in network for network in _PRIVATE6)
    return _last_label(address) in _LOCAL_NAMES or is_unix(address)


def is_public(address: Multiaddr) -> bool:
    """Return whether the whole internet may reach `address`: a globally routed IP address, or a public name."""
    match ip_of(address):
        case IPv4Address() as ip:
            return _is_public4(ip)
        case IPv6Address() as ip if ip in _NAT64:
            return _is_public4(IPv4Address(int(ip) & 0xFFFFFFFF))
        case IPv6Address() as ip:
            return ip in _PUBLIC6 and ip not in _DOCUMENTATION6
    label = _last_label(address)
    return label is not None and label not in _LOCAL_NAMES


def _is_public4(ip: IPv4Address) -> bool:
    return not _within(ip, _PRIVATE4) and not _within(ip, _UNROUTABLE4)


def _within(ip: IPv4Address, networks: tuple[IPv4Network, ...]) -> bool:
    return any(ip in network for network in networks)


def _first(address: Multiaddr) -> Component | None:
    parts = components(address)
    if parts and parts[0].name == "ip6zone":
        parts = parts[1:]
    return parts[0] if parts else None


def _last_label(address: Multiaddr) -> str | None:
    """Return the top-level domain of the name that `address` begins with."""
    match _first(address):
        case Component("dns" | "dns4" | "dns6" | "dnsaddr", str(name)):
            return name.lower().removesuffix(".").rpartition(".")[2]
    return None
