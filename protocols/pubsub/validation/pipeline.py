"""The path of received RPCs: decoded, checked, validated, delivered here and forwarded."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import trio

from peerstack.stack.background import contained
from peerstack.stack.errors import LimitExceeded, RemoteProtocolError
from peerstack.stack.framing import SMALL, FrameReader
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

from ..api.codec import RAW
from ..api.config import PubsubConfig
from ..api.events import MessageRejected
from ..api.local_topic import DeliverySlot, LocalTopic
from ..api.statistics import RpcCounts
from ..api.subscription import PubsubMessage
from ..router.events import AcceptStatus
from ..router.router import GossipsubRouter
from ..streams.peer_streams import PeerStreams
from ..streams.peers import PubsubPeers
from ..wire import Message, Rpc, decode_rpc
from . import signing
from .failures import Failures
from .message_id import NUMBERED, id_of
from .sequence import IN_ORDER, SequenceTracker
from .signing import InvalidMessage, RejectReason, SignaturePolicy
from .validators import PendingResult, ValidationResult, decode, run

GRACE: Final = 1.0
"""Seconds that a validator has to end after it was cancelled; then its message is ignored without waiting for it."""


@dataclass(slots=True, eq=False)
class MessageBatch:
    """The messages that one read of a stream completed."""

    streams: PeerStreams
    messages: list[Message]
    held: int
    """Bytes of memory reserved for those that are held nowhere else."""
    sent_after: float
    """When they were sent, at the earliest."""

    def take(self, message: Message) -> int:
        """Return the bytes reserved for a message that outlives the batch; its holder frees them."""
        size = min(self.held, len(message.encoded))
        self.held -= size
        return size


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
    sent_after: float
    """When it was sent, at the earliest."""
    overdue: bool = False
    """Whether it was abandoned."""


class ValidationPipeline:
    """Validates what peers send. Its counterpart in go-libp2p-pubsub is `validation`."""

    def __init__(
        self,
        host: Host,
        router: GossipsubRouter,
        config: PubsubConfig,
        nursery: trio.Nursery,
        peers: PubsubPeers,
        topics: Mapping[str, LocalTopic],
    ) -> None:
        self._host = host
        self._router = router
        self._config = config
        self._nursery = nursery
        self._peers = peers
        self._topics = topics
        self.sequences = SequenceTracker()
        """Which numbers of each author came."""
        self._async_validations: dict[AsyncValidation, None] = {}
        """Messages in asynchronous validators, the oldest first."""
        self._stale_after = config.gossip.seen_ttl / 2
        """Seconds: what may be older is not passed on. Half of the time is left to the way and to other settings."""
        self._bugs = Failures("pubsub", "what was being validated is ignored")
        self._freed = trio.lowlevel.ParkingLot()
        self.rejected: Counter[str] = Counter()
        """Messages rejected, by reason."""
        self.ignored: Counter[str] = Counter()
        """Messages ignored, by reason."""
        self.rpc_counts = RpcCounts()
        """What peers sent."""

    async def handle_frames(self, streams: PeerStreams, frames: Sequence[bytes], sent_after: float = inf) -> None:
        """Handle the RPCs that one read of a stream completed, which were sent at `sent_after` or later.

        Raises RemoteProtocolError for what is no RPC, and LimitExceeded if they may not be held in memory.
        """
        size = sum(map(len, frames))
        batch = MessageBatch(streams, [], await self._hold(streams, size) if size > SMALL else 0, sent_after)
        now = trio.current_time()
        try:
            for data in frames:
                rpc = decode_rpc(data, self._config.limits)
                if now - sent_after > self._stale_after:
                    rpc.ihave = []  # the peer has none of it any more, and would be charged with a broken promise
                batch.messages += self._handle_rpc(streams.peer, rpc, now)
        except RemoteProtocolError:
            self._router.misbehaved(streams.peer, "what it sent was no RPC")
            raise
        finally:
            # Even if the last frame is malformed, those before it count.
            self._peers.flush()
            if batch.messages:
                await self._start(batch)
            else:
                self._free(streams, batch.held)

    async def read_frames(self, streams: PeerStreams, reader: FrameReader) -> list[bytes]:
        """Return what comes next from one stream of a peer; raises as the reader does."""
        while True:
            try:
                return await reader.receive()
            except LimitExceeded as error:
                await self._wait_freed(streams, error)

    async def _hold(self, streams: PeerStreams, size: int) -> int:
        """Count bytes that are held for a peer."""
        if streams.memory is None:
            streams.memory = self._host.memory_of(streams.peer)
        while True:
            try:
                streams.memory.hold(size)
            except LimitExceeded as error:
                await self._wait_freed(streams, error)
            else:
                return size

    async def _wait_freed(self, streams: PeerStreams, error: LimitExceeded) -> None:
        """Wait until other messages of the peer are validated; if there are none, raise the error."""
        if streams.memory is None or not streams.memory.held:
            raise error
        await self._freed.park()

    def _free(self, streams: PeerStreams, size: int) -> None:
        if streams.memory is not None and size:
            streams.memory.free(size)
            self._freed.unpark_all()

    async def wait_validated(self, streams: PeerStreams) -> None:
        """Wait until everything that a peer has sent so far is validated."""
        while streams.validating:
            await streams.validating[-1].wait()

    def _handle_rpc(self, peer: PeerId, rpc: Rpc, now: float) -> list[Message]:
        self.rpc_counts.count(rpc)
        if rpc.messages:
            allow = self._router.accept_from(peer, now)
            rpc.messages = self._filter(peer, rpc.messages, now) if allow is AcceptStatus.ALL else []
        return self._router.receive(peer, rpc, now)

    def _filter(self, peer: PeerId, messages: list[Message], now: float) -> list[Message]:
        """Return the messages that pass the cheap checks, with their ids."""
        found: list[Message] = []
        pending = iter(messages)

        def failed(error: Exception) -> None:
            topic = self._topics.get(message.topic)
            (topic.failures if topic is not None else self._bugs).report("the message_id function", error)
            message.id = b""
            self._ignore(message, RejectReason.VALIDATION_IGNORED, now)

        policy, me = self._config.signatures, self._host.peer_id
        while True:
            with contained(failed):  # one block for many messages: one for each would cost too much
                for message in pending:
                    message.source = peer
                    topic = self._topics.get(message.topic)
                    if topic is None:
                        self.ignored["not subscribed"] += 1
                    elif self._check(message, policy, me, now):
                        message.id = id_of(message, topic.message_id)
                        found.append(message)
                return found

    def _check(self, message: Message, policy: SignaturePolicy, me: PeerId, now: float) -> bool:
        try:
            signing.check(message, policy, me)
            if len(message.data) > self._config.max_message:
                raise InvalidMessage(RejectReason.TOO_LARGE)
        except InvalidMessage as error:
            message.id = b""
            # Honest peers return our own messages after a restart with the same identity.
            settle = self._ignore if error.reason is RejectReason.SELF_ORIGIN else self._reject
            settle(message, error.reason, now)
            return False
        return True

    # ---- validation

    async def _start(self, batch: MessageBatch) -> None:
        """Validate messages now, or in the background if a thread verifies them; two batches of a peer at most."""
        streams = batch.streams
        if not streams.validating and not self._worth_a_thread(batch.messages):
            try:
                await self._validate(batch)
                await self._wait_for_slow(batch.messages)
            finally:
                self._free(streams, batch.held)
            return
        before, done = streams.validating[-1] if streams.validating else None, trio.Event()
        streams.validating.append(done)
        self._nursery.start_soon(self._validate_in_background, batch, before, done)
        if before is not None:
            await before.wait()

    async def _validate_in_background(self, batch: MessageBatch, before: trio.Event | None, done: trio.Event) -> None:
        try:
            with self._bugs.contained("the validation"):
                await self._validate(batch, before)
                await self._wait_for_slow(batch.messages)
        finally:
            self._free(batch.streams, batch.held)
            batch.streams.validating.remove(done)
            done.set()

    async def _validate(self, batch: MessageBatch, before: trio.Event | None = None) -> None:
        """Validate every message, or start an asynchronous validator, after the batch `before`.

        When cancelled, it leaves nothing pending in the router.
        """
        messages = batch.messages
        waiting = deque(messages)
        try:
            reasons = await self._verify(messages)
            if before is not None:
                await before.wait()
            now = trio.current_time()
            for message, reason in zip(messages, reasons, strict=True):
                topic = self._topics.get(message.topic)
                if reason is not None:
                    self._reject(message, reason, now)
                elif topic is None:
                    self._ignore(message, RejectReason.VALIDATION_THROTTLED, now)
                else:
                    await self._decode_and_validate(topic, message, now, batch)
                waiting.popleft()
        finally:
            for message in waiting:
                self._ignore(message, RejectReason.VALIDATION_THROTTLED, trio.current_time())
            self._peers.flush()

    def _worth_a_thread(self, messages: list[Message]) -> bool:
        least = self._config.thread_from
        return least is not None and len(messages) >= least and self._signed(messages) and signing.releases_the_gil()

    def _signed(self, messages: list[Message]) -> bool:
        return messages[0].signature is not None or self._config.signatures.signs

    async def _verify(self, messages: list[Message]) -> Sequence[RejectReason | None]:
        """Verify the signatures of a batch, in a worker thread where it is worth it."""
        if not self._signed(messages):
            return [None] * len(messages)
        if self._worth_a_thread(messages):
            return await trio.to_thread.run_sync(signing.verify_batch, messages)
        return signing.verify_batch(messages)

    async def _decode_and_validate(self, topic: LocalTopic, message: Message, now: float, batch: MessageBatch) -> None:
        result, value = ValidationResult.ACCEPT, message.data
        if topic.codec is not RAW:
            result, value = decode(topic.codec, message.data, topic.failures)
        if result is ValidationResult.REJECT:
            self._reject(message, RejectReason.UNDECODABLE, now)
        elif result is ValidationResult.IGNORE:
            self._ignore(message, RejectReason.VALIDATION_IGNORED, now)
        elif (received := self._received(topic, message, value)) is None:
            self._ignore(message, RejectReason.REPEATED, now)
        else:
            await self._run_validators(topic, message, received, now, batch)

    async def _run_validators(
        self, topic: LocalTopic, message: Message, received: PubsubMessage[Any], now: float, batch: MessageBatch
    ) -> None:
        slots, held = topic.validation_slots, False
        if topic.validators and not slots.value:
            # Before any validator runs: one that is started must have a slot to wait in.
            await slots.acquire()
            held, now = True, trio.current_time()
        if topic.overdue >= self._config.validation_concurrency:
            # Validators that do not end when cancelled would fill the memory one by one.
            if held:
                slots.release()
            self._drop(message, RejectReason.VALIDATION_THROTTLED, now)
            return
        answer = run(topic.validators, received, topic.failures) if topic.validators else ValidationResult.ACCEPT
        if isinstance(answer, ValidationResult):
            if held:
                slots.release()
            if self._apply(topic, message, answer, now, batch.sent_after):
                topic.deliver(received)
            return
        if not held:
            slots.acquire_nowait()
        ends = now + self._config.validation_timeout
        slot, size = topic.reserve(received), batch.take(message)
        waiting = AsyncValidation(topic, slot, received, message, ends, batch.streams, size, batch.sent_after)
        self._async_validations[waiting] = None
        self._nursery.start_soon(self._wait_for_result, waiting, answer)

    async def _wait_for_result(self, waiting: AsyncValidation, pending: PendingResult) -> None:
        result: ValidationResult | None = None
        try:
            with trio.move_on_at(waiting.ends) as scope, self._bugs.contained("the validation"):
                result = await pending()
            if scope.cancel_called:
                result = None  # a validator that swallowed the cancellation is too late
            with self._bugs.contained("the validation"):
                self._end(waiting, result, trio.current_time())
        finally:
            self._release(waiting)

    def _end(self, waiting: AsyncValidation, result: ValidationResult | None, now: float) -> None:
        """Apply the result of an asynchronous validator, unless it was abandoned."""
        if waiting not in self._async_validations:
            return
        accepted = False
        try:
            if result is None:
                self._drop(waiting.message, RejectReason.VALIDATION_TIMED_OUT, now)
            else:
                accepted = self._apply(waiting.topic, waiting.message, result, now, waiting.sent_after)
            self._peers.flush()
        finally:
            self._leave(waiting, accepted=accepted)

    def _leave(self, waiting: AsyncValidation, *, accepted: bool) -> None:
        del self._async_validations[waiting]
        waiting.topic.settle(waiting.slot, waiting.received if accepted else None)
        waiting.topic.validation_slots.release()
        self._free(waiting.streams, waiting.held)

    def _release(self, waiting: AsyncValidation) -> None:
        """Note that a validator has ended."""
        if waiting in self._async_validations:
            self._leave(waiting, accepted=False)  # it was cancelled with all of pubsub
        elif waiting.overdue:
            waiting.topic.overdue -= 1

    def abandon_overdue(self, now: float) -> None:
        """Ignore the messages of validators that have not ended although they were cancelled."""
        for waiting in list(self._async_validations):
            if waiting.ends + GRACE > now:
                break
            waiting.overdue = True
            waiting.topic.overdue += 1
            waiting.topic.failures.report("a validator", TimeoutError("it did not end when it was cancelled"))
            with self._bugs.contained("the validation"):
                self._end(waiting, None, now)

    def _apply(
        self, topic: LocalTopic, message: Message, result: ValidationResult, now: float, sent_after: float
    ) -> bool:
        """Apply a validation result; return whether to deliver the message."""
        match result:
            case ValidationResult.ACCEPT if self._router.knows(message.id):
                # Another message with the same id was faster.
                self._ignore(message, RejectReason.VALIDATION_IGNORED, now)
            case ValidationResult.ACCEPT:
                stale = now - sent_after > self._stale_after and not _numbered(topic, message)
                peers = self._router.accept(message, now, stale=stale)
                self._peers.forward(message, peers, now)
                return True
            case ValidationResult.IGNORE:
                self._ignore(message, RejectReason.VALIDATION_IGNORED, now)
            case ValidationResult.REJECT:
                self._reject(message, RejectReason.VALIDATION_FAILED, now)
        return False

    def _reject(self, message: Message, reason: RejectReason, now: float) -> None:
        self.rejected[reason] += 1
        self._router.reject(message, reason, now)
        if message.source is not None:
            self._peers.note_offence(message.source, reason)
            self._host.events.notify(MessageRejected(message.source, message.topic, reason))

    def _ignore(self, message: Message, reason: RejectReason, now: float) -> None:
        self.ignored[reason] += 1
        self._router.ignore(message, reason, now)

    def _received(self, topic: LocalTopic, message: Message, value: object) -> PubsubMessage[Any] | None:
        """Return a message as readers get it, or None if its author's number says that it came before."""
        place, author, seqno = IN_ORDER, None, None
        if message.author is not None:
            author = signing.author_of(message.author)
            if message.seqno is not None:
                seqno = int.from_bytes(message.seqno, "big")
                place = self.sequences.place(message.author, seqno)
                if place.repeated and _numbered(topic, message):
                    return None
        return PubsubMessage(
            message.topic,
            message.data,
            value,
            author,
            seqno,
            message.source,
            message.id,
            place.gap,
            place.late,
            place.closes,
            fetched=self._router.was_asked(message.id),
        )

    def _drop(self, message: Message, reason: RejectReason, now: float) -> None:
        """Ignore a message that may come again, and forget its sequence number."""
        if message.author is not None and message.seqno is not None:
            self.sequences.forget(message.author, int.from_bytes(message.seqno, "big"))
        self._ignore(message, reason, now)

    # ---- back-pressure

    async def _wait_for_slow(self, messages: Sequence[Message]) -> None:
        """Wait for slow readers, and for peers with full queues that messages were forwarded to."""
        if not messages:
            return
        for name in dict.fromkeys(message.topic for message in messages):
            topic = self._topics.get(name)
            if topic is not None and topic.full:
                await topic.wait_space()
        await self._peers.wait_space()


def _numbered(topic: LocalTopic, message: Message) -> bool:
    """Return whether all know a copy of the message by its author's number, however late it comes."""
    return message.author is not None and message.seqno is not None and topic.message_id in NUMBERED
