"""An attacker: a node that speaks just enough of gossipsub v1.0 to get into meshes, and attacks when told to."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from random import Random
from typing import Final

from peerstack.stack.identity import PeerId

from ..validation.message_id import default_id
from ..wire import Message, Prune, Rpc, decode_rpc, encode_control, frame
from .honest_node import HELLO
from .network import Edge, Network, Node, content_of
from .scenario import TOPIC, Attack, Scenario

REGRAFT_AFTER: Final = 60.0, 75.0
"""Seconds, between which a pruned sybil waits before it comes back: just beyond the backoff."""
SPAM_AFTER: Final = 1.0, 1.0
"""The same for sybils that ignore backoffs."""
_GRAFT: Final = frame(encode_control(graft=[TOPIC]))


class Sybil:
    """Grafts every peer, prunes none, sends no gossip, and forwards messages until it attacks."""

    def __init__(
        self, index: int, number: int, peer_id: PeerId, scenario: Scenario, network: Network, *, target: PeerId
    ) -> None:
        self.index = index
        self.name = f"s{number}"
        self.peer_id = peer_id
        self._network = network
        self._attack = scenario.attack
        self._turns_at = scenario.attack_at if scenario.attack is Attack.FLASH else -inf
        self._target = target.to_bytes()
        self._random = Random(f"{scenario.seed}/sybil {number}")
        self._mesh: dict[PeerId, Edge] = {}
        self._edges: dict[PeerId, Edge] = {}
        self._seen: set[bytes] = set()

    def connect(self, others: Iterable[Node]) -> None:
        """Dial honest nodes."""
        for other in others:
            edge = self._network.connect(self, other)
            if edge is not None:
                self._edges[other.peer_id] = edge
                self._network.send(edge, HELLO)

    def lose(self, edge: Edge) -> None:
        """Note that a peer closed the connection."""
        self._edges.pop(edge.source.peer_id, None)
        self._mesh.pop(edge.source.peer_id, None)

    def take(self, edge: Edge, frame: bytes) -> None:
        """Try to enter the peer's mesh, and forward messages unless attacking."""
        rpc = decode_rpc(content_of(frame))
        self._control(edge, rpc)
        for message in rpc.messages:
            message_id = default_id(message)
            if message_id in self._seen:
                continue
            self._seen.add(message_id)
            if not self._drops(message):
                self._pass_on(message, edge)

    def _control(self, edge: Edge, rpc: Rpc) -> None:
        peer = edge.source.peer_id
        if any(subscription.subscribe for subscription in rpc.subscriptions):
            self._graft(edge.back)
        if rpc.prune:
            self._mesh.pop(peer, None)
            self._regraft_later(edge.back, rpc.prune)
        if rpc.graft:
            self._mesh[peer] = edge.back

    def _regraft_later(self, edge: Edge, prunes: list[Prune]) -> None:
        least, most = SPAM_AFTER if self._attack is Attack.SPAM else REGRAFT_AFTER
        schedule = self._network.schedule
        schedule.at(schedule.now + least + (most - least) * self._random.random(), self._graft, edge)

    def _graft(self, edge: Edge) -> None:
        if not edge.closed:
            self._mesh[edge.sink.peer_id] = edge
            self._network.traffic.graft += 1
            self._network.send(edge, _GRAFT)

    def _drops(self, message: Message) -> bool:
        if self._attack is Attack.CENSOR:
            return message.author == self._target
        return self._network.schedule.now >= self._turns_at

    def _pass_on(self, message: Message, source: Edge) -> None:
        data = frame((message.entry,))
        for peer, edge in self._mesh.items():
            if edge is not source.back and peer.to_bytes() != message.author:
                self._network.traffic.copies += 1
                self._network.send(edge, data)
