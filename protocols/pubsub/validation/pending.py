"""Messages under validation, and which peers sent them meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..router.state import PeerState
    from ..wire import Message

MAX_SOURCES = 64
"""Peers remembered for one message: no mesh is larger, and few peers gossip it."""
MAX_VARIANTS = 4
"""Messages with one id and different bytes that are validated side by side."""


class PendingValidation:
    """One message under validation."""

    __slots__ = ("message", "other", "sources")

    def __init__(self, message: Message, source: PeerState, other: PendingValidation | None) -> None:
        self.message = message
        self.sources = [source]
        self.other = other
        """A message with the same id and other bytes: one of them is forged, and must not hide the true one."""

    def same(self, message: Message) -> PendingValidation | None:
        """Return the validation of the very bytes of `message`."""
        found: PendingValidation | None = self
        while found is not None and found.message.encoded != message.encoded:
            found = found.other
        return found

    def variants(self) -> int:
        """Return how many messages with this id are under validation."""
        return 1 + (self.other.variants() if self.other is not None else 0)

    def add_source(self, peer: PeerState) -> None:
        """Remember that `peer` sent the message, too."""
        if len(self.sources) < MAX_SOURCES and peer not in self.sources:
            self.sources.append(peer)


class PendingValidations:
    """All messages under validation; bounded."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._by_id: dict[bytes, PendingValidation] = {}
        self.get = self._by_id.get

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether nothing more may be validated now."""
        return self._count >= self._limit

    def add(self, message: Message, source: PeerState) -> None:
        """Begin the validation of `message`."""
        self._by_id[message.id] = PendingValidation(message, source, self._by_id.get(message.id))
        self._count += 1

    def pop(self, message: Message) -> PendingValidation | None:
        """End the validation of this very message, and return it; None if there is none."""
        found = previous = self._by_id.get(message.id)
        while found is not None and found.message is not message:
            previous, found = found, found.other
        if found is None or previous is None:
            return None
        self._count -= 1
        if previous is not found:
            previous.other = found.other
        elif found.other is not None:
            self._by_id[message.id] = found.other
        else:
            del self._by_id[message.id]
        return found
