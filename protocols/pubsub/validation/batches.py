"""Messages between the read that brought them and their verdicts, with what is held of them in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..api.subscription import PubsubMessage
from ..api.topics import DeliverySlot, LocalTopic
from ..streams.peer_streams import PeerStreams
from ..wire import Message


@dataclass(slots=True, eq=False)
class MessageBatch:
    """The messages that one read of a stream brought."""

    streams: PeerStreams
    messages: list[Message]
    held: int
    """Bytes held for those that nobody else holds."""

    def take(self, message: Message) -> int:
        """Return how many bytes are held for a message that outlives the batch; its holder gives them back."""
        size = min(self.held, len(message.encoded))
        self.held -= size
        return size


GRACE: Final = 1.0
"""Seconds that a validator has to end after it was cancelled; then its message is ignored without waiting for it."""


@dataclass(slots=True, eq=False)
class AsyncValidation:
    """A message in an asynchronous validator."""

    topic: LocalTopic
    slot: DeliverySlot
    received: PubsubMessage[Any]
    message: Message
    ends: float
    """When the validator is cancelled, in seconds on trio's clock."""
    streams: PeerStreams
    held: int
    """Bytes held for the message."""
    overdue: bool = False
    """Whether it was given up."""
