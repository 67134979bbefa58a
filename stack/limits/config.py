"""The limits themselves: one number for each thing the world could ask too much of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

MIB = 1024 * 1024

_STREAM_OVERRIDES = {
    "/ipfs/ping/1.0.0": 2,
    "/ipfs/id/1.0.0": 16,
    "/ipfs/id/push/1.0.0": 1,
    "/perf/1.0.0": 1,
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one host takes on. Per-IP limits count an IPv6 /56 as one address, and never apply to loopback."""

    connections: int = 1024
    """All connections together: each costs a file descriptor. Above the 192 at which trimming begins (go-libp2p)."""
    inbound_connections: int = 768
    """Connections others opened: an inbound flood must leave room for those we dial ourselves (eclipse)."""
    connections_per_peer: int = 8
    """Connections to one peer, either way: simultaneous dials make two or three, more is churn (go-libp2p: 8)."""
    inbound_connections_per_ip: int = 8
    """Connections one address may hold open: identities are free, addresses are not (go-libp2p: 8)."""
    pending_inbound: int = 64
    """Arrived but not authenticated: a slow handshake costs the attacker nothing (go-libp2p's transient scope)."""
    pending_inbound_per_ip: int = 8
    """The same for one address, so that one attacker can not take all the places."""
    inbound_rate_per_ip: float = 0.2
    """Connections a second from one address, in the long run: churn costs us a key exchange each (go-libp2p)."""
    inbound_burst_per_ip: int = 16
    """Connections one address may open at once before the rate applies (go-libp2p)."""
    ips_per_ip6_site: int = 8
    """As how many addresses an IPv6 /48, which has 256 times a /56, counts in connections and rate (go-libp2p: 8)."""
    pending_outbound: int = 100
    """Dials under way: addresses come from strangers, each dial takes a file descriptor (js-libp2p: 100)."""
    streams: int = 8192
    """All streams together; the first window of each is memory that can not be refused later."""
    inbound_streams_per_peer: int = 512
    """Streams one peer may hold open over all its connections: a SYN costs it 12 bytes (go-libp2p: 256)."""
    streams_per_peer: int = 1024
    """Streams with one peer in both directions (js-libp2p closes connections with more than 1000)."""
    inbound_streams_per_connection: int = 512
    """The same for one connection (rust-yamux: 512)."""
    pending_streams: int = 1024
    """Streams that have not agreed on a protocol yet: slow negotiation costs the attacker nothing."""
    inbound_streams_per_peer_and_protocol: int = 256
    """Inbound streams of one protocol one peer may hold open, unless overridden below."""
    inbound_streams_overrides: Mapping[str, int] = field(default_factory=lambda: MappingProxyType(_STREAM_OVERRIDES))
    """The same by protocol id, for protocols that need no more (ping 2, identify 16, push 1, as in go-libp2p)."""
    memory: int = 256 * MIB
    """Bytes of message buffers declared by protocols, all together."""
    memory_per_peer: int = 64 * MIB
    """The same for one peer (go-libp2p: 64 MiB)."""
    receive_windows: int = 256 * MIB
    """Bytes by which all receive windows together may have grown: a peer may fill each window while nobody reads."""
    receive_windows_per_connection: int = 16 * MIB
    """The same for one connection: a bandwidth-delay product of 1 Gbit/s over 128 ms."""

    def __post_init__(self) -> None:
        values = {name: value for name, value in vars(self).items() if name != "inbound_streams_overrides"}
        for name, value in values.items():
            if value <= 0:
                raise ValueError(f"{name} must be positive, or nothing would ever be accepted; it is {value}")
        for protocol, limit in self.inbound_streams_overrides.items():
            if limit < 0:
                raise ValueError(f"the override for {protocol} must not be negative; it is {limit}")
        for part, whole in _PARTS_OF_WHOLES:
            if values[part] > values[whole]:
                raise ValueError(f"{part} is {values[part]}, more than {whole}, which is {values[whole]}")

    def inbound_streams_of(self, protocol: str) -> int:
        """Return how many inbound streams of `protocol` one peer may hold open."""
        return self.inbound_streams_overrides.get(protocol, self.inbound_streams_per_peer_and_protocol)


_PARTS_OF_WHOLES = (
    ("inbound_connections", "connections"),
    ("connections_per_peer", "connections"),
    ("inbound_connections_per_ip", "inbound_connections"),
    ("pending_inbound_per_ip", "pending_inbound"),
    ("inbound_streams_per_peer", "streams_per_peer"),
    ("streams_per_peer", "streams"),
    ("inbound_streams_per_connection", "streams"),
    ("memory_per_peer", "memory"),
    ("receive_windows_per_connection", "receive_windows"),
)
