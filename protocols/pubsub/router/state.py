"""What the router knows of its peers and topics, shared by the parts of the router.

Peers are objects here, hashed by identity, since sets of peer ids would be ordered differently in every process.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .events import Outgoing, RouterEvent, Version

if TYPE_CHECKING:
    from random import Random

    from peerstack.stack.identity import PeerId

    from ..wire import Extensions
    from .config import GossipConfig

Peers = dict["PeerState", None]
"""An ordered set of peers."""


@dataclass(slots=True)
class Counts:
    """Counters of the router since it began."""

    received: int = 0
    """Messages, duplicates included."""
    duplicates: int = 0
    accepted: int = 0
    stale: int = 0
    """Messages accepted but not forwarded, as they may be older than others remember their ids."""
    rejected: int = 0
    ignored: int = 0
    published: int = 0
    forwarded: int = 0
    """Copies given to peers by `accept` and `publish`."""
    not_subscribed: int = 0
    """Messages of topics we have not joined."""
    throttled: int = 0
    """Messages dropped because too many were under validation, or by the gater."""
    self_origin: int = 0
    """Messages that claim to be ours."""
    graylisted: int = 0
    """RPCs ignored because of the peer's score."""
    unknown_peers: int = 0
    """RPCs of peers that were never added, or are gone."""
    topics_refused: int = 0
    """Subscriptions beyond the limit for one peer."""
    ihave_ignored: int = 0
    """Ids of IHAVEs beyond the limits."""
    iwant_refused: int = 0
    """Ids of IWANTs that were asked too often, or beyond the bytes for one heartbeat."""
    idontwant_ignored: int = 0
    idontwant_sent: int = 0
    saved: int = 0
    """Copies not sent since the peer said IDONTWANT."""
    grafts_refused: int = 0
    broken_promises: int = 0
    dropped: int = 0
    """Copies that did not fit into a queue."""

    def as_dict(self) -> dict[str, int]:
        """Return the counters by name."""
        return asdict(self)


class PeerState:
    """What we know of one peer."""

    __slots__ = (
        "asked_ids",
        "direct",
        "dontwant",
        "dontwant_messages",
        "dropped",
        "extensions",
        "graylisted",
        "greeted",
        "id",
        "ihave_messages",
        "key",
        "mesh_capable",
        "out",
        "outbound",
        "record",
        "reported",
        "score",
        "served_bytes",
        "strikes",
        "strikes_due",
        "supports_idontwant",
        "topics",
        "topics_refused",
        "version",
    )

    def __init__(self, peer: PeerId, *, direct: bool) -> None:
        self.id = peer
        self.key = peer.to_bytes()
        self.direct = direct
        self.outbound = False
        self.version = Version.FLOODSUB
        self.mesh_capable = False
        self.supports_idontwant = False
        self.topics: dict[str, TopicState] = {}
        self.topics_refused = 0
        """Subscriptions that were ignored, since it has too many."""
        self.greeted = False
        """Whether the first RPC of its stream has arrived."""
        self.extensions: Extensions | None = None
        """What it said in that RPC."""
        self.record: bytes | None = None
        """Its signed peer record, to be suggested to others."""
        self.score = 0.0
        """As of the last heartbeat or offence."""
        self.graylisted = False
        self.strikes = 0
        """Heartbeats in which it was graylisted since its score was last fair."""
        self.strikes_due = False
        """Whether it was graylisted since the last heartbeat."""
        self.reported = False
        """Whether we asked to disconnect it."""
        self.ihave_messages = 0
        self.asked_ids = 0
        self.served_bytes = 0
        self.dontwant: dict[bytes, int] = {}
        """Ids it does not want, and the heartbeat after which that ends."""
        self.dontwant_messages = 0
        self.dropped: dict[bytes, str] = {}
        """Ids, with their topics, that did not fit into its queue."""
        self.out: Outgoing | None = None

    def __repr__(self) -> str:
        return f"PeerState({self.id.short()})"


class TopicState:
    """One topic: its subscribers, our mesh and fanout."""

    __slots__ = ("always", "fanout", "last_published", "mesh", "name", "subscribers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.subscribers: Peers = {}
        self.always: Peers = {}
        """Subscribers that are outside meshes and get everything: floodsub peers and direct peers."""
        self.mesh: Peers | None = None
        """None unless we joined."""
        self.fanout: Peers | None = None
        """None unless we published here without having joined."""
        self.last_published = 0.0


class RouterState:
    """What the parts of the router share."""

    def __init__(self, peer_id: PeerId, config: GossipConfig, random: Random) -> None:
        self.config = config
        self.random = random
        self.own_id = peer_id
        self.own_key = peer_id.to_bytes()
        self.peers: dict[PeerId, PeerState] = {}
        self.topics: dict[str, TopicState] = {}
        self.joined: dict[str, TopicState] = {}
        self.fanouts: dict[str, TopicState] = {}
        self.ticks = 0
        """Heartbeats so far."""
        self.counts = Counts()
        self.events: list[RouterEvent] = []
        self.pending: list[PeerState] = []
        """Peers with something in `out`."""

    def outgoing(self, peer: PeerState) -> Outgoing:
        """Return what will be sent to `peer`, to be added to."""
        if peer.out is None:
            peer.out = Outgoing()
            self.pending.append(peer)
        return peer.out

    def take_outgoing(self) -> dict[PeerId, Outgoing]:
        """Return what is to be sent to each peer, and forget it."""
        if not self.pending:
            return {}
        taken: dict[PeerId, Outgoing] = {}
        for peer in self.pending:
            if peer.out is not None:
                taken[peer.id] = peer.out
                peer.out = None
        self.pending = []
        return taken

    def cancel_outgoing(self, peer: PeerState) -> None:
        """Forget what was to be sent to a peer that is gone."""
        if peer.out is not None:
            peer.out = None
            self.pending.remove(peer)

    def take_events(self) -> list[RouterEvent]:
        """Return what happened, and forget it."""
        if not self.events:
            return []
        taken, self.events = self.events, []
        return taken

    def topic(self, name: str) -> TopicState:
        """Return the topic, created at need."""
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = TopicState(name)
        return topic

    def forget_if_empty(self, topic: TopicState) -> None:
        """Drop a topic without subscribers that we are not in."""
        if not topic.subscribers and topic.mesh is None and topic.fanout is None:
            self.topics.pop(topic.name, None)
