"""Multiaddrs: what the multiaddr library lacks of parsing, matching, interfaces and resolution."""

from .codec import MAX_COMPONENTS, MAX_SIZE, Component
from .interfaces import expand_unspecified, interface_addresses
from .match import (
    Family,
    TcpEndpoint,
    is_relayed,
    needs_resolving,
    tcp_address,
    tcp_endpoint,
    thin_waist,
    transport_name,
)
from .parse import MAX_ADDRESSES, components, parse_address, parse_addresses_lossy, split_peer, with_peer
from .reach import (
    ip_of,
    is_ip,
    is_link_local,
    is_loopback,
    is_nat64,
    is_private,
    is_public,
    is_unix,
    is_unspecified,
)
from .resolve import LookupHost, LookupTxt, Resolution, Resolver, ResolverConfig

__all__ = [
    "MAX_ADDRESSES",
    "MAX_COMPONENTS",
    "MAX_SIZE",
    "Component",
    "Family",
    "LookupHost",
    "LookupTxt",
    "Resolution",
    "Resolver",
    "ResolverConfig",
    "TcpEndpoint",
    "components",
    "expand_unspecified",
    "interface_addresses",
    "ip_of",
    "is_ip",
    "is_link_local",
    "is_loopback",
    "is_nat64",
    "is_private",
    "is_public",
    "is_relayed",
    "is_unix",
    "is_unspecified",
    "needs_resolving",
    "parse_address",
    "parse_addresses_lossy",
    "split_peer",
    "tcp_address",
    "tcp_endpoint",
    "thin_waist",
    "transport_name",
    "with_peer",
]
