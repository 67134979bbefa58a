"""What is known of other peers: addresses, protocols, agent; bounded, since untrusted peers say most of it."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import filterfalse
from typing import TypeVar

import trio
from multiaddr import Multiaddr

from ..addressing import AnyPeer, is_unix, parse_address, parse_addresses, parse_addresses_lossy, parse_peer, split_peer
from ..errors import InvalidInput
from ..identity import Envelope, PeerId, PeerRecord

T = TypeVar("T", str, tuple[str, ...])


class Ttl(Enum):
    """For how many seconds an address is worth dialing, by how it was learned (the classes of go-libp2p)."""

    TEMPORARY = 120.0
    """Named by another peer, such as one of a DHT."""
    RECENTLY_CONNECTED = 900.0
    """Said by the peer itself, which is gone now."""
    DISCOVERED = 3600.0
    """Found by a discovery service or given for a while."""
    CONNECTED = sys.float_info.max / 2
    """Said by the peer itself: until it disconnects, and as recently connected from then on."""
    DIALED = sys.float_info.max
    """Where the peer was reached from here, whatever it says of itself: until it disconnects, and an hour from then on.

    It may be one that only the user knows, such as a forwarded port, a proxy, or a socket in the file system.
    """
    PERMANENT = math.inf
    """Given by the user; never evicted."""


_AFTER_CONNECTED = {Ttl.CONNECTED: Ttl.RECENTLY_CONNECTED, Ttl.DIALED: Ttl.DISCOVERED}
"""Classes that last while the peer is connected, and what becomes of them then."""


@dataclass(frozen=True, kw_only=True)
class PeerstoreConfig:
    """How much is remembered of others."""

    addresses_per_peer: int = 64
    """Of a peer that is not connected: any peer can make up addresses of others (go-libp2p: 64)."""
    addresses_while_connected: int = 500
    """Of a connected peer, which has to say them itself (go-libp2p: 500)."""
    addresses_after_disconnect: int = 20
    """What is left of these when it goes (go-libp2p: 20)."""
    unconnected_addresses: int = 1_000_000
    """Of all peers that are not connected; the least recently used peers are forgotten (go-libp2p: 1 000 000)."""
    unconnected_peers: int = 100_000
    """Peers that are not connected, identities being free; the least recently used are forgotten."""
    records: int = 10_000
    """Signed records kept to be served on, the least recently used going first (CVE-2023-40583)."""
    record_size: int = 8192
    """Bytes of one signed record; one message of identify has no room for more."""
    protocols: int = 1024
    """Protocol ids of one peer (go-libp2p: 1024)."""
    text_length: int = 128
    """Characters of agent and of protocol version; control characters go, for terminals show both (CVE-2020-26283)."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")


class _Entry:
    __slots__ = (
        "addresses",
        "agent",
        "certified",
        "connected",
        "counted",
        "observed",
        "protocol_version",
        "protocols",
        "touched",
    )

    def __init__(self, now: float) -> None:
        self.addresses: dict[Multiaddr, float] = {}  # to when it expires
        self.certified: tuple[Multiaddr, ...] = ()
        self.protocols: tuple[str, ...] = ()
        self.agent = ""
        self.protocol_version = ""
        self.observed: Multiaddr | None = None
        self.connected = False
        self.counted = 0  # addresses in the total of unconnected peers
        self.touched = now

    def live(self, now: float) -> list[Multiaddr]:
        return [address for address, expires in self.addresses.items() if self.connected or expires > now]

    def add(self, addresses: Iterable[Multiaddr], expires: float, limit: int) -> None:
        for address in addresses:
            self.addresses[address] = max(expires, self.addresses.get(address, expires))
        self.trim(limit)

    def trim(self, limit: int) -> None:
        """Keep the `limit` addresses that last longest, those the peer has signed before others."""
        if len(self.addresses) <= limit:
            return
        items = sorted(self.addresses.items(), key=self._worth, reverse=True)
        self.addresses = dict(items[:limit])

    def replace_certified(self, addresses: tuple[Multiaddr, ...]) -> None:
        for address in self.certified:
            if address not in addresses and self.addresses.get(address, 0) < Ttl.DIALED.value:
                self.addresses.pop(address, None)
        self.certified = addresses

    def is_pinned(self) -> bool:
        return math.inf in self.addresses.values()

    def _worth(self, item: tuple[Multiaddr, float]) -> tuple[bool, bool, float]:
        address, expires = item
        return expires == math.inf, address in self.certified, expires


