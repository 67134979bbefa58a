"""Peers suggested in a PRUNE, sent and received (gossipsub-v1.1.md, "Peer Exchange")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerstack.stack.errors import InvalidPeerId
from peerstack.stack.identity import PeerId

from ..wire import PeerInfo
from .events import PeersSuggested

if TYPE_CHECKING:
    from ..wire import Prune
    from .state import PeerState, RouterState, TopicState


def suggest_peers(state: RouterState, topic: TopicState, asker: PeerState) -> list[PeerInfo]:
    """Return a random selection of other peers of the topic with a score that is not negative."""
    found = [peer for peer in topic.subscribers if peer is not asker and peer.mesh_capable and peer.score >= 0]
    if len(found) > state.config.prune_peers:
        found = state.random.sample(found, state.config.prune_peers)
    return [PeerInfo(peer.key, peer.record) for peer in found]


def read_suggestions(state: RouterState, source: PeerState, prune: Prune) -> None:
    """Report the suggested peers that we do not know yet, a random selection if there are many."""
    suggested = prune.peers
    if len(suggested) > state.config.prune_peers:
        suggested = state.random.sample(suggested, state.config.prune_peers)
    found: dict[PeerId, bytes] = {}
    for info in suggested:
        try:
            peer = PeerId.from_bytes(info.peer)
        except InvalidPeerId:
            continue
        if peer not in state.peers and peer != state.own_id:
            found[peer] = info.record or b""
    if found:
        state.events.append(PeersSuggested(source.id, prune.topic, list(found.items())))
