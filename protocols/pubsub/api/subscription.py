"""The buffer of one reader, and what happens when the reader is slow."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic

import trio

from peerstack.stack.background import Guard, SharedCheckpoint, Waiter
from peerstack.stack.errors import StackError
from peerstack.stack.identity import PeerId

from .codec import ValueT


class WhenFull(StrEnum):
    """What happens to messages for a reader whose buffer is full."""

    WAIT = "wait"
    """Nothing more is read from the peer that sent the last one, which slows down the senders.

    Until the first read the oldest are dropped instead: a topic that is only published to stops no network.
    """
    DROP_OLDEST = "drop oldest"
    """The oldest message is dropped; the next one that is read says how many were dropped before it."""
    RAISE = "raise"
    """The reader gets SubscriptionOverflow after what is buffered, and has to join again."""


class SubscriptionOverflow(StackError):
    """A reader with `WhenFull.RAISE` was too slow."""


@dataclass(slots=True, eq=False)
class PubsubMessage(Generic[ValueT]):
    """A valid message as a reader gets it."""

    topic: str
    data: bytes
    value: ValueT
    """The payload as the topic's codec decodes it; the same as `data` without one."""
    author: PeerId | None
    """Who published it, proved by the signature; None where messages are not signed."""
    seqno: int | None
    """The author's number for it."""
    source: PeerId | None
    """The neighbour it came from; None for our own."""
    id: bytes
    gap: int = 0
    """How many numbers of the author were skipped before this one: messages lost, or of topics not joined here."""
    late: bool = False
    """Whether a later message of the author came before."""
    closes: bool = False
    """Whether this message was counted in the `gap` of an earlier one: it was late, and is not lost."""
    fetched: bool = False
    """Whether it was asked for after a peer had offered it (gossip), so that it may come behind newer ones.

    After joining, messages of the last seconds come that way.
    """
    missed: int = 0
    """How many messages were dropped here, before this one, since the reader was slow."""


class Subscription(Generic[ValueT]):
    """A buffer between the network and one reader."""

    def __init__(self, topic: str, *, buffer: int, when_full: WhenFull) -> None:
        if buffer < 1:
            raise ValueError(f"the buffer must hold at least one message, not {buffer}")
        self.topic = topic
        self.when_full = when_full
        self.missed = 0
        """Messages dropped here so far."""
        self._told = 0
        self._buffer = buffer
        self._messages: deque[PubsubMessage[ValueT]] = deque()
        self._readable = Waiter()
        self._space = trio.lowlevel.ParkingLot()
        self._checkpoint = SharedCheckpoint()
        self._guard = Guard(f"another task is already reading topic {topic!r}; join it once more to read twice")
        self._attended = False
        self._closed = False
        self._overflowed = False

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    @property
    def full(self) -> bool:
        """Whether the sender of messages should wait until they are read."""
        return self._attended and self.when_full is WhenFull.WAIT and len(self._messages) >= self._buffer

    def put(self, message: PubsubMessage[ValueT]) -> None:
        """Take a message; afterwards look at `full`. What a wake-up brought still fits in."""
        if self._closed or self._overflowed:
            return
        if len(self._messages) >= self._buffer and not self._make_space():
            return
        self._messages.append(message)
        self._readable.wake()

    def _make_space(self) -> bool:
        match self.when_full:
            case WhenFull.RAISE:
                self._overflowed = True
                self._readable.wake()
                return False
            case WhenFull.WAIT if self._attended:
                return True
            case _:
                self._messages.popleft()
                self.missed += 1
                return True

    async def wait_space(self) -> None:
        """Wait until `full` ends."""
        while self.full and not self._closed:
            await self._space.park()

    async def get(self) -> PubsubMessage[ValueT]:
        """Return the next message. Raises SubscriptionOverflow, and trio.EndOfChannel once it is closed."""
        with self._guard:
            self._attended = True
            await trio.lowlevel.checkpoint_if_cancelled()
            while not self._messages:
                if self._overflowed:
                    raise SubscriptionOverflow(
                        f"the reader of {self.topic!r} lagged more than {self._buffer} messages behind;"
                        " read faster, join with a larger buffer, or choose what may be dropped"
                    )
                if self._closed:
                    raise trio.EndOfChannel
                await self._readable.wait()
            message = self._messages.popleft()
            message = self._tell_missed(message)
            if self._space and not self.full:
                self._space.unpark_all()
            await self._checkpoint.count(len(message.data))
            return message

    def _tell_missed(self, message: PubsubMessage[ValueT]) -> PubsubMessage[ValueT]:
        if self.missed != self._told:
            message.missed, self._told = self.missed - self._told, self.missed
        return message

    def close(self) -> None:
        """Take nothing more; the reader gets what is buffered and then the end."""
        self._closed = True
        self._readable.wake()
        self._space.unpark_all()
