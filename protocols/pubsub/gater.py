"""The peer gater: while validation is overloaded, accept messages by chance, more from those who send good ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from peerstack.stack.identity import PeerId


@dataclass(frozen=True, kw_only=True, slots=True)
class GaterConfig:
    """When the gater acts, and how it judges."""


class PeerGater:
    """Counts what validation made of each source's messages; a source is an IP address, or a peer without one."""

    def __init__(self, config: GaterConfig, random: Random, now: float) -> None:
        self.config = config
        self._random = random

    def add_peer(self, peer: PeerId, ips: Iterable[str], now: float) -> None:
        """Begin to count for `peer`, together with all others at its first address."""

    def remove_peer(self, peer: PeerId, now: float) -> None:
        """Retain the counters of a peer that is gone, in case it comes back."""

    def accepts(self, peer: PeerId, now: float) -> bool:
        """Return whether to take messages of this RPC of `peer`, or only its control part."""
        return True

    def validate(self) -> None:
        """Count a message that goes into validation."""

    def throttle(self, now: float) -> None:
        """Count a message for which validation had no room."""

    def deliver(self, peer: PeerId, topic: str) -> None:
        """Count a valid message of `peer`."""

    def duplicate(self, peer: PeerId) -> None:
        """Count a duplicate of `peer`."""

    def ignore(self, peer: PeerId) -> None:
        """Count a message of `peer` that a validator ignored."""

    def reject(self, peer: PeerId) -> None:
        """Count an invalid message of `peer`."""

    def decay(self, now: float) -> None:
        """Let the counters fade by the intervals that have passed, if any, and forget what has expired."""
