"""Publish/subscribe for a host: the public API, which owns the router, the streams and the validation pipeline."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, overload

import trio

from peerstack.stack.abc import Stream
from peerstack.stack.addressing import AnyPeer, parse_peer
from peerstack.stack.background import SharedCheckpoint, require_trio
from peerstack.stack.errors import InvalidInput, LimitExceeded, RemoteProtocolError
from peerstack.stack.framing import EndOfMessages, FrameReader
from peerstack.stack.host import Host, Service, open_service
from peerstack.stack.host.arguments import check_kind, check_part
from peerstack.stack.identity import Identity, PeerId

from .api.arguments import check_buffer, check_direct, check_join, check_topic, check_validators, parse_when_full
from .api.codec import RAW, Codec, ValueT
from .api.config import PubsubConfig
from .api.events import MalformedRpc
from .api.joined_topic import JoinedTopic
from .api.local_topic import LocalTopic, PeerJoined, PeerLeft
from .api.receipt import Delivery, DeliveryState, Receipt
from .api.statistics import PeerStatistics, PubsubStatistics
from .api.subscription import PubsubMessage, Subscription, WhenFull
from .router import events as router_events
from .router.router import GossipsubRouter
from .scoring.score import ScoreSnapshot
from .streams.connections import PeerDialer, protect_direct
from .streams.peer_streams import BROKEN, PeerStreams
from .streams.peers import PubsubPeers
from .streams.read_lag import ReadLag
from .validation import signing
from .validation.failures import contain_application_score
from .validation.message_id import MessageIdFunction, id_of
from .validation.pipeline import ValidationPipeline
from .validation.sequence import SequenceNumbers
from .validation.validators import ValidationResult, Validator, run_all
from .wire import Message, encode_subscriptions
from .wire import Subscription as Announcement

FULL = Delivery(DeliveryState.DROPPED, "its queue is full, and the peer takes nothing")


@asynccontextmanager
async def open_pubsub(
    host: Host, config: PubsubConfig | None = None, *, direct: Iterable[PeerId] = (), seed: int | None = None
) -> AsyncIterator[Pubsub]:
    """Speak publish/subscribe with every peer of a host that does, until the block is left.

    Leaving the block waits until the peers have read what is queued (`PubsubConfig.close_timeout`). `direct` are
    peers that get every message whatever their score. `seed` makes the router's random choices repeatable, for
    simulations.
    """
    require_trio("open_pubsub")
    check_part(host, "the host that speaks pubsub", "handle", "open_stream", "observe")
    if config is not None:
        check_kind(config, "config", PubsubConfig)
    direct = check_direct(direct)
    if "pubsub" in host.services:
        raise InvalidInput("this host speaks pubsub already: open it once, and join as many topics as you like")
    async with open_service(host, "pubsub") as service:
        nursery = service.nursery
        pubsub = Pubsub(host, config or PubsubConfig(), nursery, direct=direct, random=random.Random(seed))
        pubsub.serve(service)
        with protect_direct(host, direct):
            nursery.start_soon(pubsub.run)
            try:
                yield pubsub
            finally:
                with trio.move_on_after(pubsub.config.close_timeout, shield=True):
                    await pubsub.drain()
                    await pubsub.close_streams()


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
        self._topics: dict[str, LocalTopic] = {}
        self._numbers = SequenceNumbers(time.time_ns())
        self._checkpoint = SharedCheckpoint()
        self._malformed = 0
        self._lags: set[ReadLag] = set()
        """How far the reading of each stream lags behind."""
        self._router = GossipsubRouter(
            host.peer_id,
            config.gossip,
            random=random,
            now=trio.current_time(),
            score=contain_application_score(config.score),
            gater=config.gater,
            direct=direct,
        )
        self._dialer = PeerDialer(host, direct)
        self._peers = PubsubPeers(
            host,
            self._router,
            config,
            nursery,
            dialer=self._dialer,
            hello=self._hello,
            on_event=self._on_router_event,
        )
        self._pipeline = ValidationPipeline(host, self._router, config, nursery, self._peers, self._topics)

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
    ) -> AbstractAsyncContextManager[JoinedTopic[bytes]]: ...

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
    ) -> AbstractAsyncContextManager[JoinedTopic[ValueT]]: ...

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
    ) -> AsyncIterator[JoinedTopic[Any]]:
        """Subscribe to a topic until the block is left, as `async with pubsub.join("news") as topic`.

        `codec` decodes payloads; a message that it cannot decode is rejected. `buffer` is how many messages may wait
        for the reader, and `when_full` what happens then. `validators` run on every message of the topic, for all
        readers here. `message_id` replaces the config's. `author` signs what is published here, in place of
        the host's identity. Raises InvalidInput for a name that is empty or too long, or if the topic is joined with
        another codec, message_id or author; TypeError for arguments of the wrong type; LimitExceeded for more topics
        than a peer keeps of us (`GossipConfig.max_topics_per_peer`): it would ignore the others silently.
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
            yield JoinedTopic(
                state,
                subscription,
                publish=self._publish,
                peers=lambda: self._router.topic_peers(topic),
                mesh=lambda: self._router.mesh(topic),
            )
        finally:
            subscription.close()
            state.subscriptions.remove(subscription)
            for validator in validators:
                state.validators.remove(validator)
            self._exit(state)

    def _enter(
        self, name: str, codec: Codec[Any] | None, message_id: MessageIdFunction | None, author: Identity | None
    ) -> LocalTopic:
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
        topic = LocalTopic(
            name,
            codec or RAW,
            message_id or self.config.message_id,
            author or self.host.identity,
            slots,
            max_behind=4 * concurrency,
        )
        self._topics[name] = topic
        self._router.join(name, trio.current_time())
        self._peers.announce(encode_subscriptions([Announcement(True, name)]))
        self._peers.flush()
        return topic

    def _exit(self, topic: LocalTopic) -> None:
        if topic.subscriptions:
            return
        del self._topics[topic.name]
        topic.failures.close()
        self._router.leave(topic.name, trio.current_time())
        self._peers.flush()
        self._peers.announce(encode_subscriptions([Announcement(False, topic.name)]))

    @property
    def topics(self) -> list[str]:
        """The topics joined."""
        return list(self._topics)

    def topic_peers(self, topic: str) -> list[PeerId]:
        """Return the connected peers that subscribe to a topic, joined here or not."""
        check_topic(topic)
        return self._router.topic_peers(topic)

    # ---- publishing

    async def publish(self, topic: str, data: bytes) -> Receipt:
        """Publish to a topic, joined or not, and return a receipt with the state of the message for each peer.

        Waits while the queue of a recipient is full, as long as that peer takes something, or no reader here is
        behind. Raises InvalidInput for a message that is too large or that our own validators do not accept within
        `validation_timeout`; TypeError for anything but bytes.
        """
        check_topic(topic)
        return await self._publish(topic, data)

    async def _publish(self, topic: str, data: bytes) -> Receipt:
        if type(data) is not bytes:
            data = RAW.encode(data)
        if len(data) > self.config.max_message:
            limit = self.config.max_message
            raise InvalidInput(f"a message of {len(data)} bytes is over the limit of {limit}; see PubsubConfig")
        state = self._topics.get(topic)
        message = self._make(topic, data, state.author if state else self.host.identity)
        message.id = id_of(message, state.message_id if state else self.config.message_id)
        if state is not None and state.validators:
            await self._run_own_validators(state, message)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
            await self._checkpoint.count(len(data))
        number = None if message.seqno is None else int.from_bytes(message.seqno, "big")
        receipt = Receipt(topic, message.id, number, len(data), self._router.unpublish, self.acknowledged)
        peers = self._router.publish(message, trio.current_time())
        self._peers.flush()
        receipt.repeated = peers is None
        # Peers with space in their queue come first: a slow peer delays no other, even if we are cancelled.
        for streams in self._queue(peers or (), message, receipt):
            await self._wait_space(streams)
            _enqueue(streams, message, receipt)
        return receipt

    async def _wait_space(self, streams: PeerStreams) -> None:
        """Wait until there is space in the queue of a peer; not for one that takes nothing, if that may be our fault.

        While a reader here is behind, nothing more is read from the network, and two peers that wait for each other
        to read would wait for ever. So then, and for a peer that has stalled before, publishing is as patient as
        forwarding.
        """
        queue, patience = streams.queue, self.config.queues.forward_patience
        while queue.full and not queue.reason:
            patient = not streams.stalled and not any(topic.full for topic in self._topics.values())
            if not patient and queue.stuck_for(trio.current_time()) >= patience:
                return
            with trio.move_on_after(patience):
                await queue.wait_space()

    def _queue(self, peers: Iterable[PeerId], message: Message, receipt: Receipt) -> list[PeerStreams]:
        """Queue a message for peers; return those whose queue is full."""
        full: list[PeerStreams] = []
        for peer in peers:
            streams = self._peers.streams.get(peer)
            if streams is None:
                receipt.settle(peer, Delivery(DeliveryState.DROPPED, "the connection is gone"))
            elif streams.queue.full:
                full.append(streams)
            else:
                _enqueue(streams, message, receipt)
        return full

    def _make(self, topic: str, data: bytes, author: Identity) -> Message:
        if self.config.signatures.signs:
            return signing.sign(author, topic, data, self._numbers.take())
        return signing.make_anonymous(topic, data)

    async def _run_own_validators(self, topic: LocalTopic, message: Message) -> None:
        seqno = None if message.seqno is None else int.from_bytes(message.seqno, "big")
        accepted = False
        try:
            value = topic.codec.decode(message.data)
            me = topic.author.peer_id if message.author is not None else None
            mine = PubsubMessage(topic.name, message.data, value, me, seqno, None, message.id)
            says = f"gave no result for this message within {self.config.validation_timeout:g} s (validation_timeout)"
            with trio.move_on_after(self.config.validation_timeout):
                result = await run_all(topic.validators, mine, topic.failures)
                says, accepted = f"says {result} to this message", result is ValidationResult.ACCEPT
            if not accepted:
                raise InvalidInput(f"a validator of {topic.name!r} {says}")
        finally:
            if not accepted and seqno is not None:
                self._numbers.give_back(seqno)

    async def acknowledged(self, peer: AnyPeer) -> bool:
        """Wait until the host of a peer has received what was sent to it so far; False if that cannot be known.

        It says no more than that; see `Receipt.wait_acknowledged`.
        """
        return await self._peers.acknowledged(parse_peer(peer))

    async def drain(self) -> None:
        """Wait until the connections have taken everything that is queued."""
        await self._peers.drain()

    async def close_streams(self) -> None:
        """Send nothing more, and wait briefly until the peers have read what was sent; `open_pubsub` calls it."""
        await self._peers.close_streams()

    # ---- inspection

    def score(self, peer: AnyPeer) -> float:
        """Return the score of a peer; below 0 it is in no mesh."""
        return self._router.score(parse_peer(peer))

    def score_snapshot(self, peer: AnyPeer) -> ScoreSnapshot | None:
        """Return the parts of a peer's score; None if it is not scored."""
        return self._router.score_snapshot(parse_peer(peer))

    def statistics(self) -> PubsubStatistics:
        """Return a snapshot."""
        open_streams = {peer: streams for peer, streams in self._peers.streams.items() if streams.opened.is_set()}
        return PubsubStatistics(
            peers={str(peer): self._peer_statistics(streams) for peer, streams in open_streams.items()},
            topics={name: tuple(str(peer) for peer in self._router.mesh(name)) for name in self._topics},
            rejected=dict(self._pipeline.rejected),
            ignored=dict(self._pipeline.ignored),
            dropped=dict(self._peers.dropped),
            malformed=self._malformed,
            counts=self._router.counts(),
            skipped=self._pipeline.sequences.skipped,
            closed=self._pipeline.sequences.closed,
            streams=dict(self._peers.counts),
            entries_received=self._pipeline.rpc_counts.as_dict(),
            entries_sent=self._peers.rpc_counts.as_dict(),
        )

    def _peer_statistics(self, streams: PeerStreams) -> PeerStatistics:
        queue = streams.queue
        score = self._router.score(streams.peer)
        refused = self._router.topics_refused(streams.peer)
        return PeerStatistics(
            streams.protocol, len(queue), queue.size, streams.forward_dropped, score, streams.offence, refused
        )

    # ---- running

    def serve(self, service: Service) -> None:
        """Serve the streams of peers until the service is closed."""
        service.observe(self._peers)
        for protocol in self._peers.protocols:
            service.handle(protocol, self._serve)
        for peer in self.host.peers:
            if self.host.peerstore.supports(peer, *self._peers.protocols):
                self._peers.streams_to(peer)

    async def run(self) -> None:
        """Run the heartbeat and the dialer until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dialer.run)
            nursery.start_soon(self._run_heartbeat)

    async def _run_heartbeat(self) -> None:
        while True:
            await trio.sleep_until(self._router.next_deadline())
            now = trio.current_time()
            self._router.set_lag(now - min((lag.oldest_unread(now) for lag in self._lags), default=now))
            self._router.handle_deadline(now)
            self._pipeline.abandon_overdue(now)
            self._peers.flush()

    async def _serve(self, stream: Stream) -> None:
        """Read the RPCs of one peer."""
        streams = self._peers.streams_to(stream.remote_peer)
        self._peers.adopt(streams, stream)
        await streams.opened.wait()
        self._router.stream_reopened(streams.peer)
        lag = ReadLag(trio.current_time())
        self._lags.add(lag)
        try:
            with FrameReader(stream, limit=self.config.max_rpc, memory=self.host.memory_of(streams.peer)) as reader:
                while not streams.queue.closed:
                    lag.begin_read(trio.current_time())
                    frames = await self._pipeline.read_frames(streams, reader)
                    lag.end_read(trio.current_time(), frames)
                    await streams.opened.wait()  # ours may have broken: until it is reopened, nothing could be answered
                    if stream not in streams.inbound:
                        break
                    await self._pipeline.handle_frames(streams, frames, lag.sent_after)
        except EndOfMessages:
            await self._pipeline.wait_validated(streams)  # closing our end tells the peer that all of it was read
            await stream.aclose()
        except RemoteProtocolError as error:
            self._malformed += 1
            self.host.events.notify(MalformedRpc(streams.peer, str(error)))
            stream.reset()
        except LimitExceeded:
            await self._pipeline.wait_validated(streams)
            raise  # the host resets the stream, and says so
        except BROKEN:
            await self._pipeline.wait_validated(streams)  # `PubsubPeers` notices by itself
        finally:
            self._lags.discard(lag)
            streams.release(stream)

    def _hello(self) -> list[bytes]:
        return encode_subscriptions([Announcement(True, name) for name in self._topics])

    def _on_router_event(self, event: router_events.RouterEvent) -> None:
        match event:
            case router_events.PeerSubscribed(peer=peer, topic=name) if name in self._topics:
                self._topics[name].notify(PeerJoined(peer))
            case router_events.PeerUnsubscribed(peer=peer, topic=name) if name in self._topics:
                self._topics[name].notify(PeerLeft(peer))


def _enqueue(streams: PeerStreams, message: Message, receipt: Receipt) -> None:
    if streams.queue.reason:
        receipt.settle(streams.peer, Delivery(DeliveryState.DROPPED, streams.queue.reason))
    elif streams.queue.full:
        receipt.settle(streams.peer, FULL)
    else:
        streams.queue.put(message, receipt)
