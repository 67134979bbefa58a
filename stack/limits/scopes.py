"""The scopes of one host, and how connections and streams move through them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from ..errors import LimitExceeded
from .config import Limits
from .memory import WindowBudget
from .scope import RateLimiter, Reservation, Resource, Scope

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from ..identity import PeerId

    Source = bytes | PeerId
    """What connections are counted by: an `ip_key`, or the relay that forwards them."""

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


class ConnectionScope(Scope):
    """The scope of one connection: what it counts as, and its streams."""

    __slots__ = ("_connection", "_transient", "peer")

    def __init__(self, scopes: Scopes, peer: PeerId, connection: Reservation, *parents: Scope) -> None:
        super().__init__("connection to", scopes.connection_limits, *parents, of=peer)
        self.peer = peer
        self._transient = scopes.transient
        self._connection = connection
        connection.move(*parents)

    def open_stream(self, *, inbound: bool) -> Reservation:
        """Count a stream that has no protocol yet; `Scopes.negotiated` and `release` come next."""
        resource = Resource.INBOUND_STREAMS if inbound else Resource.OUTBOUND_STREAMS
        return Reservation(resource, 1, self, self._transient)

    def close(self) -> None:
        """Count the connection no longer; idempotent. Streams are released one by one."""
        self._connection.release()


class Scopes:
    """All scopes of one host: system > transient, IP, peer > connection > stream, and (peer, protocol).

    Those of peers, addresses and protocols exist while something is reserved in them, and are dropped afterwards.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.system = Scope("system", _system_limits(limits))
        self.transient = Scope("transient", _transient_limits(limits), self.system)
        self.windows = WindowBudget(limits.receive_windows)
        """For muxers: what the windows of all connections may grow by."""
        self._declared: dict[str, int] = {}
        self._keyed: WeakValueDictionary[tuple[str, Hashable], Scope] = WeakValueDictionary()
        # Shared by all scopes of a kind: a dict each would double what an idle peer costs.
        self.connection_limits = {Resource.INBOUND_STREAMS: limits.inbound_streams_per_connection}
        self._peer_limits = _peer_limits(limits)
        self._public = _AddressLimits(limits, 1)
        self._private = _AddressLimits(limits, limits.ips_per_private_ip)
        self._sites = _AddressLimits(limits, limits.ips_per_ip6_site)
        # A relay stands for many peers, as a private address does.
        self._relays = _AddressLimits(limits, limits.ips_per_private_ip)

    def accept(self, remote_address: Multiaddr, now: float, *, relay: PeerId | None = None) -> Reservation:
        """Count a connection that arrived and is not authenticated yet: by its address, or by the `relay` it came by.

        Raises LimitExceeded.
        """
        source = relay or ip_key(remote_address)
        if source is None:
            return Reservation(Resource.INBOUND_CONNECTIONS, 1, self.transient)
        kind, name = _described(source)
        pending = self._scope(f"pending {kind}", source, self._limits_of(source).pending, of=name)
        # The transient scope last: no pending connection is evicted for one that its own address may not have.
        reservation = Reservation(Resource.INBOUND_CONNECTIONS, 1, *self._sources(source), pending, self.transient)
        try:
            self._check_rates(source, now)
        except LimitExceeded:
            reservation.release()
            raise
        return reservation

    def dial(self) -> Reservation:
        """Count a dial under way. Raises LimitExceeded."""
        return Reservation(Resource.OUTBOUND_CONNECTIONS, 1, self.transient)

    def connected(
        self, reservation: Reservation, peer: PeerId, remote_address: Multiaddr, *, relay: PeerId | None = None
    ) -> ConnectionScope:
        """Turn what `accept` or `dial` returned into an authenticated connection; LimitExceeded leaves it as it was."""
        parents = [self.peer(peer)]
        source = relay or ip_key(remote_address)
        if source is not None and reservation.resource is Resource.INBOUND_CONNECTIONS:
            parents += self._sources(source)
        return ConnectionScope(self, peer, reservation, *parents)

    def negotiated(self, stream: Reservation, connection: ConnectionScope, protocol: str) -> None:
        """Count the stream as one of `protocol` instead of one that negotiates; LimitExceeded leaves it as it was."""
        stream.move(connection, self.protocol(connection.peer, protocol))

    def declare_streams(self, protocol: str, limit: int | None) -> None:
        """Set how many inbound streams of a protocol one peer may hold open; None if the protocol does not say."""
        if limit is None:
            self._declared.pop(protocol, None)
        else:
            self._declared[protocol] = limit

    def peer(self, peer: PeerId) -> Scope:
        """Return the scope of everything done with one peer."""
        return self._scope("peer", peer, self._peer_limits, of=peer)

    def protocol(self, peer: PeerId, protocol: str) -> Scope:
        """Return the scope of one protocol with one peer."""
        bounds = {Resource.INBOUND_STREAMS: self.limits.inbound_streams_of(protocol, self._declared.get(protocol))}
        return self._scope(f"protocol {protocol} of peer", (peer, protocol), bounds, of=peer)

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return what is reserved in the system and in transit, and how many smaller scopes there are."""
        return {
            "system": self.system.statistics(),
            "transient": self.transient.statistics(),
            "receive windows": {"used": self.windows.used, "limit": self.windows.limit},
            "scopes": {"keyed": len(self._keyed)},
        }

    def _limits_of(self, source: Source) -> _AddressLimits:
        if not isinstance(source, bytes):
            return self._relays
        return self._private if is_private(source) else self._public

    def _counted(self, source: Source) -> Iterator[tuple[Source, _AddressLimits]]:
        """Yield under which keys a source counts: its own and, for a public address, that of its IPv6 /48."""
        limits = self._limits_of(source)
        yield source, limits
        if isinstance(source, bytes) and limits is self._public and (site := site_key(source)) is not None:
            yield site, self._sites

    def _sources(self, source: Source) -> list[Scope]:
        scopes = []
        for part, limits in self._counted(source):
            kind, name = _described(part)
            scopes.append(self._scope(kind, part, limits.connections, of=name))
        return scopes

    def _check_rates(self, source: Source, now: float) -> None:
        for part, limits in self._counted(source):
            if not limits.rates.allow(part, now):
                name = " ".join(_described(part))
                raise LimitExceeded(name, "connections in a short time", limits.rates.burst)

    def _scope(self, kind: str, key: Hashable, limits: Mapping[Resource, int], of: object) -> Scope:
        scope = self._keyed.get((kind, key))
        if scope is None:
            scope = Scope(kind, limits, self.system, of=of)
            self._keyed[kind, key] = scope
        return scope


def _described(source: Source) -> tuple[str, str]:
    """Return the kind of a source, and its name."""
    return ("IP", format_ip_key(source)) if isinstance(source, bytes) else ("relay", str(source))


class _AddressLimits:
    """What one address may do, or one that counts as several."""

    def __init__(self, limits: Limits, many: int) -> None:
        inbound = min(many * limits.inbound_connections_per_ip, limits.inbound_connections)
        self.connections = {Resource.INBOUND_CONNECTIONS: inbound}
        pending = min(many * limits.pending_inbound_per_ip, limits.pending_inbound)
        self.pending = {Resource.INBOUND_CONNECTIONS: pending}
        self.rates = RateLimiter(many * limits.inbound_rate_per_ip, many * limits.inbound_burst_per_ip)


def _system_limits(limits: Limits) -> dict[Resource, int]:
    return {
        Resource.CONNECTIONS: limits.connections,
        Resource.INBOUND_CONNECTIONS: limits.inbound_connections,
        Resource.STREAMS: limits.streams,
        Resource.MEMORY: limits.memory,
    }


def _transient_limits(limits: Limits) -> dict[Resource, int]:
    return {
        Resource.INBOUND_CONNECTIONS: limits.pending_inbound,
        Resource.OUTBOUND_CONNECTIONS: limits.pending_outbound,
        Resource.STREAMS: limits.pending_streams,
    }


def _peer_limits(limits: Limits) -> dict[Resource, int]:
    return {
        Resource.CONNECTIONS: limits.connections_per_peer,
        Resource.INBOUND_STREAMS: limits.inbound_streams_per_peer,
        Resource.STREAMS: limits.streams_per_peer,
        Resource.MEMORY: limits.memory_per_peer,
    }


# ---- the keys under which addresses are counted


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
