"""The limits: one number for each resource that peers could exhaust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

MIB = 1024 * 1024


class _Default(int):
    """A default of a part: it shrinks with its whole."""


def _part(value: int) -> int:
    return _Default(value)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one host takes on. Per-IP limits count an IPv6 /56 as one address, and never apply to loopback.

    A part that is not given is at most as large as its whole: `Limits(connections=6)` takes six from any peer.
    Raises TypeError for what is no number, ValueError for what is given and does not fit together, or would let nothing
    through.
    """

    connections: int = 1024
    """All connections together: each costs a file descriptor. Above the 192 at which trimming begins (go-libp2p)."""
    inbound_connections: int = _part(768)
    """Connections others opened: an inbound flood must leave room for those we dial ourselves (eclipse)."""
    connections_per_peer: int = _part(8)
    """Connections to one peer, either way: simultaneous dials make two or three, more is churn (go-libp2p: 8)."""
    inbound_connections_per_ip: int = _part(64)
    """Connections one address may hold open: an office or a class room behind one address, and a twelfth of all places
    to others (go-libp2p: 8, which refuses the ninth laptop of a household)."""
    pending_inbound: int = 128
    """Arrived but not authenticated: a slow handshake costs the attacker nothing (go-libp2p's transient scope)."""
    pending_inbound_per_ip: int = _part(64)
    """The same for one address: all behind it may come at once. When all places are taken, those of the network that
    has the most is evicted."""
    inbound_rate_per_ip: float = 1.0
    """Connections a second from one address, in the long run: churn costs us a key exchange each (go-libp2p: 0.2)."""
    inbound_burst_per_ip: int = 64
    """Connections one address may open at once before the rate applies: those that may be open (go-libp2p: 16)."""
    ips_per_ip6_site: int = 2
    """As how many addresses an IPv6 /48, which has 256 times a /56, counts in connections and rate (go-libp2p: 8)."""
    ips_per_private_ip: int = 4
    """As how many addresses a private one counts (RFC 1918, unique local, link-local, and the shared ones of carriers):
    a gateway of containers or of an office stands for all behind it, and no public address is one of these.
    A relay counts the same."""
    pending_outbound: int = 100
    """Dials under way: addresses come from other peers, each dial takes a file descriptor (js-libp2p: 100)."""
    streams: int = 8192
    """All streams together; the first window of each is memory that cannot be refused later."""
    inbound_streams_per_peer: int = _part(512)
    """Streams one peer may hold open over all its connections: a SYN costs it 12 bytes (go-libp2p: 256)."""
    streams_per_peer: int = _part(1024)
    """Streams with one peer in both directions (js-libp2p closes connections with more than 1000)."""
    inbound_streams_per_connection: int = _part(512)
    """The same for one connection (rust-yamux: 512)."""
    pending_streams: int = 1024
    """Streams that have not agreed on a protocol yet: slow negotiation costs the attacker nothing."""
    inbound_streams_per_peer_and_protocol: int = 256
    """Inbound streams of one protocol one peer may hold open, unless overridden below."""
    inbound_streams_overrides: Mapping[str, int] = field(default_factory=lambda: MappingProxyType[str, int]({}))
    """The same by protocol id, in place of what a protocol says it needs (`Host.handle`)."""
    memory: int = 256 * MIB
    """Bytes of messages that protocols hold for peers, all together: unfinished ones, and those being validated."""
    memory_per_peer: int = _part(64 * MIB)
    """The same for one peer (go-libp2p: 64 MiB). What would go beyond is refused before it is read."""
    receive_windows: int = 256 * MIB
    """Bytes by which all receive windows together may have grown: a peer may fill each of them unread."""
    receive_windows_per_connection: int = _part(16 * MIB)
    """The same for one connection: a bandwidth-delay product of 1 Gbit/s over 128 ms."""

    def __post_init__(self) -> None:
        self._check_types()
        defaults = {field.name: field.default for field in fields(self)}
        for part, whole in _PARTS_OF_WHOLES:
            limit = getattr(self, whole)
            if isinstance(getattr(self, part), _Default) and limit > 0:
                object.__setattr__(self, part, _Default(min(defaults[part], limit)))
        values = {name: value for name, value in vars(self).items() if name != "inbound_streams_overrides"}
        for name, value in values.items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, or nothing would ever be accepted; it is {value}")
        for protocol, limit in self.inbound_streams_overrides.items():
            if limit < 0:
                raise ValueError(f"the override for {protocol} must not be negative; it is {limit}")
        for part, whole in _PARTS_OF_WHOLES:
            if values[part] > values[whole]:
                raise ValueError(
                    f"{part} is {values[part]}, more than {whole}, which is {values[whole]}; raise {whole}, too"
                )

    def _check_types(self) -> None:
        """Raise TypeError for what is no number, and for parts of things."""
        for name, value in vars(self).items():
            if name == "inbound_streams_overrides":
                continue
            whole = name != "inbound_rate_per_ip"
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise TypeError(f"{name} must be a {'whole ' if whole else ''}number, not {value!r}")

    def inbound_streams_of(self, protocol: str, declared: int | None = None) -> int:
        """Return how many inbound streams of `protocol` one peer may hold open; `declared` is what it needs."""
        most = self.inbound_streams_per_peer_and_protocol
        return self.inbound_streams_overrides.get(protocol, most if declared is None else min(declared, most))


_PARTS_OF_WHOLES = (
    ("inbound_connections", "connections"),
    ("connections_per_peer", "connections"),
    ("inbound_connections_per_ip", "inbound_connections"),
    ("pending_inbound_per_ip", "pending_inbound"),
    ("streams_per_peer", "streams"),
    ("inbound_streams_per_peer", "streams_per_peer"),
    ("inbound_streams_per_connection", "streams"),
    ("memory_per_peer", "memory"),
    ("receive_windows_per_connection", "receive_windows"),
)
"""In this order parts shrink with their wholes, those that are wholes of others first."""
