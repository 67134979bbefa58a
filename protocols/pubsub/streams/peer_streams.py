"""The streams between us and one peer: our outbound one, and the peer's inbound ones."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from math import inf
from typing import Final

import trio

from peerstack.stack.abc import ConnectionState, Stream
from peerstack.stack.background import SharedWait, open_background
from peerstack.stack.errors import StackError
from peerstack.stack.identity import PeerId
from peerstack.stack.limits import MemoryAccount

from ..api.config import QueueConfig
from ..api.statistics import RpcCounts
from .pacing import Pace
from .send_queue import MAX_TAKEN, Batch, SendQueue

BROKEN = (StackError, trio.BrokenResourceError, trio.ClosedResourceError)
RECOVERY_BYTES: Final = 1 << 20
"""Bytes that a stalled peer must take before publishers wait for it again."""
HALF_CLOSED: Final = 1.0
"""Seconds after the opening in which a peer that only reads may end the direction that it does not need."""
MOVED: Final = "a direct connection to the peer has come"
"""Why a stream over a relayed connection is over."""
MAX_INBOUND: Final = 4
"""Streams of one peer that are read at the same time; of more the oldest is reset."""


class PeerStreams:
    """The outbound stream to a peer with its queue, and the inbound streams of that peer."""

    def __init__(self, peer: PeerId, queue: SendQueue, config: QueueConfig, rpc_counts: RpcCounts) -> None:
        self.peer = peer
        self.queue = queue
        self.stream: Stream | None = None
        """Our stream, while it is open."""
        self._acknowledge: SharedWait | None = None
        """Waits until the peer's host has what was sent on our stream: one question at a time for all waiting tasks."""
        self.pace: Pace | None = None
        """How fast messages go, where the peer has short queues."""
        self.protocol = ""
        """The protocol id of our stream, once it is open."""
        self.opened = trio.Event()
        """Set while the router knows the peer, and when it never will again: look at `queue.closed`."""
        self.retry_now = trio.Event()
        """Set when our stream should be opened again without waiting longer."""
        self.stalled = False
        """Whether it once took nothing for too long, and has not taken much since: publishers do not wait for it."""
        self.direct_arrived = False
        """Whether there is a direct connection, of which the stream that is open or being opened may not know."""
        self.failures = 0
        """How often in a row our stream broke, or could not be opened."""
        self.topics: list[str] = []
        """What the peer subscribes to, kept while our stream is reopened: on its own it has said so already."""
        self.forward_dropped = 0
        """Messages not passed on, since the queue was full."""
        self.offence = ""
        """Its last offence."""
        self.inbound: list[Stream] = []
        """The peer's streams, the oldest first."""
        self.memory: MemoryAccount | None = None
        """What is held of the peer's messages, once there was one worth counting."""
        self.validating: deque[trio.Event] = deque()
        """Batches of messages from the peer under validation, each set when done; the oldest first."""
        self.published_at = -inf
        """When a message was last sent, on trio's clock."""
        self.read_to_end = trio.Event()
        """Set when the peer has read our stream to its end, or never will."""
        self._released = trio.lowlevel.ParkingLot()
        self._config = config
        self._rpc_counts = rpc_counts

    def adopt(self, stream: Stream) -> None:
        """Add an inbound stream.

        One is enough, but after both have dialed rust-libp2p opens one on each connection and sends on both, and some
        forget what we subscribe to as soon as any of their streams is reset.
        """
        if not self.inbound:
            self.topics = []  # the peer starts over, and announces its subscriptions again
        self.inbound.append(stream)
        if len(self.inbound) > MAX_INBOUND:
            self.inbound.pop(0).reset()
        self.retry_now.set()

    def release(self, stream: Stream) -> None:
        """Remove an inbound stream."""
        if stream in self.inbound:
            self.inbound.remove(stream)
            self._released.unpark_all()

    def reset_inbound(self) -> None:
        """Reset all inbound streams: the peer will open another, and announce its subscriptions again."""
        waiting, self.opened = self.opened, trio.Event()
        for stream in self.inbound:
            stream.reset()
        self.inbound.clear()
        self._released.unpark_all()
        waiting.set()

    def prefer_direct(self) -> None:
        """Open our stream again between two batches, if it goes through a relay: a direct connection has come."""
        self.direct_arrived = True
        self.queue.rouse()

    async def wait_inbound_read(self) -> None:
        """Wait until the inbound streams that are open now have been read to their end."""
        streams = tuple(self.inbound)
        while any(stream in self.inbound for stream in streams):
            await self._released.park()

    async def send(self, stream: Stream) -> str:
        """Send what is queued until the stream breaks or the queue takes nothing more; return why it is over."""
        reason = ""
        self.stream = stream
        self._acknowledge = SharedWait(stream.connection.wait_acknowledged)
        self.read_to_end = read_to_end = trio.Event()
        try:
            with trio.CancelScope() as scope:
                async with open_background() as nursery:

                    async def watch() -> None:
                        nonlocal reason
                        reason = await self._watch(stream, read_to_end)
                        scope.cancel()

                    nursery.start_soon(watch)
                    return await self._send_queued(stream)
            return reason
        finally:
            self.stream = None
            read_to_end.set()

    async def acknowledged(self) -> bool:
        """Wait until the peer's host has received what was sent on our stream; False if that cannot be known."""
        stream, acknowledge = self.stream, self._acknowledge
        if stream is None or acknowledge is None:
            await trio.lowlevel.checkpoint()
            return False
        try:
            await acknowledge()
        except BROKEN:
            return False
        return self.stream is stream

    async def _wait_work(self, stream: Stream) -> str:
        """Wait until there is something to send and the connection is known to be alive; return why the stream is over.

        What a dead connection takes is lost. What waits is sent on another one, once the dead one is closed.
        """
        await self.queue.wait_work()
        if self.direct_arrived:
            self.direct_arrived = False
            if stream.connection.info.relay is not None:
                return MOVED
        try:
            if stream.connection.state is ConnectionState.SUSPECTED:
                await stream.connection.probe()
        except BROKEN as error:
            return _broken(error)
        return self.queue.reason

    async def _send_queued(self, stream: Stream) -> str:
        queue, taken = self.queue, 0
        while True:
            if reason := await self._wait_work(stream):
                self.stalled = self.stalled or (bool(queue.reason) and not queue.closed)  # too much control
                return reason
            if queue.ended:
                with suppress(*BROKEN):
                    await stream.send_eof()
                await trio.sleep_forever()  # until the watcher sees that the peer has broken the stream or we are gone
            most = MAX_TAKEN
            if self.pace is not None and len(queue):
                most = self.pace.allowed(trio.current_time())
                if not most and not queue.urgent:
                    await trio.sleep(self.pace.pause(len(queue)))
                    continue
            batch = queue.take(most)
            if self.pace is not None:
                self.pace.spend(len(batch.entries))
            failure = await self._send(stream, batch)
            if failure:
                return failure
            taken += len(batch.data)
            if taken > RECOVERY_BYTES:
                self.stalled = False

    async def _send(self, stream: Stream, batch: Batch) -> str:
        """Send a batch; return what went wrong."""
        sent = False
        try:
            with trio.move_on_after(self._config.stall_timeout):
                if batch.data:
                    await stream.send_all(batch.data)
                sent = True
        except BROKEN as error:
            return _broken(error)
        finally:
            if sent:
                self.queue.settle(batch)
                self._rpc_counts.publish += len(batch.entries)
                if batch.entries:
                    self.published_at = trio.current_time()
            else:
                self.queue.fail(batch)
        if sent:
            return ""
        failure = f"the peer took nothing for {self._config.stall_timeout:g} s"
        self.stalled = True
        self.queue.shut(failure)  # nothing of it is sent again, nor waited for
        stream.reset()
        return failure

    async def _watch(self, stream: Stream, read_to_end: trio.Event) -> str:
        """Wait until our own stream ends, and return why: nothing else notices while there is nothing to send.

        The peer ends its direction, in which nothing is sent, when it has read ours to the end. Before that it means
        that the peer reads no more, unless it does so at once: some end the direction that they do not need.
        """
        opened_at = trio.current_time()
        try:
            while await stream.receive_some(4096):
                pass  # nothing belongs here; it is discarded
            if self.queue.ending or trio.current_time() - opened_at < HALF_CLOSED:
                read_to_end.set()
                await trio.sleep_forever()
            return "the peer closed our stream"
        except BROKEN as error:
            return _broken(error)


def _broken(error: Exception) -> str:
    return str(error) or "the stream broke"
