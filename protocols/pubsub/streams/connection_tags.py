"""Which connections pubsub asks its host to keep when there are too many (go-libp2p-pubsub's tags)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

from ..router.events import Grafted, Pruned, RouterEvent

MESH_VALUE: Final = 20
"""What a peer is worth for each mesh it is in: closing its connection would tear a hole into the topic.

go-libp2p-pubsub protects such peers. But a peer enters a mesh by its own GRAFT as well, and a stranger should not be
able to make itself impossible to trim: here it goes after all that are in no mesh.
"""

DIRECT: Final = "pubsub direct"


def tag_mesh_peer(host: Host, event: RouterEvent) -> None:
    """Tag a peer that entered a mesh, and take the tag back when it leaves."""
    match event:
        case Grafted(peer=peer, topic=topic):
            host.tag(peer, f"pubsub {topic}", MESH_VALUE)
        case Pruned(peer=peer, topic=topic):
            host.untag(peer, f"pubsub {topic}")


@contextmanager
def protect_direct(host: Host, direct: Iterable[PeerId]) -> Iterator[None]:
    """Have the connections to direct peers never trimmed within the block."""
    peers = tuple(direct)
    for peer in peers:
        host.protect(peer, DIRECT)
    try:
        yield
    finally:
        for peer in peers:
            host.unprotect(peer, DIRECT)
