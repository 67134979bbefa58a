"""Publish/subscribe for a host: the public API and what holds its parts together."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, overload

import trio

from peerstack.stack.abc import Stream
from peerstack.stack.background import open_background, require_trio
from peerstack.stack.errors import InvalidInput, LimitExceeded, RemoteProtocolError
from peerstack.stack.framing import EndOfMessages, FrameReader
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId

from .api.arguments import check_buffer, check_direct, check_join, check_topic, check_validators, parse_when_full
from .api.codec import RAW, Codec, ValueT
from .api.config import PubsubConfig
from .api.events import MalformedRpc
from .api.joined_topic import Room
from .api.receipt import Delivery, DeliveryState, Receipt
from .api.statistics import PeerStatistics, PubsubStatistics
from .api.subscription import PubsubMessage, Subscription, WhenFull
from .api.topics import PeerJoined, PeerLeft, Topic
from .router import events as core_events
from .router.router import GossipCore
from .scoring.score import ScoreSnapshot
from .streams.connection_tags import protecting
from .streams.dialer import Introductions
from .streams.peer_streams import BROKEN, Link
from .streams.peers import Switchboard
from .turns import Turns
from .validation import signing
from .validation.failures import containing
from .validation.message_id import MessageIdFunction, id_of
from .validation.pipeline import Intake
from .validation.sequence import SequenceNumbers
from .validation.validators import Validator, Verdict, ask_all
from .wire import Message, encode_subscriptions
from .wire import Subscription as Announcement

FULL = Delivery(DeliveryState.DROPPED, "its queue is full, and the peer takes nothing")


@asynccontextmanager
async def open_pubsub(
    host: Host, config: PubsubConfig | None = None, *, direct: Iterable[PeerId] = (), seed: int | None = None
) -> AsyncIterator[Pubsub]:
    """Speak publish/subscribe with every peer of a host that does, until the block is left.

    Leaving the block waits until the peers have read what is queued (`PubsubConfig.close_timeout`). `direct` are
    peers that get every message whatever is thought of them. `seed` makes the choices of the router repeatable, for
    simulations.
    """
    require_trio("open_pubsub")
    direct = check_direct(direct)
    async with open_background() as nursery:
        pubsub = Pubsub(host, config or PubsubConfig(), nursery, direct=direct, random=random.Random(seed))
        with pubsub.serving(), protecting(host, direct):
            nursery.start_soon(pubsub.run)
            try:
                yield pubsub
            finally:
                with trio.move_on_after(pubsub.config.close_timeout, shield=True):
                    await pubsub.drain()
                    await pubsub.part()


class Pubsub:
    """Publish/subscribe on one host. Get it from `open_pubsub`."""

    def __init__(
        self,
        host: Host,
        config: PubsubConfig,
        nursery: trio.Nursery,
        *,
        direct: Sequence[PeerId],
        random: random.Random,
    ) -> None:
        self.host = host
        self.config = config
        self._topics: dict[str, Topic] = {}
        self._numbers = SequenceNumbers(time.time_ns())
        self._turns = Turns()
        self._malformed = 0
        self._core = GossipCore(
            host.peer_id,
            config.gossip,
            random=random,
            now=trio.current_time(),
            score=containing(config.score),
            gater=config.gater,
            direct=direct,
        )
        self._introductions = Introductions(host, direct)
        self._switchboard = Switchboard(
            host,
            self._core,
            config,
            nursery,
            introductions=self._introductions,
            hello=self._hello,
            on_event=self._on_core_event,
        )
        self._intake = Intake(host, self._core, config, nursery, self._switchboard, self._topics)

    def __repr__(self) -> str:
        return f"<Pubsub of {self.host.peer_id}, {len(self._topics)} topics>"

    # ---- topics

    @overload
    def join(
        self,
        topic: str,
        *,
        buffer: int = ...,
        when_full: WhenFull = ...,
        validators: Sequence[Validator] = ...,
        message_id: MessageIdFunction | None = ...,
        author: Identity | None = ...,
    ) -> AbstractAsyncContextManager[Room[bytes]]: ...

    @overload
    def join(
        self,
        topic: str,
        *,
        codec: Codec[ValueT],
        buffer: int = ...,
        when_full: WhenFull = ...,
        validators: Sequence[Validator] = ...,
        message_id: MessageIdFunction | None = ...,
        author: Identity | None = ...,
    ) -> AbstractAsyncContextManager[Room[ValueT]]: ...

    @asynccontextmanager
    async def join(
        self,
        topic: str,
        *,
        codec: Codec[Any] | None = None,
        buffer: int = 1024,
        when_full: WhenFull = WhenFull.WAIT,
        validators: Sequence[Validator] = (),
        message_id: MessageIdFunction | None = None,
        author: Identity | None = None,
    ) -> AsyncIterator[Room[Any]]:
        """Subscribe to a topic until the block is left, as `async with pubsub.join("news") as room`.

        `codec` makes values of payloads; what it can not decode is rejected. `buffer` is how many messages may wait for
        the reader, and `when_full` what happens then. `validators` judge the messages of the topic, for all its rooms.
        `message_id` replaces the config's. `author` signs what is published here, in place of the host's identity.
        Raises InvalidInput for a name that is empty or too long, or for another codec, message_id or author than a room
        of the topic that is still open has; TypeError for what is none of these; LimitExceeded for more topics than
        peers like us keep of one peer (`GossipConfig.max_topics_per_peer`), of which they would not tell.
        """
        check_topic(topic)
        check_buffer(buffer)
        check_join(codec, message_id, author)
        validators = check_validators(validators)
        subscription: Subscription[Any] = Subscription(topic, buffer=buffer, when_full=parse_when_full(when_full))
        state = self._enter(topic, codec, message_id, author)
        state.subscriptions.append(subscription)
        state.validators += validators
        try:
            yield Room(
                state,
                subscription,
                publish=self.publish,
                peers=lambda: self._core.topic_peers(topic),
                mesh=lambda: self._core.mesh(topic),
            )
        finally:
            subscription.close()
            state.subscriptions.remove(subscription)
            for validator in validators:
                state.validators.remove(validator)
            self._exit(state)

    def _enter(
        self, name: str, codec: Codec[Any] | None, message_id: MessageIdFunction | None, author: Identity | None
    ) -> Topic:
        topic = self._topics.get(name)
        if topic is not None:
            topic.check_joins(codec, message_id, author)
            return topic
        most = self.config.gossip.max_topics_per_peer
        if len(self._topics) >= most:
            raise LimitExceeded(
                "pubsub", "topics joined (GossipConfig.max_topics_per_peer, here and at the peers)", most
            )
        concurrency = self.config.validation_concurrency
        slots = trio.Semaphore(concurrency)
        topic = Topic(
            name,
            codec or RAW,
            message_id or self.config.message_id,
            author or self.host.identity,
            slots,
            max_behind=4 * concurrency,
        )
        self._topics[name] = topic
        self._core.join(name, trio.current_time())
        self._switchboard.tell_all(encode_subscriptions([Announcement(True, name)]))
        self._switchboard.flush()
        return topic

    def _exit(self, topic: Topic) -> None:
        if topic.subscriptions:
            return
        del self._topics[topic.name]
        topic.failures.close()
        self._core.leave(topic.name, trio.current_time())
        self._switchboard.flush()
        self._switchboard.tell_all(encode_subscriptions([Announcement(False, topic.name)]))

    @property
    def topics(self) -> list[str]:
        """The topics joined."""
        return list(self._topics)

    def topic_peers(self, topic: str) -> list[PeerId]:
        """Return the connected peers that subscribe to a topic, joined here or not."""
        return self._core.topic_peers(topic)

    # ---- publishing

    async def publish(self, topic: str, data: bytes) -> Receipt:
        """Publish to a topic, joined or not, and return a receipt that tells for each peer what becomes of the message.

        Waits while the queue of a peer that shall get it is full, as long as that peer takes something, or no reader
        here is behind. Raises InvalidInput for a message that is too large or that the validators of our own rooms do
        not accept, within `validation_timeout`; TypeError for what is no bytes.
        """
        check_topic(topic)
        data = RAW.encode(data)
        if len(data) > self.config.max_message:
            limit = self.config.max_message
            raise InvalidInput(f"a message of {len(data)} bytes is over the limit of {limit}; see PubsubConfig")
        state = self._topics.get(topic)
        message = self._make(topic, data, state.author if state else self.host.identity)
        message.id = id_of(message, state.message_id if state else self.config.message_id)
        if state is not None and state.validators:
            await self._ask_ourselves(state, message)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
            await self._turns.take(len(data))
        number = None if message.seqno is None else int.from_bytes(message.seqno, "big")
        receipt = Receipt(topic, message.id, number, len(data), self._core.unpublish, self.acknowledged)
        peers = self._core.publish(message, trio.current_time())
        self._switchboard.flush()
        receipt.repeated = peers is None
        # Whoever has room gets it before others are waited for: the slow delay nobody else, even if we are cancelled.
        for link in self._queue(peers or (), message, receipt):
            await self._wait_room(link)
            _put(link, message, receipt)
        return receipt

    async def _wait_room(self, link: Link) -> None:
        """Wait until there is room in the queue of a peer; not for one that takes nothing, if that may be our fault.

        While a reader here is behind, nothing more is read from the network, and peers of which each waits for the
        other to read would wait for ever. So then, and for a peer that took nothing for too long before, publishing
        is as patient as forwarding.
        """
        queue, patience = link.queue, self.config.queues.forward_patience
        while queue.full and not queue.reason:
            patient = not link.stalled and not any(topic.full for topic in self._topics.values())
            if not patient and queue.stuck_for(trio.current_time()) >= patience:
                return
            with trio.move_on_after(patience):
                await queue.wait_room()

    def _queue(self, peers: Iterable[PeerId], message: Message, receipt: Receipt) -> list[Link]:
        """Queue a message for peers; return the links that have no room for it."""
        full: list[Link] = []
        for peer in peers:
            link = self._switchboard.links.get(peer)
            if link is None:
                receipt.settle(peer, Delivery(DeliveryState.DROPPED, "the connection is gone"))
            elif link.queue.full:
                full.append(link)
            else:
                _put(link, message, receipt)
        return full

    def _make(self, topic: str, data: bytes, author: Identity) -> Message:
        if self.config.signatures.signs:
            return signing.sign(author, topic, data, self._numbers.take())
        return signing.make_anonymous(topic, data)

    async def _ask_ourselves(self, topic: Topic, message: Message) -> None:
        seqno = None if message.seqno is None else int.from_bytes(message.seqno, "big")
        accepted = False
        try:
            value = topic.codec.decode(message.data)
            me = topic.author.peer_id if message.author is not None else None
            mine = PubsubMessage(topic.name, message.data, value, me, seqno, None, message.id)
            says = f"gave no verdict on this message within {self.config.validation_timeout:g} s (validation_timeout)"
            with trio.move_on_after(self.config.validation_timeout):
                verdict = await ask_all(topic.validators, mine, topic.failures)
                says, accepted = f"says {verdict} to this message", verdict is Verdict.ACCEPT
            if not accepted:
                raise InvalidInput(f"a validator of {topic.name!r} {says}")
        finally:
            if not accepted and seqno is not None:
                self._numbers.give_back(seqno)

    async def acknowledged(self, peer: PeerId) -> bool:
        """Wait until the host of a peer has received what was sent to it so far; False if that cannot be known.

        It says no more than that; see `Receipt.wait_acknowledged`.
        """
        return await self._switchboard.acknowledged(peer)

    async def drain(self) -> None:
        """Wait until everything queued for all peers was taken by the connections."""
        await self._switchboard.drain()

    async def part(self) -> None:
        """Send nothing more, and wait a little until the peers have read what was sent; `open_pubsub` does it."""
        await self._switchboard.part()

    # ---- what goes on

    def score(self, peer: PeerId) -> float:
        """Return what is thought of a peer; below 0 it is in no mesh."""
        return self._core.score(peer)

    def score_snapshot(self, peer: PeerId) -> ScoreSnapshot | None:
        """Return what the score of a peer is made of; None if it is not judged."""
        return self._core.score_snapshot(peer)

    def statistics(self) -> PubsubStatistics:
        """Return a snapshot."""
        links = {peer: link for peer, link in self._switchboard.links.items() if link.opened.is_set()}
        return PubsubStatistics(
            peers={str(peer): self._peer_statistics(link) for peer, link in links.items()},
            topics={name: tuple(str(peer) for peer in self._core.mesh(name)) for name in self._topics},
            rejected=dict(self._intake.rejected),
            ignored=dict(self._intake.ignored),
            dropped=dict(self._switchboard.dropped),
            malformed=self._malformed,
            counts=self._core.counts(),
            skipped=self._intake.sequences.skipped,
            closed=self._intake.sequences.closed,
            streams=dict(self._switchboard.counts),
            entries_received=self._intake.entries.as_dict(),
            entries_sent=self._switchboard.entries.as_dict(),
        )

    def _peer_statistics(self, link: Link) -> PeerStatistics:
        queue = link.queue
        score = self.score(link.peer)
        refused = self._core.topics_refused(link.peer)
        return PeerStatistics(link.protocol, len(queue), queue.size, link.forward_dropped, score, link.offence, refused)

    # ---- running

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve the streams of peers within the block."""
        protocols = self._switchboard.protocols
        if not set(protocols).isdisjoint(self.host.protocols):
            raise InvalidInput("this host speaks pubsub already: open it once, and join as many topics as you like")
        self.host.observe(self._switchboard)
        for protocol in protocols:
            self.host.handle(protocol, self._serve)
        for peer in self.host.peers:
            if self.host.peerstore.supports(peer, *protocols):
                self._switchboard.link(peer)
        try:
            yield
        finally:
            for protocol in protocols:
                self.host.unhandle(protocol)
            self.host.events.observers.remove(self._switchboard)

    async def run(self) -> None:
        """Do what is due, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._introductions.run)
            nursery.start_soon(self._beat)

    async def _beat(self) -> None:
        while True:
            await trio.sleep_until(self._core.next_deadline())
            self._core.handle_deadline(trio.current_time())
            self._intake.give_up(trio.current_time())
            self._switchboard.flush()

    async def _serve(self, stream: Stream) -> None:
        """Read the RPCs of one peer."""
        link = self._switchboard.link(stream.remote_peer)
        self._switchboard.adopt(link, stream)
        await link.opened.wait()
        self._core.stream_reopened(link.peer)
        try:
            with FrameReader(stream, limit=self.config.max_rpc, memory=self.host.memory_of(link.peer)) as reader:
                while not link.queue.closed:
                    frames = await self._intake.read(link, reader)
                    await link.opened.wait()  # ours may have broken: until it is reopened, nothing could be answered
                    if stream not in link.inbound:
                        break
                    await self._intake.take(link, frames)
        except EndOfMessages:
            await self._intake.finish(link)  # our end tells the peer that all of it was taken
            await stream.aclose()
        except RemoteProtocolError as error:
            self._malformed += 1
            self.host.events.notify(MalformedRpc(link.peer, str(error)))
            stream.reset()
        except LimitExceeded:
            await self._intake.finish(link)
            raise  # the host resets the stream, and says so
        except BROKEN:
            await self._intake.finish(link)  # the link hears of it by itself
        finally:
            link.release(stream)

    def _hello(self) -> list[bytes]:
        return encode_subscriptions([Announcement(True, name) for name in self._topics])

    def _on_core_event(self, event: core_events.CoreEvent) -> None:
        match event:
            case core_events.PeerSubscribed(peer=peer, topic=name) if name in self._topics:
                self._topics[name].changed(PeerJoined(peer))
            case core_events.PeerUnsubscribed(peer=peer, topic=name) if name in self._topics:
                self._topics[name].changed(PeerLeft(peer))


def _put(link: Link, message: Message, receipt: Receipt) -> None:
    if link.queue.reason:
        receipt.settle(link.peer, Delivery(DeliveryState.DROPPED, link.queue.reason))
    elif link.queue.full:
        receipt.settle(link.peer, FULL)
    else:
        link.queue.put(message, receipt)
