"""The peer gater: while validation is overloaded, accept messages at random, more from peers that send valid ones.

A source is an IP address (an IPv6 one with its /64 subnet), or a peer of unknown address. As in go-libp2p-pubsub;
the specs have no such thing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from types import MappingProxyType
from typing import TYPE_CHECKING

from .colocation import parse_ip, subnet_of
from .decay import DecayClock, Retained, decay_factor, faded

if TYPE_CHECKING:
    from random import Random

    from peerstack.stack.identity import PeerId

_TO_ZERO = 0.01


def _no_weights() -> Mapping[str, float]:
    return MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class GaterConfig:
    """When the gater acts, and how it weighs messages; ValueError for invalid settings. The defaults are go's."""

    threshold: float = 0.33
    """Throttled messages for each validated one from which on the gater acts, > 0."""
    quiet: float = 60.0
    """Seconds after the last throttled message until the gater stops acting, >= 1."""
    global_decay: float = decay_factor(120.0, to_zero=_TO_ZERO)
    """Factor for the counts of throttled and validated messages: they last two minutes."""
    source_decay: float = decay_factor(3600.0, to_zero=_TO_ZERO)
    """Factor for the counts of one source: they last an hour."""
    decay_interval: float = 1.0
    """Seconds from one decay to the next, >= 1."""
    decay_to_zero: float = _TO_ZERO
    """Counts below it become 0."""
    retain: float = 6 * 3600.0
    """Seconds for which a source's counts outlive its last connection; they do not fade meanwhile."""
    max_retained: int = 10_000
    """Sources without connection remembered at most; the oldest go first. Ours: addresses may be many."""
    duplicate_weight: float = 0.125
    """What a duplicate weighs against a valid message, > 0."""
    ignore_weight: float = 1.0
    """What an ignored message weighs, >= 1."""
    reject_weight: float = 16.0
    """What an invalid message weighs, >= 1."""
    topic_weights: Mapping[str, float] = field(default_factory=_no_weights)
    """What a valid message of a topic weighs where that is not 1, > 0."""

    def __post_init__(self) -> None:
        for name, value in (("threshold", self.threshold), ("duplicate_weight", self.duplicate_weight)):
            _check(name, value, above=0.0)
        for topic, weight in self.topic_weights.items():
            _check(f"the weight of topic {topic!r}", weight, above=0.0)
        for name, fraction in (
            ("global_decay", self.global_decay),
            ("source_decay", self.source_decay),
            ("decay_to_zero", self.decay_to_zero),
        ):
            if not 0 < fraction < 1:
                raise ValueError(f"{name} must be between 0 and 1, not {fraction}")
        for name, value in (
            ("quiet", self.quiet),
            ("decay_interval", self.decay_interval),
            ("ignore_weight", self.ignore_weight),
            ("reject_weight", self.reject_weight),
        ):
            if not 1 <= value < math.inf:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not 0 <= self.retain < math.inf or self.max_retained < 0:
            raise ValueError("retain and max_retained must be finite and not negative")


def _check(name: str, value: float, *, above: float) -> None:
    if not above < value < math.inf:
        raise ValueError(f"{name} must be a finite number above {above}, not {value}")


class _Source:
    __slots__ = ("connected", "deliver", "duplicate", "ignore", "key", "reject")

    def __init__(self, key: str | PeerId) -> None:
        self.key = key
        self.connected = 0
        self.deliver = self.duplicate = self.ignore = self.reject = 0.0

    def decay(self, factor: float, steps: int, to_zero: float) -> None:
        if self.deliver:
            self.deliver = faded(self.deliver, factor, steps, to_zero)
        if self.duplicate:
            self.duplicate = faded(self.duplicate, factor, steps, to_zero)
        if self.ignore:
            self.ignore = faded(self.ignore, factor, steps, to_zero)
        if self.reject:
            self.reject = faded(self.reject, factor, steps, to_zero)


