"""Snapshots and counters of pubsub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ..router.events import Outgoing
from ..wire import Rpc


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """The queue, score and last offence of one peer."""

    protocol: str
    queued: int
    """Messages that wait for it."""
    queued_bytes: int
    forward_dropped: int
    """Messages of others that were not passed on to it, since its queue was full."""
    score: float
    offence: str = ""
    """Its last offence."""
    topics_refused: int = 0
    """Its subscriptions that were ignored, since it has too many (`GossipConfig.max_topics_per_peer`)."""


@dataclass(frozen=True, slots=True)
class PubsubStatistics:
    """A snapshot of pubsub; the counts are since it began."""

    peers: Mapping[str, PeerStatistics]
    topics: Mapping[str, tuple[str, ...]]
    """Our topics and the peers of the mesh of each."""
    rejected: Mapping[str, int]
    """Invalid messages, by reason."""
    ignored: Mapping[str, int]
    """Messages that were dropped without a penalty, by reason."""
    dropped: Mapping[str, str]
    """The peers disconnected lately because of their score, and why."""
    malformed: int
    """Streams reset because of a malformed RPC."""
    counts: Mapping[str, int]
    """What the router counted, by name."""
    skipped: int
    """Numbers of authors that were skipped: the sum of `gap`."""
    closed: int
    """How many of them came after all, late."""
    streams: Mapping[str, int]
    """Our streams to peers: how many were opened, not opened, ended, stalled (ended, as the peer took nothing), and
    moved from a relayed connection to a direct one."""
    entries_received: Mapping[str, int]
    """Entries of RPCs by kind (`subscriptions`, `publish`, `ihave`, …); of IHAVE, IWANT and IDONTWANT the ids."""
    entries_sent: Mapping[str, int]
    """The same for what was sent."""

    @property
    def missing(self) -> int:
        """Numbers of authors that were skipped and did not come: messages lost, or of topics not joined here."""
        return self.skipped - self.closed


@dataclass(slots=True)
class RpcCounts:
    """Entries of RPCs, one way, since pubsub began; of IHAVE, IWANT and IDONTWANT the ids."""

    subscriptions: int = 0
    publish: int = 0
    ihave: int = 0
    iwant: int = 0
    graft: int = 0
    prune: int = 0
    idontwant: int = 0

    def count(self, rpc: Rpc) -> None:
        """Count all of one RPC."""
        self.subscriptions += len(rpc.subscriptions)
        self.publish += len(rpc.messages)
        self.count_control(rpc)

    def count_control(self, control: Rpc | Outgoing) -> None:
        """Count its control entries."""
        self.ihave += sum(len(ihave.ids) for ihave in control.ihave)
        self.iwant += len(control.iwant)
        self.graft += len(control.graft)
        self.prune += len(control.prune)
        self.idontwant += len(control.idontwant)

    def as_dict(self) -> dict[str, int]:
        """Return the counts by kind."""
        return asdict(self)
