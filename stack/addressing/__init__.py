"""Multiaddrs: what the multiaddr library lacks of parsing, matching, interfaces and resolution."""

from .codec import MAX_COMPONENTS, MAX_SIZE, Component
from .parse import MAX_ADDRESSES, components, parse_address, parse_addresses_lossy, split_peer, with_peer

__all__ = [
    "MAX_ADDRESSES",
    "MAX_COMPONENTS",
    "MAX_SIZE",
    "Component",
    "components",
    "parse_address",
    "parse_addresses_lossy",
    "split_peer",
    "with_peer",
]
