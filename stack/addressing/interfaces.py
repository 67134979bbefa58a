"""List the addresses of this machine's network interfaces: what listening on 0.0.0.0 and :: stands for."""

from __future__ import annotations

import ctypes
import logging
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from multiaddr import Multiaddr

from ..errors import InvalidAddress
from .codec import Component
from .parse import components, parse_address

IpAddress = IPv4Address | IPv6Address

_log = logging.getLogger(__name__)

_MAX_ENTRIES = 4096
"""Most entries read of the system's list, in case it is damaged and does not end."""
_INTERFACE_IS_UP = 0x1  # IFF_UP, the same on Linux, macOS and the BSDs
_PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))  # for documentation: routed, never assigned


def expand_unspecified(
    address: Multiaddr, *, interfaces: Callable[[], Iterable[IpAddress]] | None = None
) -> list[Multiaddr]:
    """Return `address` for every interface if it is of 0.0.0.0 or ::, else `address` alone.

    0.0.0.0 gives IPv4 addresses and :: IPv6 ones. Addresses of one IPv6 link are left out, as in go: they are of
    no use to others without the name of *their* interface. `interfaces` replaces the system's list.
    """
    match components(address):
        case (Component("ip4" | "ip6" as family, str(host)), *_) if host in ("0.0.0.0", "::"):
            addresses = (interfaces or interface_addresses)()
            version = 4 if family == "ip4" else 6
            rest = address.to_bytes()[len(parse_address(f"/{family}/{host}").to_bytes()) :]
            return [
                parse_address(parse_address(f"/{family}/{ip}").to_bytes() + rest)
                for ip in dict.fromkeys(addresses)
                if ip.version == version and not (ip.version == 6 and ip.is_link_local)
            ]
    return [address]


def interface_addresses() -> list[IpAddress]:
    """Return the IP addresses of the interfaces that are up, in the system's order.

    Where the system has no getifaddrs: the loopback addresses and those of the default routes.
    """
    try:
        return list(dict.fromkeys(_from_system()))
    except (OSError, AttributeError, TypeError) as error:
        _log.debug("cannot list the network interfaces (%s); asking the routes instead", error)
        return list(dict.fromkeys(_from_routes()))


def interface_index(zone: str | None) -> int:
    """Return the number of the interface that a zone names; 0 without a zone. Raises InvalidAddress for another."""
    if zone is None or zone.isdecimal():
        return int(zone or 0)
    try:
        return socket.if_nametoindex(zone)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex()) or "none"
        raise InvalidAddress(f"there is no network interface {zone!r} here, only: {names}") from None


class _Ifaddrs(ctypes.Structure):
    """The head of C's `struct ifaddrs`, alike on Linux, macOS and the BSDs."""


_Ifaddrs._fields_ = [
    ("next", ctypes.POINTER(_Ifaddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def _from_system() -> Iterator[IpAddress]:
    libc = ctypes.CDLL(None, use_errno=True)
    head = ctypes.POINTER(_Ifaddrs)()
    if libc.getifaddrs(ctypes.byref(head)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs failed")
    try:
        entry = head
        for _ in range(_MAX_ENTRIES):
            if not entry:
                return
            if entry.contents.flags & _INTERFACE_IS_UP and entry.contents.address:
                yield from _ip_at(entry.contents.address)
            entry = entry.contents.next
    finally:
        libc.freeifaddrs(head)


def _ip_at(sockaddr: int) -> Iterator[IpAddress]:
    """Read the IP address out of the C `struct sockaddr` at a memory address."""
    family = _family_of(ctypes.string_at(sockaddr, 2))
    if family == socket.AF_INET:
        yield IPv4Address(ctypes.string_at(sockaddr + 4, 4))
    elif family == socket.AF_INET6:
        yield IPv6Address(ctypes.string_at(sockaddr + 8, 16))


def _family_of(head: bytes) -> int:
    # Linux has two bytes of family here; macOS and the BSDs have one of length, then one of family.
    return int.from_bytes(head, sys.byteorder) if sys.platform == "linux" else head[1]


def _from_routes() -> Iterator[IpAddress]:
    """Ask the routing table for the source address of a packet to the internet; nothing is sent."""
    yield IPv4Address("127.0.0.1")
    yield IPv6Address("::1")
    for family, far_away in _PROBES:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far_away, 9))
                yield ip_address(probe.getsockname()[0].partition("%")[0])
        except OSError:
            continue
