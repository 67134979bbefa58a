"""The peer score: what each peer's behaviour has earned it, P1 to P7 (gossipsub v1.1, "Peer Scoring")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .score_config import ScoreConfig

if TYPE_CHECKING:
    from peerstack.stack.identity import PeerId


@dataclass(frozen=True, slots=True)
class TopicScoreSnapshot:
    """A peer's counters in one topic, and the points they amount to before the cap on all topics."""

    in_mesh: bool
    time_in_mesh: float
    first_deliveries: float
    mesh_deliveries: float
    mesh_failures: float
    invalid: float
    points: float


@dataclass(frozen=True, slots=True)
class ScoreSnapshot:
    """A peer's score and the points of each part; `score` is the sum of the other numbers."""

    score: float
    topic_points: float
    application_points: float
    colocation_points: float
    behaviour_points: float
    connected: bool
    topics: Mapping[str, TopicScoreSnapshot]


class PeerScore:
    """The scores of all peers. Times are seconds from any origin; unknown peers score 0 and cannot be charged."""

    def __init__(self, config: ScoreConfig, now: float) -> None:
        self.config = config

    # ---- peers

    def add_peer(self, peer: PeerId, ips: Iterable[str], now: float) -> None:
        """Begin to score `peer`, or go on with the score retained of it; `ips` as for `set_ips`."""

    def remove_peer(self, peer: PeerId, now: float) -> None:
        """Forget a peer that is gone, or retain its score if that is not to its credit."""

    def set_ips(self, peer: PeerId, ips: Iterable[str]) -> None:
        """Say from which IP addresses `peer` is connected: none for a relayed connection, whose IP is the relay's."""

    # ---- the mesh

    def graft(self, peer: PeerId, topic: str, now: float) -> None:
        """Note that `peer` is in our mesh of `topic` from now on."""

    def prune(self, peer: PeerId, topic: str) -> None:
        """Note that `peer` has left our mesh of `topic`, by whosever wish."""

    # ---- messages: `validate`, then one verdict; `duplicate` at any time

    def validate(self, message_id: bytes, topic: str, now: float) -> None:
        """Note that a message goes into validation: from now on those who send it as well are remembered."""

    def deliver(self, message_id: bytes, topic: str, source: PeerId | None, now: float) -> None:
        """Credit a valid message to `source` (None: published here) and to all who sent it during validation."""

    def duplicate(self, message_id: bytes, topic: str, peer: PeerId, now: float) -> None:
        """Credit or charge `peer` with a message that another peer (or itself) delivered before."""

    def reject(self, message_id: bytes, topic: str, source: PeerId | None, now: float) -> None:
        """Charge an invalid message to `source` and to all who sent it or will send it (a validator's Reject)."""

    def refuse(self, message_id: bytes, topic: str, source: PeerId) -> None:
        """Charge `source` alone with a message whose id cannot be trusted (signature, author, forged origin).

        The id is free again: others may have the true message of that id.
        """

    def ignore(self, message_id: bytes) -> None:
        """Credit and charge nobody with a message (a validator's Ignore, a full queue)."""

    # ---- scores

    def penalise(self, peer: PeerId, count: float = 1.0) -> None:
        """Count breaches of the protocol by `peer` (P7): grafts within the backoff, broken promises."""

    def score(self, peer: PeerId) -> float:
        """Return the score of `peer` as of the last event; 0 for strangers. Time in the mesh grows at `decay` only."""
        return 0.0

    def snapshot(self, peer: PeerId) -> ScoreSnapshot | None:
        """Return what the score of `peer` is made of; None for strangers."""
        return None

    @property
    def next_decay(self) -> float:
        """When `decay` is due."""
        return 0.0

    def decay(self, now: float) -> None:
        """Let the counters fade by the intervals that have passed, if any, and forget what has expired."""
