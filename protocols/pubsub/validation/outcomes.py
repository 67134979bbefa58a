"""Which messages are new and must be validated, and what the result means for the peers that sent them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from .pending import MAX_VARIANTS

if TYPE_CHECKING:
    from ..router.gossip import Gossip
    from ..router.message_cache import SeenCache
    from ..router.state import Peers, PeerState, RouterState
    from ..scoring.gater import PeerGater
    from ..scoring.thresholds import ScoreThresholds
    from ..wire import Message
    from .pending import PendingValidation, PendingValidations


class RejectReason(StrEnum):
    """Why a message was rejected or ignored; the values are the names of counters."""

    MISSING_SIGNATURE = "missing_signature"
    INVALID_SIGNATURE = "invalid_signature"
    UNEXPECTED_SIGNATURE = "unexpected_signature"
    UNEXPECTED_AUTHOR = "unexpected_author"
    UNEXPECTED_SEQNO = "unexpected_seqno"
    MALFORMED_AUTHOR = "malformed_author"
    """No author, or one that is no peer id."""
    MALFORMED_KEY = "malformed_key"
    """No public key where the peer id does not contain it, or one that is malformed or outside the limits."""
    FORGED_AUTHOR = "forged_author"
    """The key is not the author's, whose name the message carries."""
    MALFORMED_SEQNO = "malformed_seqno"
    SELF_ORIGIN = "self_origin"
    """A peer passed on what we are said to have written."""
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    """The codec of the topic cannot decode it."""
    VALIDATION_FAILED = "validation_failed"
    """A validator rejected it."""

    VALIDATION_IGNORED = "validation_ignored"
    """A validator ignored it. This reason and those below penalise no peer."""
    REPEATED = "repeated"
    """It came before, longer ago than ids are remembered: its author's number is known."""
    VALIDATION_THROTTLED = "validation_throttled"
    """There were too many messages under validation."""
    VALIDATION_TIMED_OUT = "validation_timed_out"
    """A validator took too long."""


DECIDED = frozenset({RejectReason.UNDECODABLE, RejectReason.VALIDATION_FAILED, RejectReason.VALIDATION_IGNORED})
"""Reasons that concern the content: the id is marked as seen. With others it may belong to another message."""
MAX_UNPUBLISHED = 10_000
"""Ids of messages that were dropped for every peer, remembered so that they can be published again."""


