"""The scopes of one host, and how connections and streams move through them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ..errors import LimitExceeded
from .config import Limits
from .ip import format_ip_key, ip_key, is_private, site_key
from .memory import WindowBudget
from .scope import RateLimiter, Reservation, Resource, Scope

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from ..identity import PeerId

    Source = bytes | PeerId
    """What connections are counted by: an `ip_key`, or the relay that forwards them."""


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
