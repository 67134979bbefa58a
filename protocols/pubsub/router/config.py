"""Settings of the gossipsub router, and the reasons for the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

KiB = 1024
MiB = 1024 * KiB
MAX_BACKOFF = 3600.0
"""Seconds; a PRUNE may ask for 2^64-1 of them, which overflowed other implementations (CVE-2026-33040)."""


@dataclass(frozen=True, kw_only=True)
class GossipConfig:
    """Settings of the router: the mesh, the gossip, and what a peer may cost. Times are seconds."""

    floodsub_only: bool = False
    """Treat every peer as a floodsub peer: everything goes to all subscribers, and there is no mesh."""

    degree: int = 6
    """D: mesh peers of a topic to aim at."""
    degree_low: int = 5
    """D_low: below this the heartbeat grafts up to `degree` (go and rust; the spec says 4)."""
    degree_high: int = 12
    """D_high: above this the heartbeat prunes down to `degree`, and inbound GRAFTs are refused from here on."""
    degree_score: int = 4
    """D_score: how many of the kept peers are the best by score; the rest is random."""
    degree_out: int = 2
    """D_out: mesh peers that we dialed, kept against an eclipse by inbound connections."""
    degree_lazy: int = 6
    """D_lazy: peers outside the mesh that get gossip at least."""
    gossip_factor: float = 0.25
    """Share of the eligible peers that get gossip, when that is more than `degree_lazy`."""

    heartbeat_interval: float = 1.0
    """Between heartbeats."""
    heartbeat_initial_delay: float = 0.1
    """Before the first heartbeat."""
    history_length: int = 5
    """Heartbeats a message stays in the cache, from where IWANT is answered."""
    history_gossip: int = 3
    """Heartbeats a message is advertised by IHAVE."""
    cache_messages: int = 100_000
    """Messages the cache holds at most; the oldest go first."""
    cache_bytes: int = 64 * MiB
    """Bytes of messages the cache holds at most; the oldest go first."""
    fanout_ttl: float = 60.0
    """How long peers are remembered for a topic we only publish to."""
    seen_ttl: float = 120.0
    """How long a message id is known since it was first seen."""
    seen_limit: int = 1_000_000
    """Message ids known at most; the oldest go first."""
    max_validating: int = 8192
    """Messages under validation; more are dropped without penalty (go's global limit)."""

    prune_backoff: float = 60.0
    """Before a pruned peer may be grafted again."""
    unsubscribe_backoff: float = 10.0
    """The same when we pruned because we left the topic."""
    backoff_slack: float = 1.0
    """Added to a backoff that a peer asked of us, since its clock started when the PRUNE arrived."""
    graft_flood_threshold: float = 10.0
    """A GRAFT this soon after the PRUNE costs a second penalty."""
    max_backoffs: int = 4096
    """Backoffs remembered for a topic; beyond that the oldest are forgotten."""

    hardened: bool = True
    """Refuse GRAFTs while a mesh has `degree_high` peers, except from peers we dialed, and do not answer GRAFTs for
    topics we are not in (spec v1.1); else take all, and answer with PRUNE (v1.0)."""
    flood_publish: bool = True
    """Send our own messages to all peers of the topic with a fair score, against eclipses (spec v1.1)."""
    opportunistic_graft_ticks: int = 60
    """Heartbeats between two looks at the median score of a mesh; 0 = never."""
    opportunistic_graft_peers: int = 2
    """Peers grafted when the median is too low."""

    peer_exchange: bool = False
    """Suggest other peers in a PRUNE. Suggestions of others are subject to `accept_px_threshold` in either case."""
    prune_peers: int = 16
    """Peers in one PRUNE, sent and read."""

    max_topics_per_peer: int = 1024
    """Topics one peer may subscribe to; more are ignored (CVE-2026-46679)."""
    max_ihave_messages: int = 10
    """IHAVEs read from one peer between two heartbeats."""
    max_ihave_ids: int = 5000
    """Ids in one IHAVE, and asked of one peer between two heartbeats."""
    gossip_retransmission: int = 3
    """How often a peer may ask for the same message."""
    max_iwant_bytes: int = 16 * MiB
    """Bytes of messages that IWANTs of one peer fetch between two heartbeats."""
    iwant_followup: float = 3.0
    """After this an advertised message that we asked for and did not get is a broken promise."""

    idontwant: bool = True
    """Tell mesh peers of large messages that we have them already (v1.2)."""
    idontwant_threshold: int = 1 * KiB
    """Bytes of data from which a message is worth an IDONTWANT."""
    max_idontwant_messages: int = 1000
    """Ids of IDONTWANTs read from one peer between two heartbeats."""
    idontwant_ttl: int = 3
    """Heartbeats an IDONTWANT holds."""
    graylist_patience: int = 10
    """Heartbeats with a score below the graylist threshold, without recovery to 0 in between, after which the driver is
    asked to disconnect the peer."""
    max_dropped_ids: int = 1000
    """Ids of messages that did not fit into a peer's queue, kept to offer them at the next heartbeat."""

    def __post_init__(self) -> None:
        self._check_degrees()
        self._check_times()
        counts = (self.max_topics_per_peer, self.max_ihave_messages, self.max_ihave_ids, self.max_validating)
        if min(*counts, self.seen_limit, self.cache_messages, self.cache_bytes, self.max_backoffs) < 1:
            raise ValueError("every limit must be at least 1, or nothing would pass")
        if not 0 <= self.history_gossip <= self.history_length or not self.history_length:
            raise ValueError("history_gossip must be between 0 and history_length, which must be at least 1")
        if self.prune_peers < 0:
            raise ValueError("prune_peers must not be negative")

    def _check_degrees(self) -> None:
        if not 0 <= self.degree_low <= self.degree <= self.degree_high:
            raise ValueError("a mesh needs degree_low <= degree <= degree_high")
        if not 0 <= self.degree_score <= self.degree:
            raise ValueError(f"degree_score {self.degree_score} must be between 0 and degree {self.degree}")
        if self.degree and not (self.degree_out <= self.degree // 2 and self.degree_out <= self.degree_low):
            raise ValueError("degree_out must be at most degree_low and half of degree (spec v1.1)")
        if not 0 <= self.gossip_factor <= 1:
            raise ValueError(f"gossip_factor {self.gossip_factor} must be between 0 and 1")
        if min(self.degree_lazy, self.degree_out) < 0:
            raise ValueError("degree_lazy and degree_out must not be negative")

    def _check_times(self) -> None:
        if self.heartbeat_interval <= 0:
            raise ValueError("heartbeat_interval must be more than 0 seconds")
        if min(self.seen_ttl, self.fanout_ttl, self.iwant_followup, self.heartbeat_initial_delay) < 0:
            raise ValueError("times must not be negative")
        if not (0 <= self.prune_backoff <= MAX_BACKOFF and 0 <= self.unsubscribe_backoff <= MAX_BACKOFF):
            raise ValueError(f"backoffs must be between 0 and {MAX_BACKOFF:.0f} seconds")

    @classmethod
    def version_10(cls) -> Self:
        """Return the settings of gossipsub v1.0: no flood publishing, no outbound quota, no adaptive gossip.

        Give the router no ScoreConfig either, and speak no newer version.
        """
        return cls(
            degree=6,
            degree_low=4,
            degree_high=12,
            degree_score=0,
            degree_out=0,
            degree_lazy=6,
            gossip_factor=0.0,
            flood_publish=False,
            opportunistic_graft_ticks=0,
            hardened=False,
            prune_backoff=0.0,
            unsubscribe_backoff=0.0,
            backoff_slack=0.0,
            idontwant=False,
        )
