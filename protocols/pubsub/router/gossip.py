"""Gossip (IHAVE, IWANT, IDONTWANT) within limits for each peer, and the promises that an IHAVE makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..wire import IHave

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from ..scoring.thresholds import ScoreThresholds
    from ..validation.pending import PendingValidations
    from ..wire import Message
    from .message_cache import MessageCache, SeenCache
    from .state import Peers, PeerState, RouterState, TopicState
MAX_ASKED = 10_000
"""Ids remembered that we asked for by IWANT; which messages came that way is told to the readers."""


class Gossip:
    """Handles and emits gossip."""

    def __init__(
        self,
        state: RouterState,
        thresholds: ScoreThresholds,
        cache: MessageCache,
        seen: SeenCache,
        validating: PendingValidations,
    ) -> None:
        self._state = state
        self._config = state.config
        self._thresholds = thresholds
        self._cache = cache
        self._seen = seen
        self._pending = validating
        self.promises = Promises(state.config.iwant_followup, state.random)
        self._asked: dict[bytes, None] = {}
        """Ids that were asked for lately, in order."""

    # ---- received gossip

    def handle_ihave(self, peer: PeerState, offers: list[IHave], now: float) -> None:
        """Ask for what we have not seen, in the topics we are in."""
        config = self._config
        peer.ihave_messages += 1
        allowance = config.max_ihave_ids - peer.asked_ids
        if peer.ihave_messages > config.max_ihave_messages or allowance <= 0:
            self._state.counts.ihave_ignored += sum(len(offer.ids) for offer in offers)
            return
        wanted: dict[bytes, None] = {}
        for offer in offers:
            if offer.topic in self._state.joined:
                self._collect(offer.ids, wanted)
        if wanted:
            # At random, in order too: the peer must not choose what we ask for, nor know which promise we track.
            ids = self._state.random.sample(list(wanted), min(len(wanted), allowance))
            peer.asked_ids += len(ids)
            self._state.outgoing(peer).iwant += ids
            self.promises.add(peer, ids, now)
            self._asked.update(dict.fromkeys(ids))
            while len(self._asked) > MAX_ASKED:
                del self._asked[next(iter(self._asked))]

    def was_asked(self, message_id: bytes) -> bool:
        """Return whether a message was asked for, so that it comes out of the order of its author; ask once."""
        if not self._asked or message_id not in self._asked:
            return False
        del self._asked[message_id]
        return True

    def _collect(self, ids: list[bytes], wanted: dict[bytes, None]) -> None:
        seen, validating, limit = self._seen.ids, self._pending, self._config.max_ihave_ids
        if len(ids) > limit:
            self._state.counts.ihave_ignored += len(ids) - limit
            ids = ids[:limit]
        for message_id in ids:
            if message_id not in seen and validating.get(message_id) is None:
                wanted[message_id] = None

    def handle_iwant(self, peer: PeerState, ids: list[bytes], now: float) -> None:
        """Send the messages a peer asks for, unless it asks too often or for too much."""
        for message_id in dict.fromkeys(ids):
            if message_id in peer.dontwant:
                continue
            found = self._cache.request(message_id, peer.id)
            if found is None:
                continue
            message, times = found
            size = len(message.encoded)
            if times > self._config.gossip_retransmission or peer.served_bytes + size > self._config.max_iwant_bytes:
                self._state.counts.iwant_refused += 1
                continue
            peer.served_bytes += size
            self._seen.add(message_id, now)  # a message of ours that went to no peer before is on its way now
            self._state.outgoing(peer).messages.append(message)

    def handle_idontwant(self, peer: PeerState, ids: list[bytes]) -> None:
        """Remember which messages a peer has already."""
        allowance = self._config.max_idontwant_messages - peer.dontwant_messages
        if len(ids) > allowance:
            self._state.counts.idontwant_ignored += len(ids) - allowance
            ids = ids[:allowance]
        peer.dontwant_messages += len(ids)
        expires = self._state.ticks + self._config.idontwant_ttl
        for message_id in ids:
            peer.dontwant[message_id] = expires

    # ---- sent gossip

    def announce(self, message: Message, mesh: Peers, source: PeerState) -> None:
        """Tell the mesh that we have a large message already, before it is validated."""
        message_id = message.id
        state = self._state
        for peer in mesh:
            if peer.supports_idontwant and peer is not source and message_id not in peer.dontwant:
                state.outgoing(peer).idontwant.append(message_id)
                state.counts.idontwant_sent += 1

    def emit(self, topic: TopicState, exclude: Peers) -> None:
        """Offer recent messages of a topic to some of the peers that do not get them anyway; at each heartbeat."""
        ids = self._cache.gossip_ids(topic.name)
        if not ids:
            return
        threshold, config, random = self._thresholds.gossip_threshold, self._config, self._state.random
        peers = [
            peer for peer in topic.subscribers if peer not in exclude and peer.mesh_capable and peer.score >= threshold
        ]
        target = max(config.degree_lazy, int(config.gossip_factor * len(peers)))
        if target < len(peers):
            peers = random.sample(peers, target)
        if not peers:
            return
        random.shuffle(ids)
        for peer in peers:
            # If not all ids fit, each peer gets a different selection.
            offered = random.sample(ids, config.max_ihave_ids) if len(ids) > config.max_ihave_ids else ids
            self._state.outgoing(peer).ihave.append(IHave(topic.name, offered))

    def offer_dropped(self, peer: PeerState) -> None:
        """Offer a peer the messages that did not fit into its queue."""
        by_topic: dict[str, list[bytes]] = {}
        for message_id, topic in peer.dropped.items():
            if topic in peer.topics and message_id in self._cache and message_id not in peer.dontwant:
                by_topic.setdefault(topic, []).append(message_id)
        peer.dropped.clear()
        if by_topic:
            self._state.outgoing(peer).ihave += [IHave(topic, ids) for topic, ids in by_topic.items()]

    # ---- the heartbeat

    def next_tick(self, peer: PeerState) -> None:
        """Begin a new count of what one peer may cost."""
        peer.ihave_messages = peer.asked_ids = peer.served_bytes = peer.dontwant_messages = 0
        if peer.dontwant:
            ticks = self._state.ticks
            peer.dontwant = {message_id: last for message_id, last in peer.dontwant.items() if last > ticks}
        if peer.dropped:
            self.offer_dropped(peer)

    def punish_broken_promises(self, now: float) -> None:
        """Penalise the peers that did not send what they advertised."""
        if not len(self.promises):
            return
        for peer, count in self.promises.broken(now).items():
            self._state.counts.broken_promises += count
            self._thresholds.penalise(peer, count, f"{count} advertised messages were not sent")


class Promises:
    """One random id of each IWANT, and until when the peer must have sent it.

    They are bounded by what may be asked of a peer between two heartbeats, and by the follow-up time.
    """

    def __init__(self, followup: float, random: Random) -> None:
        self._followup = followup
        self._random = random
        self._by_id: dict[bytes, dict[PeerState, float]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def any(self) -> bool:
        """Whether anything is expected."""
        return bool(self._by_id)

    def add(self, peer: PeerState, ids: Sequence[bytes], now: float) -> None:
        """Expect one of `ids` from `peer`, which cannot know which one."""
        expected = self._random.choice(ids)
        self._by_id.setdefault(expected, {}).setdefault(peer, now + self._followup)

    def fulfil(self, message_id: bytes) -> None:
        """Void all promises of a message that has arrived, from any peer, valid or not."""
        self._by_id.pop(message_id, None)

    def broken(self, now: float) -> dict[PeerState, int]:
        """Return how many promises each peer broke, and forget those."""
        counts: dict[PeerState, int] = {}
        for message_id in list(self._by_id):
            peers = self._by_id[message_id]
            for peer in [peer for peer, until in peers.items() if until < now]:
                del peers[peer]
                counts[peer] = counts.get(peer, 0) + 1
            if not peers:
                del self._by_id[message_id]
        return counts
