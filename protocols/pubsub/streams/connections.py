"""The connections that pubsub asks of its host: which peers to dial, and which connections to keep."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from peerstack.stack.errors import StackError
from peerstack.stack.host import Host
from peerstack.stack.host.peerstore import Ttl
from peerstack.stack.identity import PeerId

from ..router.events import Grafted, Pruned, RouterEvent

_log = logging.getLogger(__name__)

MAX_WAITING: Final = 128
"""Suggestions that wait to be dialed; more are dropped (go-libp2p: the same)."""
WORKERS: Final = 8
"""Dials to suggested peers at the same time (go-libp2p: the same)."""
DIAL_TIMEOUT: Final = 30.0
"""Seconds for one dial."""
DIRECT_INTERVAL: Final = 300.0
"""Seconds between two checks that the direct peers are connected (go-libp2p: the same)."""
MESH_VALUE: Final = 20
"""The tag value of a peer for each mesh it is in: trimming its connection would harm delivery.

go-libp2p-pubsub protects such peers. But a peer can enter a mesh by its own GRAFT, and must not be able to make itself
impossible to trim: here it is trimmed after all peers that are in no mesh.
"""

DIRECT: Final = "pubsub direct"


class PeerDialer:
    """Dials suggested and direct peers in the background."""

    def __init__(self, host: Host, direct: Iterable[PeerId]) -> None:
        self._host = host
        self._direct = tuple(direct)
        self._send, self._receive = trio.open_memory_channel[PeerId](MAX_WAITING)
        self.refused = 0
        """Suggestions whose record was not one of the peer."""

    def suggest(self, peers: Iterable[tuple[PeerId, bytes]]) -> None:
        """Take suggestions with their signed records; those without one need an address that we know already."""
        for peer, record in peers:
            if peer == self._host.peer_id or self._host.connections(peer):
                continue
            try:
                if record:
                    self._host.peerstore.add_record(peer, record, Ttl.DISCOVERED)
                if self._host.peerstore.addresses(peer):
                    self._send.send_nowait(peer)
            except StackError as error:
                self.refused += 1
                _log.debug("a suggested record of %s is refused: %s", peer, error)
            except trio.WouldBlock:
                return

    async def run(self) -> None:
        """Dial until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(self._work)
            if self._direct:
                nursery.start_soon(self._keep_direct)

    async def _work(self) -> None:
        async for peer in self._receive:
            await self._connect(peer)

    async def _keep_direct(self) -> None:
        while True:
            for peer in self._direct:
                if not self._host.connections(peer):
                    await self._connect(peer)
            await trio.sleep(DIRECT_INTERVAL)

    async def _connect(self, peer: PeerId) -> None:
        with trio.move_on_after(DIAL_TIMEOUT):
            try:
                await self._host.connect(peer)
            except (StackError, OSError) as error:
                _log.debug("cannot reach peer %s: %s", peer, error)


def tag_mesh_peer(host: Host, event: RouterEvent) -> None:
    """Tag a peer that entered a mesh, and untag it when it leaves."""
    match event:
        case Grafted(peer=peer, topic=topic):
            host.tag(peer, f"pubsub {topic}", MESH_VALUE)
        case Pruned(peer=peer, topic=topic):
            host.untag(peer, f"pubsub {topic}")


@contextmanager
def protect_direct(host: Host, direct: Iterable[PeerId]) -> Iterator[None]:
    """Protect the connections to direct peers from trimming within the block."""
    peers = tuple(direct)
    for peer in peers:
        host.protect(peer, DIRECT)
    try:
        yield
    finally:
        for peer in peers:
            host.unprotect(peer, DIRECT)
