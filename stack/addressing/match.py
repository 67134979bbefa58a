"""Recognise the composition of a multiaddr: which transport dials it, and to where."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, cast

from multiaddr import Multiaddr

from ..errors import InvalidAddress
from .codec import Component
from .parse import components, parse_address

Family = Literal["ip4", "ip6", "dns", "dns4", "dns6"]

_FAMILIES = frozenset({"ip4", "ip6", "dns", "dns4", "dns6"})
_RESOLVABLE = frozenset({"dns", "dns4", "dns6", "dnsaddr"})
_TRANSPORTS = ("webtransport", "webrtc-direct", "webrtc", "wss", "ws", "quic-v1", "quic", "tcp", "memory", "unix")
"""The outermost first: a websocket address contains tcp, a webtransport address quic-v1."""


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """Where plain TCP connects to; `zone` is the network interface of a link-local IPv6 address."""

    host: str
    port: int
    family: Family
    zone: str | None = None


def tcp_endpoint(address: Multiaddr) -> TcpEndpoint | None:
    """Match `[/ip6zone/ZONE]/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT[/p2p/ID]` and nothing else."""
    parts = components(address)
    if parts and parts[-1].name == "p2p":
        parts = parts[:-1]
    zone = None
    if len(parts) == 3 and parts[0].name == "ip6zone" and parts[1].name == "ip6":
        zone, parts = parts[0].value, parts[1:]
    match parts:
        case (Component(family, str(host)), Component("tcp", str(port))) if family in _FAMILIES:
            return TcpEndpoint(host, int(port), cast("Family", family), zone)
    return None


def tcp_address(host: str, port: int) -> Multiaddr:
    """Build the multiaddr of a TCP socket from its IP address, which may have a `%zone`, and its port.

    IPv4 inside IPv6 (`::ffff:192.0.2.1`, as a socket for both reports it) becomes `/ip4`. Raises InvalidAddress.
    """
    bare, _, zone = host.partition("%")
    try:
        ip = ip_address(bare)
    except ValueError:
        raise InvalidAddress(f"{host!r} is not an IP address") from None
    if ip.version == 6 and ip.ipv4_mapped is not None:
        return parse_address(f"/ip4/{ip.ipv4_mapped}/tcp/{port}")
    prefix = f"/ip6zone/{zone}" if zone else ""
    return parse_address(f"{prefix}/ip{ip.version}/{ip}/tcp/{port}")


def transport_name(address: Multiaddr) -> str | None:
    """Name what dials `address`: tcp, ws, wss, quic-v1, webtransport, webrtc-direct, webrtc, p2p-circuit, memory, …

    `/tls/ws` is wss. A relayed address is `p2p-circuit`, or `webrtc` where the circuit only carries its signalling.
    None if there is no transport, as in `/ip4/192.0.2.1/udp/4001` alone.
    """
    names = [name for name, _ in components(address)]
    if "p2p-circuit" in names:
        return "webrtc" if "webrtc" in names[names.index("p2p-circuit") :] else "p2p-circuit"
    for name in _TRANSPORTS:
        if name in names:
            return "wss" if name == "ws" and "tls" in names else name
    return None


def thin_waist(address: Multiaddr) -> Multiaddr | None:
    """Return the `/ip4|ip6/HOST/tcp|udp/PORT` that `address` begins with, which is what a NAT maps, or None."""
    match components(address):
        case (Component("ip4" | "ip6" as family, str(host)), Component("tcp" | "udp" as layer, str(port)), *_):
            return parse_address(f"/{family}/{host}/{layer}/{port}")
    return None


def is_relayed(address: Multiaddr) -> bool:
    """Return whether `address` goes through a circuit relay."""
    return any(name == "p2p-circuit" for name, _ in components(address))


def needs_resolving(address: Multiaddr) -> bool:
    """Return whether `address` contains a name that must be looked up before it can be dialed."""
    return any(name in _RESOLVABLE for name, _ in components(address))
