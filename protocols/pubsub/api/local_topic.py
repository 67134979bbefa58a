"""A topic joined on this host: its readers, its validators, and the order of delivery."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self
from weakref import WeakSet

import trio

from peerstack.stack.background import Waiter
from peerstack.stack.errors import InvalidInput
from peerstack.stack.identity import Identity, PeerId

from ..validation.failures import Failures
from ..validation.message_id import MessageIdFunction
from ..validation.validators import Validator
from .codec import Codec
from .subscription import PubsubMessage, Subscription

MAX_PEER_EVENTS: Final = 1024
"""Peer events kept for one reader; the oldest are dropped."""
MAX_BEHIND_BYTES: Final = 16 << 20
"""Bytes of messages that may wait behind one that is being validated."""


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A connected peer subscribes to the topic."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer left the topic, or is gone."""

    peer: PeerId


PeerEvent = PeerJoined | PeerLeft


class PeerEvents:
    """Peers that join and leave, for one reader: an endless iterator."""

    def __init__(self, present: Iterable[PeerId] = ()) -> None:
        self._events: deque[PeerEvent] = deque(map(PeerJoined, present), maxlen=MAX_PEER_EVENTS)
        self._more = Waiter()

    def put(self, event: PeerEvent) -> None:
        """Add an event."""
        self._events.append(event)
        self._more.wake()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PeerEvent:
        """Wait for the next one."""
        await trio.lowlevel.checkpoint()
        while not self._events:
            await self._more.wait()
        return self._events.popleft()


@dataclass(slots=True)
class DeliverySlot:
    """A message's place in the order of delivery, while its validation goes on."""

    size: int
    message: PubsubMessage[Any] | None = None
    done: bool = False


@dataclass(slots=True, eq=False)
class LocalTopic:
    """A topic with at least one reader here."""

    name: str
    codec: Codec[Any]
    message_id: MessageIdFunction
    author: Identity
    """Signs what we publish."""
    validation_slots: trio.Semaphore
    """One for each message in asynchronous validation."""
    subscriptions: list[Subscription[Any]] = field(default_factory=list)
    validators: list[Validator] = field(default_factory=list)
    peer_events: WeakSet[PeerEvents] = field(default_factory=WeakSet)
    """The iterators of peer events that are still referenced."""
    delivered: int = 0
    """Messages given to the readers."""
    peers_changed: trio.Event = field(default_factory=trio.Event)
    overdue: int = 0
    """Validators that have not ended though their time is over: they shield themselves from being cancelled."""
    max_behind: int = 1024
    """Messages that may wait behind one that is being validated."""
    failures: Failures = field(init=False)
    """What validators, codec and id function raise."""
    _order: deque[DeliverySlot] = field(default_factory=deque)
    _bytes: int = 0
    _settled: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)

    def __post_init__(self) -> None:
        self.failures = Failures(repr(self.name))

    def check_joins(
        self, codec: Codec[Any] | None, message_id: MessageIdFunction | None, author: Identity | None
    ) -> None:
        """Raise InvalidInput if the topic was joined with others."""
        if codec is not None and codec is not self.codec:
            raise InvalidInput(f"topic {self.name!r} is joined with another codec already; use the same object")
        if message_id is not None and message_id is not self.message_id:
            raise InvalidInput(f"topic {self.name!r} is joined with another message_id function already")
        if author is not None and author is not self.author:
            raise InvalidInput(f"topic {self.name!r} is joined with another author already")

    def deliver(self, message: PubsubMessage[Any]) -> None:
        """Give a message to the readers, behind those that are still being validated."""
        if self._order:
            self._append(DeliverySlot(len(message.data), message, done=True))
        else:
            self._give(message)

    def reserve(self, message: PubsubMessage[Any]) -> DeliverySlot:
        """Keep the place in the order of a message whose validation takes a while."""
        return self._append(DeliverySlot(len(message.data)))

    def _append(self, slot: DeliverySlot) -> DeliverySlot:
        self._order.append(slot)
        self._bytes += slot.size
        return slot

    def settle(self, slot: DeliverySlot, message: PubsubMessage[Any] | None) -> None:
        """Fill a place, with None for a message that is not delivered."""
        slot.message, slot.done = message, True
        while self._order and self._order[0].done:
            first = self._order.popleft()
            self._bytes -= first.size
            if first.message is not None:
                self._give(first.message)
        if not self._validation_full:
            self._settled.unpark_all()

    def _give(self, message: PubsubMessage[Any]) -> None:
        self.delivered += 1
        for index, subscription in enumerate(self.subscriptions):
            # Each reader gets an object of its own, since each may have missed other messages.
            subscription.put(copy.copy(message) if index else message)

    @property
    def _validation_full(self) -> bool:
        return len(self._order) >= self.max_behind or self._bytes >= MAX_BEHIND_BYTES

    @property
    def full(self) -> bool:
        """Whether a reader wants the network to wait, or too much waits for a validator."""
        return self._validation_full or any(subscription.full for subscription in self.subscriptions)

    async def wait_space(self) -> None:
        """Wait until no reader and no validator holds up the network."""
        while self._validation_full:
            await self._settled.park()
        for subscription in tuple(self.subscriptions):
            await subscription.wait_space()

    def notify(self, event: PeerEvent) -> None:
        """Tell the readers of peer events that a peer joined or left."""
        self.peers_changed.set()
        self.peers_changed = trio.Event()
        for events in self.peer_events:
            events.put(event)
