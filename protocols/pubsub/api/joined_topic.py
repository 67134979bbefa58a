"""A joined topic, for one reader and publisher."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Self

import trio

from peerstack.stack.identity import PeerId

from .codec import ValueT
from .local_topic import LocalTopic, PeerEvent, PeerEvents
from .receipt import Receipt
from .subscription import PubsubMessage, Subscription

Publish = Callable[[str, bytes], Awaitable[Receipt]]


@dataclass(frozen=True, slots=True)
class TopicStatistics:
    """A snapshot of a joined topic."""

    topic: str
    peers: int
    """Connected peers that subscribe."""
    mesh: int
    """Those of them in our mesh."""
    waiting: int
    """Messages not read yet."""
    missed: int
    """Messages dropped here since the reader was slow."""


class JoinedTopic(Generic[ValueT]):
    """A topic that was joined: publish to it, and iterate over its messages. Get one from `Pubsub.join`.

    One task at a time may read; join once more for another reader.
    """

    def __init__(
        self,
        topic: LocalTopic,
        subscription: Subscription[ValueT],
        *,
        publish: Publish,
        peers: Callable[[], list[PeerId]],
        mesh: Callable[[], list[PeerId]],
    ) -> None:
        self.topic = topic.name
        self._topic = topic
        self._subscription = subscription
        self._publish = publish
        self._peers = peers
        self._mesh = mesh

    async def publish(self, value: ValueT) -> Receipt:
        """Publish, and return a receipt with the state of the message for each peer.

        Waits while the queue of a recipient is full. Raises InvalidInput for a message that is
        too large or that our own validators do not accept, and what the codec raises. When cancelled, the message
        may have been queued for some of the peers.
        """
        return await self._publish(self.topic, self._topic.codec.encode(value))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PubsubMessage[ValueT]:
        """Return the next message of others. Raises SubscriptionOverflow with `WhenFull.RAISE`."""
        try:
            return await self._subscription.get()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def receive(self) -> PubsubMessage[ValueT]:
        """Return the next message. Raises SubscriptionOverflow, and trio.EndOfChannel after the topic was left."""
        return await self._subscription.get()

    @property
    def peers(self) -> list[PeerId]:
        """The connected peers that subscribe to the topic."""
        return self._peers()

    @property
    def mesh(self) -> list[PeerId]:
        """The peers in our mesh: messages are exchanged with them directly; the others learn of them by gossip."""
        return self._mesh()

    async def wait_peers(self, count: int = 1) -> list[PeerId]:
        """Wait until at least `count` connected peers subscribe to the topic, and return them."""
        await trio.lowlevel.checkpoint()
        while len(self._peers()) < count:
            await self._topic.peers_changed.wait()
        return self._peers()

    def peer_events(self) -> AsyncIterator[PeerEvent]:
        """Return an endless iterator of `PeerJoined` and `PeerLeft`; it starts with the peers already there.

        If it is not read, it keeps the last 1024.
        """
        events = PeerEvents(self._peers())
        self._topic.peer_events.add(events)
        return events

    def statistics(self) -> TopicStatistics:
        """Return a snapshot."""
        return TopicStatistics(
            self.topic, len(self.peers), len(self.mesh), len(self._subscription), self._subscription.missed
        )

    def __repr__(self) -> str:
        return f"<JoinedTopic {self.topic!r} with {len(self.peers)} peers>"
