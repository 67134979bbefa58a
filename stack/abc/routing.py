"""How peers and content are found: the interfaces that discovery protocols and applications implement.

Each is a `typing.Protocol`: whatever has the methods fits, and nothing need be imported or inherited. All searches are
async iterators that may be left at any time; one left early must be closed (`contextlib.aclosing`), and what it
still had under way is cancelled. A search that finds nothing ends without an error; one that could not ask at all
raises `RoutingError`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from ..identity import PeerId


@dataclass(frozen=True, slots=True)
class FoundPeer:
    """A peer and addresses at which it may be reached; not proved until it is dialed."""

    peer_id: PeerId
    addresses: tuple[Multiaddr, ...] = ()


class PeerRouting(Protocol):
    """Finds the addresses of a peer whose id is known."""

    @property
    def name(self) -> str:
        """What dial reports call this router, such as `dht` or `mdns`."""
        ...

    def find_peer(self, peer: PeerId) -> AsyncGenerator[Sequence[Multiaddr], None]:
        """Yield addresses of the peer as they are found. Raises `RoutingError`."""
        ...


class ContentRouting(Protocol):
    """Finds who provides the content behind a key, which is a multihash."""

    async def provide(self, key: bytes) -> None:
        """Announce that this host provides `key`. Raises `RoutingError` when no peer took it."""
        ...

    def find_providers(self, key: bytes) -> AsyncGenerator[FoundPeer, None]:
        """Yield each provider once, as it is found. Raises `RoutingError`."""
        ...


class ValueStore(Protocol):
    """Keeps signed or otherwise self-proving values by key; each namespace of keys has a validator."""

    async def put(self, key: bytes, value: bytes) -> None:
        """Store a value. Raises `InvalidInput` if its validator refuses it, `RoutingError` if no node took it."""
        ...

    async def get(self, key: bytes) -> bytes | None:
        """Return the best valid value found, None when there is none. Raises `RoutingError`."""
        ...


class Discovery(Protocol):
    """Finds peers that share an interest, named by a namespace."""

    async def advertise(self, namespace: str) -> float:
        """Announce this host under the namespace; return after how many seconds to announce again."""
        ...

    def find_peers(self, namespace: str) -> AsyncGenerator[FoundPeer, None]:
        """Yield the peers that announced themselves, as they are found. Raises `RoutingError`."""
        ...
