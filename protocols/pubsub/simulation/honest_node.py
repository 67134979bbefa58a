"""An honest node: the real router and wire format, and the work of a driver without streams and queues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from peerstack.stack.identity import PeerId
from peerstack.stack.testing.trace import digest_of

from ..router.events import AcceptStatus, Outgoing, ShouldDisconnect, Version
from ..router.router import GossipsubRouter
from ..validation.message_id import default_id
from ..wire import Message, Subscription, decode_rpc, encode_control, encode_subscriptions, frame, make_message
from .network import Edge, Network, Node, content_of
from .results import Record
from .scenario import TOPIC, Scenario

HELLO = frame(encode_subscriptions([Subscription(True, TOPIC)]))


class HonestNode:
    """A node that follows the protocol."""

    def __init__(self, index: int, peer_id: PeerId, scenario: Scenario, network: Network, record: Record) -> None:
        self.index = index
        self.name = f"n{index}"
        self.peer_id = peer_id
        self._network = network
        self._schedule = network.schedule
        self._record = record
        self._version = scenario.protocol.version
        self._edges: dict[PeerId, Edge] = {}
        self._seqno = 0
        random = Random(f"{scenario.seed}/router {index}")
        # Nodes do not start at the same time: the first heartbeat is 1 to 2 s after the connections are made.
        config = replace(scenario.gossip, heartbeat_initial_delay=1.0 + random.random())
        self.router = GossipsubRouter(peer_id, config, random=random, now=0.0, score=scenario.score)
        self.router.join(TOPIC, 0.0)
        self._schedule.at(self.router.next_deadline(), self._on_deadline)

    # ---- connections

    def connect(self, other: HonestNode) -> None:
        """Dial another node."""
        edge = self._network.connect(self, other)
        if edge is not None:
            self._begin(edge, outbound=True)

    def _begin(self, edge: Edge, *, outbound: bool) -> None:
        peer = edge.sink
        version = self._version if isinstance(peer, HonestNode) else Version.V10
        self._edges[peer.peer_id] = edge
        self.router.add_peer(
            peer.peer_id, version, outbound=outbound, ips=[address_of(peer.index)], now=self._schedule.now
        )
        self._network.send(edge, HELLO)

    def lose(self, edge: Edge) -> None:
        """Note that a peer closed the connection."""
        if self._edges.pop(edge.source.peer_id, None) is not None:
            self.router.remove_peer(edge.source.peer_id, self._schedule.now)
            self._flush()

    # ---- inspection

    def mesh(self) -> list[Node]:
        """Return the nodes in our mesh."""
        return [self._edges[peer].sink for peer in self.router.mesh(TOPIC)]

    def suspects(self) -> list[HonestNode]:
        """Return the honest peers whose score is below 0 here."""
        low = [edge.sink for peer, edge in self._edges.items() if self.router.score(peer) < 0]
        return [node for node in low if isinstance(node, HonestNode)]

    # ---- receiving

    def take(self, edge: Edge, frame: bytes) -> None:
        """Handle an RPC, as a driver whose validators accept everything at once."""
        router, sender, now = self.router, edge.source.peer_id, self._schedule.now
        if sender not in self._edges:
            self._begin(edge.back, outbound=False)
        rpc = decode_rpc(content_of(frame))
        if rpc.messages:
            self._record.copies_received += len(rpc.messages)
            if router.accept_from(sender, now) is not AcceptStatus.ALL:
                rpc.messages = []
            for message in rpc.messages:
                message.id = default_id(message)
        fresh = router.receive(sender, rpc, now)
        self._flush()
        for message in fresh:
            self._record.deliver(message.id, self.index, now)
            self._forward(message, router.accept(message, now))
        if fresh:
            self._flush()

    def publish(self, payload: bytes) -> None:
        """Publish a message."""
        now = self._schedule.now
        self._seqno += 1
        message = make_message(TOPIC, payload, author=self.peer_id.to_bytes(), seqno=self._seqno.to_bytes(8, "big"))
        message.id = default_id(message)
        self._record.publish(message.id, self.index, now)
        self._forward(message, self.router.publish(message, now) or [])
        self._flush()

    def _on_deadline(self) -> None:
        self.router.handle_deadline(self._schedule.now)
        self._flush()
        self._schedule.at(self.router.next_deadline(), self._on_deadline)

    # ---- sending

    def _forward(self, message: Message, peers: Sequence[PeerId]) -> None:
        if not peers:
            return
        data = frame((message.entry,))
        digest = digest_of(data)
        self._network.traffic.copies += len(peers)
        for peer in peers:
            self._network.send(self._edges[peer], data, digest)

    def _flush(self) -> None:
        for peer, outgoing in self.router.take_outgoing().items():
            if peer in self._edges:
                self._send(self._edges[peer], outgoing)
        for event in self.router.take_events():
            if isinstance(event, ShouldDisconnect):
                edge = self._edges.pop(event.peer)
                self.router.remove_peer(event.peer, self._schedule.now)
                self._network.hang_up(edge)

    def _send(self, edge: Edge, outgoing: Outgoing) -> None:
        traffic = self._network.traffic
        traffic.copies += len(outgoing.messages)
        traffic.ihave += len(outgoing.ihave)
        traffic.ihave_ids += sum(len(offer.ids) for offer in outgoing.ihave)
        traffic.iwant += bool(outgoing.iwant)
        traffic.iwant_ids += len(outgoing.iwant)
        traffic.graft += len(outgoing.graft)
        traffic.prune += len(outgoing.prune)
        traffic.idontwant += len(outgoing.idontwant)
        control = encode_control(
            ihave=outgoing.ihave,
            iwant=outgoing.iwant,
            graft=outgoing.graft,
            prune=outgoing.prune,
            idontwant=outgoing.idontwant,
        )
        for part in control:
            self._network.send(edge, frame((part,)))
        for message in outgoing.messages:
            self._network.send(edge, frame((message.entry,)))


def address_of(index: int) -> str:
    """Return the IP address of a node, in 10.0.0.0/8."""
    return f"10.{index >> 16 & 255}.{index >> 8 & 255}.{index & 255}"
