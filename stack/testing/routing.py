"""A router in memory, for tests of what looks for peers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import trio
from multiaddr import Multiaddr

from ..addressing import parse_address
from ..identity import PeerId


class MemoryRouting:
    """A `PeerRouting` that finds what it was told, one address after another, each after `delay` seconds."""

    def __init__(self, name: str = "memory", *, delay: float = 0) -> None:
        self.name = name
        self.asked: list[PeerId] = []
        """Whom it was asked for."""
        self.searching = 0
        """Searches under way."""
        self._delay = delay
        self._known: dict[PeerId, list[Multiaddr]] = {}

    def add(self, peer: PeerId, *addresses: str | Multiaddr) -> None:
        """Find a peer at these addresses, too. Raises InvalidAddress."""
        self._known.setdefault(peer, []).extend(map(parse_address, addresses))

    async def find_peer(self, peer: PeerId) -> AsyncGenerator[Sequence[Multiaddr], None]:
        """Yield each address of the peer."""
        self.asked.append(peer)
        self.searching += 1
        try:
            await trio.lowlevel.checkpoint()
            for address in self._known.get(peer, ()):
                await trio.sleep(self._delay)
                yield [address]
        finally:
            self.searching -= 1
