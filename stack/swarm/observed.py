"""Our own address as others see it, believed only when enough of them agree (identify, go-libp2p's observedaddrs).

An observation is `(local listen address, address the peer sees, who says so)`, one for each connection. All
observers behind one IPv4 address or IPv6 /56 count as one, however many identities they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from multiaddr import Multiaddr

from ..addressing.match import is_relayed, thin_waist
from ..addressing.reach import is_loopback, is_nat64, is_unspecified
from ..limits import ip_key

QUORUM = 4
"""Observers that have to agree: one, or the many identities of one, could send our peers anywhere (go-libp2p: 4)."""
MAX_PER_LISTENER = 3
"""Addresses believed for one listener; a symmetric NAT shows a new one to every peer (go-libp2p: 3)."""


class _Observation(NamedTuple):
    listener: Multiaddr
    observed: Multiaddr
    observer: bytes


class ObservedAddresses:
    """Gathers what peers say of our address while they are connected."""

    def __init__(self, quorum: int = QUORUM) -> None:
        self._quorum = quorum
        self._observations: dict[Hashable, _Observation] = {}
        # How often each observer reports it, by listener and address; kept, since counting anew takes a pass over all.
        self._reports: dict[Multiaddr, dict[Multiaddr, Counter[bytes]]] = {}

    def record(
        self,
        connection: Hashable,
        *,
        observed: Multiaddr,
        local: Multiaddr,
        remote: Multiaddr,
        listening: Iterable[Multiaddr],
    ) -> bool:
        """Record what the peer of `connection` sees, in place of its earlier observation; return whether it counts.

        It counts if the connection runs through one of our listeners, so that others would arrive there too.
        Relayed connections, loopback and NAT64 addresses, observers on this machine, and an address of another
        transport than the connection's say nothing about it.
        """
        self.remove(connection)
        observation = _observation(observed, local, remote, listening)
        if observation is None:
            return False
        self._observations[connection] = observation
        observers = self._reports.setdefault(observation.listener, {}).setdefault(observation.observed, Counter())
        observers[observation.observer] += 1
        return True

    def remove(self, connection: Hashable) -> None:
        """Forget what the peer of a closed connection said."""
        observation = self._observations.pop(connection, None)
        if observation is None:
            return
        reports = self._reports[observation.listener]
        observers = reports[observation.observed]
        observers[observation.observer] -= 1
        if not observers[observation.observer]:
            del observers[observation.observer]
        if not observers:
            del reports[observation.observed]
        if not reports:
            del self._reports[observation.listener]

    def retain(self, connections: Iterable[Hashable]) -> None:
        """Forget what was said on any but these connections."""
        for connection in self._observations.keys() - set(connections):
            self.remove(connection)

    def addresses(self, listening: Iterable[Multiaddr]) -> tuple[Multiaddr, ...]:
        """Return the addresses that enough observers agree on, for each listener those of most observers first."""
        believed: dict[Multiaddr, None] = {}
        for listener in listening:
            waist = thin_waist(listener)
            if waist is None:
                continue
            rest = listener.to_bytes()[len(waist.to_bytes()) :]
            for observed in _most_agreed(self._reports.get(waist, {}), self._quorum):
                believed[Multiaddr(observed.to_bytes() + rest)] = None
        return tuple(believed)

    @property
    def count(self) -> int:
        """How many connections count."""
        return len(self._observations)


def _most_agreed(reports: dict[Multiaddr, Counter[bytes]], quorum: int) -> list[Multiaddr]:
    enough = [observed for observed, observers in reports.items() if len(observers) >= quorum]
    return sorted(enough, key=lambda observed: len(reports[observed]), reverse=True)[:MAX_PER_LISTENER]


def _observation(
    observed: Multiaddr, local: Multiaddr, remote: Multiaddr, listening: Iterable[Multiaddr]
) -> _Observation | None:
    observer = ip_key(remote)
    seen, ours = thin_waist(observed), thin_waist(local)
    if observer is None or seen is None or ours is None:
        return None
    if is_relayed(remote) or is_relayed(observed) or is_loopback(seen) or is_nat64(seen) or is_unspecified(seen):
        return None
    if _layer(seen) != _layer(ours):
        return None
    waists = (thin_waist(listener) for listener in listening)
    listener = next((waist for waist in waists if waist is not None and _accepts(waist, ours)), None)
    return None if listener is None else _Observation(listener, seen, observer)


def _layer(waist: Multiaddr) -> tuple[str, str]:
    family, layer = (protocol.name for protocol in waist.protocols())
    return family, layer


def _accepts(listener: Multiaddr, local: Multiaddr) -> bool:
    """Return whether a connection with this local address came through, or left from, the listener's port."""
    if listener == local:
        return True
    same_port = listener.to_bytes()[-2:] == local.to_bytes()[-2:]
    family, layer = _layer(listener)
    if not same_port or not is_unspecified(listener) or layer != _layer(local)[1]:
        return False
    # A socket bound to [::] takes IPv4 as well.
    return family in ("ip6", _layer(local)[0])
