"""The ids we have seen, and the recent messages with which IWANTs are answered (gossipsub-v1.0.md, "Message Cache")."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peerstack.stack.identity import PeerId

    from ..wire import Message

GENERATIONS = 16
"""Steps in which ids expire: each costs one set operation, and an id lives up to one step longer than its time."""


class SeenCache:
    """The ids of messages that were decided; a repeat does not prolong their time."""

    def __init__(self, ttl: float, limit: int, now: float) -> None:
        self._ttl = ttl
        self._span = ttl / GENERATIONS
        self._generation_limit = max(1, limit // GENERATIONS)
        self._limit = limit
        self.ids: set[bytes] = set()
        """For `in` only; an id is here from `add` until it expires."""
        self.lag = 0.0
        """Seconds that ids are kept longer: copies that were sent in time may still be read."""
        self._generation: list[bytes] = []
        self._generation_ends = now + self._span
        self._old: deque[tuple[float, list[bytes]]] = deque()

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self.ids

    def add(self, message_id: bytes, now: float) -> bool:
        """Remember an id; False if it was known."""
        if message_id in self.ids:
            return False
        if now >= self._generation_ends or len(self._generation) >= self._generation_limit:
            self._turn(now)
        self.ids.add(message_id)
        self._generation.append(message_id)
        return True

    def expire(self, now: float) -> None:
        """Forget ids first seen more than the time to live ago, up to one generation late."""
        if now >= self._generation_ends:
            self._turn(now)

    def _turn(self, now: float) -> None:
        self._old.append((now + self._ttl, self._generation))
        self._generation = []
        self._generation_ends = now + self._span
        # A generation ends no earlier than its youngest id, so nothing is forgotten before its time.
        while self._old and (self._old[0][0] <= now - self.lag or self._too_many()):
            _, ids = self._old.popleft()
            self.ids.difference_update(ids)

    def _too_many(self) -> bool:
        return len(self.ids) + self._generation_limit > self._limit


class _Window:
    """The messages that came between two heartbeats."""

    __slots__ = ("count", "topics")

    def __init__(self) -> None:
        self.count = 0
        self.topics: dict[str, list[bytes]] = {}


class MessageCache:
    """The messages of the last heartbeats; bounded in number and bytes."""

    def __init__(self, length: int, gossip: int, max_messages: int, max_bytes: int) -> None:
        self._gossip = gossip
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: dict[bytes, Message] = {}
        self._order: deque[bytes] = deque()
        self._bytes = 0
        self._windows: deque[_Window] = deque((_Window() for _ in range(length)), maxlen=length)
        """The newest first."""
        self._served: dict[bytes, dict[PeerId, int]] = {}
        """How often a peer asked for a message."""

    def __len__(self) -> int:
        return len(self._messages)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._messages

    @property
    def size(self) -> int:
        """Bytes of all messages."""
        return self._bytes

    def put(self, message: Message) -> None:
        """Keep a message for as many heartbeats as there are windows."""
        message_id = message.id
        if message_id in self._messages:
            return
        self._messages[message_id] = message
        self._order.append(message_id)
        self._bytes += len(message.encoded)
        window = self._windows[0]
        window.count += 1
        ids = window.topics.get(message.topic)
        if ids is None:
            window.topics[message.topic] = [message_id]
        else:
            ids.append(message_id)
        while self._bytes > self._max_bytes or len(self._order) > self._max_messages:
            self._evict()

    def get(self, message_id: bytes) -> Message | None:
        """Return a message, or None if it is not here."""
        return self._messages.get(message_id)

    def request(self, message_id: bytes, peer: PeerId) -> tuple[Message, int] | None:
        """Return a message and how often `peer` asked for it, this time included; None if it is not here."""
        message = self._messages.get(message_id)
        if message is None:
            return None
        served = self._served.setdefault(message_id, {})
        served[peer] = count = served.get(peer, 0) + 1
        return message, count

    def gossip_ids(self, topic: str) -> list[bytes]:
        """Return the ids of the messages of `topic` that are new enough to be advertised, oldest windows last."""
        found: list[bytes] = []
        for index, window in enumerate(self._windows):
            if index >= self._gossip:
                break
            ids = window.topics.get(topic)
            if ids is not None:
                found += ids
        return [message_id for message_id in found if message_id in self._messages]

    def shift(self) -> None:
        """Begin a new window, and forget the messages of the oldest."""
        for _ in range(self._windows[-1].count):
            self._drop(self._order.popleft())
        self._windows.appendleft(_Window())

    def _evict(self) -> None:
        for window in reversed(self._windows):
            if window.count:
                window.count -= 1
                break
        self._drop(self._order.popleft())

    def _drop(self, message_id: bytes) -> None:
        self._bytes -= len(self._messages.pop(message_id).encoded)
        self._served.pop(message_id, None)