class PeerGater:
    """Counts the validation results of each source's messages. Peers that were not added are not counted."""

    def __init__(self, config: GaterConfig, random: Random, now: float) -> None:
        self._config = config
        self._random = random
        self._clock = DecayClock(config.decay_interval, now)
        self._validated = 0.0
        self._throttled = 0.0
        self._last_throttle = now
        self._peers: dict[PeerId, _Source] = {}
        self._connected: dict[str | PeerId, _Source] = {}
        self._retained: Retained[str | PeerId, _Source] = Retained(config.retain, config.max_retained)

    @property
    def sources(self) -> int:
        """Sources remembered, connected or not."""
        return len(self._connected) + len(self._retained)

    def add_peer(self, peer: PeerId, ips: Iterable[str], now: float) -> None:
        """Begin to count for `peer`, together with all others at the first of its addresses.

        Relayed connections give no address.
        """
        if peer in self._peers:
            return
        key = _key_of(peer, ips)
        source = self._connected.get(key)
        if source is None:
            source = self._connected[key] = self._retained.take(key, now) or _Source(key)
        source.connected += 1
        self._peers[peer] = source

    def remove_peer(self, peer: PeerId, now: float) -> None:
        """Stop to count for `peer`; the counts of its source are retained in case it comes back."""
        source = self._peers.pop(peer, None)
        if source is None:
            return
        source.connected -= 1
        if source.connected:
            return
        del self._connected[source.key]
        self._retained.keep(source.key, source, now)

    def accepts(self, peer: PeerId, now: float) -> bool:
        """Return whether to take messages of this RPC of `peer`, or only its control part.

        While overloaded, at random, with the share of valid messages of its source as the probability. One is added to
        the valid ones, so that no source is shut out.
        """
        if not self._throttled or not self._acts(now):
            return True
        source = self._peers.get(peer)
        if source is None:
            return True
        config = self._config
        bad = (
            config.duplicate_weight * source.duplicate
            + config.ignore_weight * source.ignore
            + config.reject_weight * source.reject
        )
        if not bad:
            return True
        return self._random.random() < (1 + source.deliver) / (1 + source.deliver + bad)

    def validate(self) -> None:
        """Count a message that goes into validation."""
        self._validated += 1

    def throttle(self, now: float) -> None:
        """Count a message that was dropped because validation was full."""
        self._throttled += 1
        self._last_throttle = now

    def deliver(self, peer: PeerId, topic: str) -> None:
        """Count a valid message of `peer`."""
        source = self._peers.get(peer)
        if source is not None:
            source.deliver += self._config.topic_weights.get(topic, 1.0)

    def duplicate(self, peer: PeerId) -> None:
        """Count a duplicate of `peer`."""
        source = self._peers.get(peer)
        if source is not None:
            source.duplicate += 1

    def ignore(self, peer: PeerId) -> None:
        """Count a message of `peer` that a validator ignored."""
        source = self._peers.get(peer)
        if source is not None:
            source.ignore += 1

    def reject(self, peer: PeerId) -> None:
        """Count an invalid message of `peer`."""
        source = self._peers.get(peer)
        if source is not None:
            source.reject += 1

    def decay(self, now: float) -> None:
        """Let the counts fade by the intervals that have passed, if any, and forget what has expired."""
        steps = self._clock.due(now)
        if not steps:
            return
        config = self._config
        self._validated = faded(self._validated, config.global_decay, steps, config.decay_to_zero)
        self._throttled = faded(self._throttled, config.global_decay, steps, config.decay_to_zero)
        for source in self._connected.values():
            source.decay(config.source_decay, steps, config.decay_to_zero)
        self._retained.expire(now)

    def _acts(self, now: float) -> bool:
        if now - self._last_throttle > self._config.quiet:
            return False
        return self._throttled >= self._config.threshold * self._validated


def _key_of(peer: PeerId, ips: Iterable[str]) -> str | PeerId:
    for text in ips:
        address = parse_ip(text)
        if address is not None:
            return subnet_of(address) if isinstance(address, IPv6Address) else str(address)
    return peer
