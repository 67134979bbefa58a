"""What the router takes and gives besides messages: versions, accept status, outgoing control, events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, TypeAlias

from peerstack.stack.events import ProtocolEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from peerstack.stack.identity import PeerId

    from ..wire import IHave, Message, Prune


class Version(IntEnum):
    """The protocol version of a peer, from the negotiated protocol id."""

    FLOODSUB = 0
    V10 = 10
    V11 = 11
    """Scores, backoffs and peer exchange."""
    V12 = 12
    """IDONTWANT."""
    V13 = 13
    """Extensions."""


class AcceptStatus(Enum):
    """How much of an RPC is processed (go-libp2p-pubsub: AcceptStatus)."""

    ALL = "all"
    CONTROL = "control only"
    """The gater sheds load: control messages only."""
    NONE = "none"
    """The peer is graylisted: only its subscriptions count."""


class PruneReason(Enum):
    """Why a peer left a mesh."""

    LEFT = "we left the topic"
    SCORE = "its score is negative"
    EXCESS = "the mesh was too big"
    ASKED = "the peer pruned us"
    UNSUBSCRIBED = "the peer left the topic"
    DISCONNECTED = "the peer is gone"
    DIRECT = "it stays outside meshes: a direct peer, or one that speaks floodsub"


@dataclass(slots=True, init=False)
class Outgoing:
    """What one peer is to be sent: control, coalesced, and the messages it asked for."""

    ihave: list[IHave]
    iwant: list[bytes]
    graft: list[str]
    prune: list[Prune]
    idontwant: list[bytes]
    messages: list[Message]
    """Answers to IWANTs."""

    def __init__(self) -> None:
        # By hand: one is made for each mesh peer and large message, and the generated one takes twice as long.
        self.ihave = []
        self.iwant = []
        self.graft = []
        self.prune = []
        self.idontwant = []
        self.messages = []


@dataclass(frozen=True, slots=True)
class RouterStatistics:
    """How much a router remembers at a moment, and how often things happened since it began."""

    peers: int
    topics: int
    """Those of peers included."""
    meshes: Mapping[str, int]
    """Peers in the mesh of each topic we joined."""
    fanouts: Mapping[str, int]
    seen: int
    """Message ids."""
    validating: int
    cached: int
    """Messages IWANTs can be answered with."""
    cached_bytes: int
    promises: int
    """Messages that peers advertised and we wait for."""
    backoffs: int
    counts: Mapping[str, int]
    """By the names of `Counts`."""


@dataclass(frozen=True, slots=True)
class Grafted(ProtocolEvent):
    """A peer entered our mesh of a topic, by its GRAFT or ours."""

    peer: PeerId
    topic: str


@dataclass(frozen=True, slots=True)
class Pruned(ProtocolEvent):
    """A peer left our mesh of a topic."""

    peer: PeerId
    topic: str
    reason: PruneReason


@dataclass(frozen=True, slots=True)
class PeerSubscribed(ProtocolEvent):
    """A peer subscribed to a topic."""

    peer: PeerId
    topic: str


@dataclass(frozen=True, slots=True)
class SubscriptionRefused(ProtocolEvent):
    """A peer subscribes to more topics than we keep of one peer (`limit`): of this one, and of more, we do not know.

    It is told for the first of them; `PeerStatistics.topics_refused` counts all.
    """

    peer: PeerId
    topic: str
    limit: int


@dataclass(frozen=True, slots=True)
class PeerUnsubscribed(ProtocolEvent):
    """A peer unsubscribed from a topic, or is gone."""

    peer: PeerId
    topic: str


@dataclass(frozen=True, slots=True)
class Misbehaved(ProtocolEvent):
    """A peer broke a rule; `penalty` is what that added to its counter of misbehaviour (P7)."""

    peer: PeerId
    reason: str
    penalty: float


@dataclass(frozen=True, slots=True)
class Graylisted(ProtocolEvent):
    """The score of a peer fell below the graylist threshold: its RPCs are ignored until it recovers."""

    peer: PeerId
    score: float


@dataclass(frozen=True, slots=True)
class ShouldDisconnect(ProtocolEvent):
    """The score of a peer stays below the graylist threshold; said once."""

    peer: PeerId
    reason: str
    """With the score and what it is made of."""


@dataclass(frozen=True, slots=True)
class PeersSuggested(ProtocolEvent):
    """A well-scored peer that pruned us names others: the driver verifies the records, and connects."""

    source: PeerId
    topic: str
    peers: list[tuple[PeerId, bytes]]
    """Peer ids, with the signed peer record of each, unverified; b"" where there was none."""


RouterEvent: TypeAlias = (
    Grafted
    | Pruned
    | PeerSubscribed
    | PeerUnsubscribed
    | Misbehaved
    | Graylisted
    | ShouldDisconnect
    | PeersSuggested
    | SubscriptionRefused
)