class ValidationOutcomes:
    """Finds new messages, and credits or penalises their senders."""

    def __init__(
        self,
        state: RouterState,
        thresholds: ScoreThresholds,
        gater: PeerGater | None,
        seen: SeenCache,
        validating: PendingValidations,
        gossip: Gossip,
    ) -> None:
        self._state = state
        self._counts = state.counts
        self._thresholds = thresholds
        self._scores = thresholds.scores
        self._gater = gater
        self._seen = seen
        self._seen_ids = seen.ids
        self._pending = validating
        self._gossip = gossip
        self._promises = gossip.promises
        self._unpublished: dict[bytes, None] = {}
        """Ids of ours that are seen though they reached no peer in the end."""
        config = state.config
        self._announce_from = config.idontwant_threshold if config.idontwant else None

    # ---- received messages

    def is_new(self, peer: PeerState, message: Message, now: float) -> bool:
        """Return whether a message must be validated; then the driver must accept, reject or ignore it."""
        counts = self._counts
        counts.received += 1
        message_id = message.id
        if self._promises.any:
            self._promises.fulfil(message_id)
        topic = self._state.joined.get(message.topic)
        if topic is None or topic.mesh is None:
            counts.not_subscribed += 1
            return False
        if message_id in self._seen_ids:
            self._duplicate(peer, message, now)
            return False
        if message.author == self._state.own_key:
            self._self_origin(peer, message)
            return False
        under_way = self._pending.get(message_id)
        if under_way is not None and not self._is_variant(under_way, peer, message, now):
            return False
        if self._pending.full:
            counts.throttled += 1
            if self._gater is not None:
                self._gater.throttle(now)
            return False
        self._begin(peer, message, topic.mesh, now)
        return True

    def _begin(self, peer: PeerState, message: Message, mesh: Peers, now: float) -> None:
        message.source = peer.id
        first = self._pending.get(message.id) is None
        self._pending.add(message, peer)
        if self._scores is not None:
            self._scores.validate(message.id, message.topic, now)
        if self._gater is not None:
            self._gater.validate()
        if first and self._announce_from is not None and len(message.data) >= self._announce_from:
            self._gossip.announce(message, mesh, peer)

    def _duplicate(self, peer: PeerState, message: Message, now: float) -> None:
        self._counts.duplicates += 1
        if self._scores is not None:
            self._scores.duplicate(message.id, message.topic, peer.id, now)
        if self._gater is not None:
            self._gater.duplicate(peer.id)

    def _is_variant(self, under_way: PendingValidation, peer: PeerState, message: Message, now: float) -> bool:
        """Return whether a message with an id under validation has other bytes, and must be validated as well."""
        same = under_way.same(message)
        if same is None and under_way.variants() < MAX_VARIANTS:
            return True
        if same is not None:
            same.add_source(peer)
        self._duplicate(peer, message, now)
        return False

    def _self_origin(self, peer: PeerState, message: Message) -> None:
        """Refuse a message with our name as author that we never sent."""
        self._counts.self_origin += 1
        self._refuse(message, peer)

    # ---- results

    def is_unpublished(self, message_id: bytes) -> bool:
        """Return whether a message of ours with this id may go out: none did, or it reached no peer."""
        return message_id not in self._seen or message_id in self._unpublished

    def publish(self, message: Message, now: float, *, reaches: bool) -> None:
        """Note a message of ours; its id is seen if it goes to a peer."""
        self._counts.published += 1
        if reaches:
            self._seen.add(message.id, now)
            self._unpublished.pop(message.id, None)

    def unpublish(self, message_id: bytes) -> None:
        """Note that a message of ours reached no peer after all."""
        self._unpublished[message_id] = None
        if len(self._unpublished) > MAX_UNPUBLISHED:
            del self._unpublished[next(iter(self._unpublished))]

    def accept(self, message: Message, now: float) -> list[PeerState] | None:
        """Credit a valid message; return the peers that sent it, or None if it was decided before."""
        validation = self._pending.pop(message)
        if validation is None or not self._seen.add(message.id, now):
            return None
        self._counts.accepted += 1
        source = validation.sources[0].id
        if self._scores is not None:
            self._scores.deliver(message.id, message.topic, source, now)
        if self._gater is not None:
            self._gater.deliver(source, message.topic)
        return validation.sources

    def reject(self, message: Message, reason: RejectReason, now: float) -> None:
        """Penalise all peers that sent an invalid message."""
        validation = self._pending.pop(message)
        self._counts.rejected += 1
        if validation is None:
            peer = self._state.peers.get(message.source) if message.source is not None else None
            if peer is not None:
                self._refuse(message, peer)
            return
        if reason not in DECIDED:
            for peer in validation.sources:
                self._refuse(message, peer)
            return
        self._seen.add(message.id, now)
        if self._scores is not None:
            self._scores.reject(message.id, message.topic, validation.sources[0].id, now)
        for peer in validation.sources:
            self._thresholds.refresh(peer)
            if self._gater is not None:
                self._gater.reject(peer.id)

    def ignore(self, message: Message, reason: RejectReason, now: float) -> None:
        """Drop a message without a penalty."""
        validation = self._pending.pop(message)
        self._counts.ignored += 1
        if validation is None:
            return
        if self._scores is not None:
            self._scores.ignore(message.id)
        if reason is RejectReason.REPEATED:
            # Unless another message with this id is still pending, which must not be hidden.
            if self._pending.get(message.id) is None:
                self._seen.add(message.id, now)
        elif reason in DECIDED:
            self._seen.add(message.id, now)
            if self._gater is not None:
                self._gater.ignore(validation.sources[0].id)
        elif self._gater is not None:
            self._gater.throttle(now)

    def _refuse(self, message: Message, peer: PeerState) -> None:
        """Penalise one peer for a message whose id cannot be trusted."""
        if self._scores is not None:
            self._scores.refuse(message.id, message.topic, peer.id)
        self._thresholds.refresh(peer)
        if self._gater is not None:
            self._gater.reject(peer.id)