class _Shared:
    """Equal strings and tuples of strings kept once; most peers say the same."""

    # Not sys.intern: what peers make up would stay for ever on some versions of Python.
    def __init__(self, capacity: int = 4096) -> None:
        self._values: dict[object, object] = {}
        self._capacity = capacity

    def __call__(self, value: T) -> T:
        if len(self._values) >= self._capacity:
            self._values.clear()
        self._values.setdefault(value, value)
        shared = self._values[value]
        assert isinstance(shared, type(value))
        return shared


class Peerstore:
    """What is known of other peers. Reading a peer never makes an entry for it.

    A peer is given as a `PeerId`, the text of one, or an address that ends in `/p2p/<id>`; every method raises
    InvalidInput for other text, and TypeError for anything else.
    """

    def __init__(
        self, config: PeerstoreConfig | None = None, *, clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._config = config or PeerstoreConfig()
        self._clock = clock
        self._peers: dict[PeerId, _Entry] = {}
        self._evictable: OrderedDict[PeerId, None] = OrderedDict()  # neither connected nor pinned, oldest first
        self._addresses = 0
        self._records: OrderedDict[PeerId, tuple[int, bytes]] = OrderedDict()
        self._shared = _Shared()

    def __repr__(self) -> str:
        return f"<Peerstore of {len(self._peers)} peers>"

    # --- addresses

    def add_addresses(
        self, peer: AnyPeer, addresses: str | Multiaddr | Iterable[str | Multiaddr], ttl: Ttl | float
    ) -> None:
        """Remember addresses for a class of time or a number of seconds.

        `/p2p/` of the peer itself is stripped, and addresses that name another peer are left out.
        Raises InvalidAddress for a malformed one, TypeError for what is no address and no time.
        """
        peer = parse_peer(peer)
        _check_ttl(ttl)
        own = [address for address in (_own(peer, item) for item in parse_addresses(addresses)) if address is not None]
        if own:
            entry = self._entry(peer)
            entry.add(own, self._expires(entry, ttl), self._limit(entry))
            self._settle(peer, entry)

    def replace_addresses(self, peer: AnyPeer, addresses: Iterable[Multiaddr]) -> None:
        """Remember what a connected peer says of itself now, in place of what it said before without a signature.

        Paths of unix sockets are left out, as those are ours to give.
        """
        peer = parse_peer(peer)
        entry = self._entry(peer)
        said = Ttl.CONNECTED.value
        entry.addresses = {a: t for a, t in entry.addresses.items() if t != said or a in entry.certified}
        self.add_addresses(peer, [address for address in addresses if not is_unix(address)], Ttl.CONNECTED)

    def addresses(self, peer: AnyPeer) -> tuple[Multiaddr, ...]:
        """Return the addresses that have not expired, in no order of preference."""
        entry = self._known(peer)
        return tuple(entry.live(self._clock())) if entry else ()

    def certified_addresses(self, peer: AnyPeer) -> tuple[Multiaddr, ...]:
        """Return those of them that the peer signed in its newest record."""
        entry = self._known(peer)
        return tuple(address for address in entry.live(self._clock()) if address in entry.certified) if entry else ()

    def add_record(
        self,
        peer: AnyPeer,
        envelope: Envelope | bytes,
        ttl: Ttl | float,
        *,
        keep: Callable[[Multiaddr], bool] = lambda address: True,
    ) -> PeerRecord | None:
        """Remember what `peer` signed of itself, and those of its addresses that `keep` accepts; no unix sockets.

        Addresses that only its older record had are forgotten. Returns None, and changes nothing, for a record that
        is not newer than the stored one; the very same record again refreshes its addresses. Raises InvalidInput,
        InvalidSignature, or PeerIdMismatch if it is not a record of `peer` signed by `peer`.
        """
        peer = parse_peer(peer)
        _check_ttl(ttl)
        envelope = envelope if isinstance(envelope, Envelope) else Envelope.decode(envelope)
        encoded = envelope.encode()
        if len(encoded) > self._config.record_size:
            raise InvalidInput(f"signed record of {len(encoded)} bytes; the limit is {self._config.record_size}")
        record = PeerRecord.open(envelope, expected=peer)
        known = self._records.get(peer)
        if known is not None and record.seq <= known[0] and encoded != known[1]:
            return None
        self._keep_record(peer, record.seq, encoded)
        entry = self._entry(peer)
        parsed = parse_addresses_lossy(record.addresses, limit=self._config.addresses_while_connected)
        own = (_own(peer, address) for address in filterfalse(is_unix, parsed))
        kept = tuple(dict.fromkeys(address for address in own if address is not None and keep(address)))
        entry.replace_certified(kept[: self._limit(entry)])
        entry.add(entry.certified, self._expires(entry, ttl), self._limit(entry))
        self._settle(peer, entry)
        return record

    def record(self, peer: AnyPeer) -> bytes | None:
        """Return the newest signed record, the very bytes the peer signed, to be served on."""
        known = self._records.get(parse_peer(peer))
        return known[1] if known else None

    # --- what else a peer says

    def set_protocols(self, peer: AnyPeer, protocols: Iterable[str]) -> None:
        """Remember what the peer serves, in place of what was known; no more than the configured number."""
        peer = parse_peer(peer)
        if isinstance(protocols, str):
            raise TypeError("protocols is a list of protocol ids, not one text")
        entry = self._entry(peer)
        unique = dict.fromkeys(protocols)
        first = (self._shared(protocol) for protocol, _ in zip(unique, range(self._config.protocols), strict=False))
        entry.protocols = self._shared(tuple(first))
        self._settle(peer, entry)

    def protocols(self, peer: AnyPeer) -> tuple[str, ...]:
        """Return what the peer said it serves."""
        entry = self._known(peer)
        return entry.protocols if entry else ()

    def supports(self, peer: AnyPeer, *protocols: str) -> tuple[str, ...]:
        """Return those of `protocols`, in their order, that the peer said it serves."""
        known = self.protocols(peer)
        return tuple(protocol for protocol in protocols if protocol in known)

    def set_agent(self, peer: AnyPeer, agent: str) -> None:
        """Remember the peer's software; what cannot be shown is taken out, and the rest cut."""
        peer = parse_peer(peer)
        entry = self._entry(peer)
        entry.agent = self._shared(printable(agent, self._config.text_length))
        self._settle(peer, entry)

    def agent(self, peer: AnyPeer) -> str:
        """Return the peer's software as it calls itself, empty when unknown; safe to print."""
        entry = self._known(peer)
        return entry.agent if entry else ""

    def set_protocol_version(self, peer: AnyPeer, version: str) -> None:
        """Remember what family of protocols the peer says it speaks, made safe as the agent is."""
        peer = parse_peer(peer)
        entry = self._entry(peer)
        entry.protocol_version = self._shared(printable(version, self._config.text_length))
        self._settle(peer, entry)

    def protocol_version(self, peer: AnyPeer) -> str:
        """Return that family, such as `ipfs/0.1.0`, empty when unknown; safe to print, and proof of nothing."""
        entry = self._known(peer)
        return entry.protocol_version if entry else ""

    def set_observed(self, peer: AnyPeer, observed: Multiaddr) -> None:
        """Remember at which address the peer sees us."""
        peer = parse_peer(peer)
        entry = self._entry(peer)
        entry.observed = parse_address(observed)
        self._settle(peer, entry)

    def observed(self, peer: AnyPeer) -> Multiaddr | None:
        """Return at which address the peer last said that it sees us."""
        entry = self._known(peer)
        return entry.observed if entry else None

    # --- comings and goings

    def connected(self, peer: AnyPeer) -> None:
        """Take note that there is a connection now: nothing of the peer expires or is evicted."""
        peer = parse_peer(peer)
        entry = self._entry(peer)
        entry.connected = True
        self._settle(peer, entry)

    def disconnected(self, peer: AnyPeer) -> None:
        """Take note that the last connection is gone: what the peer said of itself begins to expire."""
        peer = parse_peer(peer)
        entry = self._known(peer)
        if entry is None or not entry.connected:
            return
        entry.connected = False
        for ttl in (Ttl.CONNECTED, Ttl.DIALED):
            expires = self._expires(entry, ttl)
            ending = [address for address, until in entry.addresses.items() if until == ttl.value]
            entry.addresses.update(dict.fromkeys(ending, expires))
        entry.trim(self._config.addresses_after_disconnect)
        self._settle(peer, entry)

    def forget(self, peer: AnyPeer) -> None:
        """Forget everything about a peer."""
        peer = parse_peer(peer)
        entry = self._peers.pop(peer, None)
        if entry:
            self._addresses -= entry.counted
        self._evictable.pop(peer, None)
        self._records.pop(peer, None)

    def peers(self) -> tuple[PeerId, ...]:
        """Return all peers anything is known of."""
        return tuple(self._peers)

    def statistics(self) -> dict[str, int]:
        """Return how many peers, addresses of unconnected peers, and signed records there are."""
        return {
            "peers": len(self._peers),
            "unconnected_peers": len(self._evictable),
            "unconnected_addresses": self._addresses,
            "records": len(self._records),
        }

    # --- bounds

    def _known(self, peer: AnyPeer) -> _Entry | None:
        return self._peers.get(parse_peer(peer))

    def _entry(self, peer: PeerId) -> _Entry:
        entry = self._peers.get(peer)
        if entry is None:
            entry = self._peers[peer] = _Entry(self._clock())
        return entry

    def _limit(self, entry: _Entry) -> int:
        return self._config.addresses_while_connected if entry.connected else self._config.addresses_per_peer

    def _expires(self, entry: _Entry, ttl: Ttl | float) -> float:
        if isinstance(ttl, Ttl):
            if entry.connected and ttl in _AFTER_CONNECTED:
                return ttl.value
            ttl = _AFTER_CONNECTED.get(ttl, ttl).value
        return self._clock() + ttl

    def _keep_record(self, peer: PeerId, seq: int, encoded: bytes) -> None:
        self._records[peer] = seq, encoded
        self._records.move_to_end(peer)
        if len(self._records) > self._config.records:
            self._records.popitem(last=False)

    def _settle(self, peer: PeerId, entry: _Entry) -> None:
        """Bring the totals up to date after a change, and forget others where they are passed."""
        entry.touched = self._clock()
        self._evictable.pop(peer, None)
        counted = 0
        if not entry.connected and not entry.is_pinned():
            self._evictable[peer] = None
            counted = len(entry.addresses)
        self._addresses += counted - entry.counted
        entry.counted = counted
        self._forget_useless()
        config = self._config
        while self._addresses > config.unconnected_addresses or len(self._evictable) > config.unconnected_peers:
            self.forget(next(iter(self._evictable)))

    def _forget_useless(self) -> None:
        """Look at the two longest unused peers, so that the store shrinks as fast as it can grow."""
        now = self._clock()
        for peer in [peer for peer, _ in zip(self._evictable, range(2), strict=False)]:
            entry = self._peers[peer]
            if entry.touched + Ttl.RECENTLY_CONNECTED.value <= now and not entry.live(now):
                self.forget(peer)


def printable(text: str, limit: int) -> str:
    """Return the first `limit` characters of `text` that a terminal shows as they are."""
    return "".join(character for character in text[: 4 * limit] if character.isprintable())[:limit]


def _check_ttl(ttl: Ttl | float) -> None:
    if not isinstance(ttl, (Ttl, int, float)):
        raise TypeError(f"ttl is a Ttl, or a number of seconds, not {type(ttl).__name__}")
    if not isinstance(ttl, Ttl) and not ttl >= 0:  # so written, nan fails, too
        raise InvalidInput(f"ttl is a number of seconds from now, not {ttl}")


def _own(peer: PeerId, address: Multiaddr) -> Multiaddr | None:
    """Return the address without the peer's id at its end; None if it is that of another, or nothing else."""
    rest, named = split_peer(address)
    if named not in (None, peer) or not rest.to_bytes():
        return None
    return rest
