"""The queue of control and messages to one peer, and the messages that a broken stream may have lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import trio

from peerstack.stack.background import Waiter
from peerstack.stack.identity import PeerId

from ..api.config import QueueConfig
from ..api.receipt import NOT_NEEDED, QUEUED, SENT, Delivery, DeliveryState, Receipt
from ..wire import Message, join_frames

BATCH = 256 * 1024
"""Bytes handed to the stream at once: enough that the cost of a wake-up is shared by many messages."""

MAX_CONTROL_FRAME = 15 * 1024
"""Bytes of control in one frame: rust-libp2p gives up a stream with more than 16 KiB."""
CONTROL_TAG = 0x1A
"""The first byte of a `control` field."""
MAX_MESSAGES_FRAME = 500
"""Messages in one frame: rust-libp2p gives up a stream with more."""
MAX_TAKEN = 1 << 20
"""Messages in one batch, where nothing else bounds it."""
GATHER_CHECKPOINTS = 4
"""Checkpoints in which other tasks may add to a batch before it is sent: half a millisecond each while they publish."""

Wanted = Callable[[Message], bool]


MAX_RECENT = 4 << 20
"""Bytes of messages kept for a while after the connection took them, in case the stream breaks before they are read."""
DOUBT_AGE = 60.0
"""Seconds after which the end of a connection makes no message uncertain: a dead one is noticed before that."""
RESEND_AGE = 30.0
"""Seconds after which a message is not sent again on a new stream: others forget in 60 s that they have seen it."""
LEARNED_FOR = 600.0
"""Seconds that a peer's limit, as broken streams told it, is believed."""

Entry = tuple[Message, "Receipt | None"]


@dataclass(slots=True)
class Batch:
    """What goes out at once."""

    data: bytes
    entries: list[Entry]


class SendQueue:
    """Control messages and messages for one peer; control goes first, since it is small and urgent.

    `full` is where publishing waits. A little more than that may be put in: a reader puts in what one wake-up brought
    and waits only then. The queue outlives the stream: `begin` starts a new one, with what the old may have lost.
    """

    def __init__(self, peer: PeerId, config: QueueConfig, *, max_frame: int, max_rpc: int, wanted: Wanted) -> None:
        self.peer = peer
        self.reason = ""
        """Why nothing is taken, now or for good."""
        self.closed = False
        """Whether nothing is taken any more."""
        self.paused = False
        """Whether there is no stream to send on at the moment."""
        self._since = 0.0
        """When the batch that is being sent was taken, or the stream broke, on trio's clock."""
        self._config = config
        self._max_frame = max_frame
        self._max_rpc = self._limit = max_rpc
        self._limit_until = -inf
        self._wanted = wanted
        self._control: list[bytes] = []
        self._control_bytes = 0
        self._messages: deque[Entry] = deque()
        self._bytes = 0
        self._recent: deque[tuple[float, int, list[Entry]]] = deque()
        """When batches were taken, the bytes of their messages, and the messages; the oldest first."""
        self._recent_bytes = 0
        self._resent: dict[bytes, float] = {}
        """When those messages were first sent, by id, that are sent again."""
        self._work = Waiter()
        self._space = trio.lowlevel.ParkingLot()
        self._idle = trio.lowlevel.ParkingLot()
        self._sending = False
        self._ending = False
        self._roused = False

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    @property
    def size(self) -> int:
        """Bytes of messages that wait."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether publishers have to wait."""
        return len(self._messages) >= self._config.max_messages or self._bytes >= self._config.max_bytes

    @property
    def overfull(self) -> bool:
        """Whether even the reserve for forwarded messages is used up."""
        return len(self._messages) >= 2 * self._config.max_messages or self._bytes >= 2 * self._config.max_bytes

    @property
    def busy(self) -> bool:
        """Whether something waits, or is being sent."""
        return bool(self._messages or self._control or self._sending)

    @property
    def urgent(self) -> bool:
        """Whether control messages wait."""
        return bool(self._control)

    @property
    def ending(self) -> bool:
        """Whether `end` was called."""
        return self._ending

    @property
    def ended(self) -> bool:
        """Whether nothing waits, and `end` was called."""
        return self._ending and not (self._control or self._messages)

    def stuck_for(self, now: float) -> float:
        """Return for how long the peer has taken nothing of what is to be sent."""
        return now - self._since if self._sending or self.paused else 0.0

    # ---- putting in

    def put(self, message: Message, receipt: Receipt | None = None) -> bool:
        """Queue a message, unless the peer reads none of that size. Look at `reason` and `full` before."""
        entry = message.entry
        if len(entry) > self._limit and self._refuses(len(entry)):
            if receipt is not None:
                receipt.settle(self.peer, self._too_large(len(entry)))
            return False
        self._messages.append((message, receipt))
        self._bytes += len(entry)
        if receipt is not None:
            receipt.settle(self.peer, QUEUED)
        self._work.wake()
        return True

    def _refuses(self, size: int) -> bool:
        if trio.current_time() >= self._limit_until:
            self._limit = self._max_rpc
        return size > self._limit

    def _too_large(self, size: int) -> Delivery:
        known = "its streams broke at that size" if self._limit < self._max_rpc else "the limit of most for one RPC"
        reason = f"its RPC has {size} bytes, more than the {self._limit} that the peer reads: {known}"
        return Delivery(DeliveryState.DROPPED, reason)

    def put_control(self, parts: Sequence[bytes]) -> None:
        """Queue fields of an RPC that are no messages."""
        if self.reason:
            return
        self._control += parts
        self._control_bytes += sum(map(len, parts))
        if self._control_bytes > self._config.max_control:
            self.shut("the peer does not read: too many control messages wait for it")
        self._work.wake()

    def end(self) -> None:
        """End the stream after what waits."""
        self._ending = True
        self._work.wake()

    def rouse(self) -> None:
        """End `wait_work` although there may be nothing to send."""
        self._roused = True
        self._work.wake()

    async def wait_space(self) -> None:
        """Wait until the queue is not full, or takes nothing."""
        while self.full and not self.reason:
            await self._space.park()

    async def wait_idle(self) -> None:
        """Wait until all that was put in was taken by the connection, or the queue takes nothing."""
        while self.busy and not self.reason:
            await self._idle.park()

    # ---- taking out

    async def wait_work(self) -> None:
        """Wait for something to send, for `rouse`, or until the queue is closed or was sent. One task at a time."""
        while not (self._control or self._messages or self.reason or self._ending or self._roused):
            await self._work.wait()
        self._roused = False
        # Wait while each checkpoint brings more: a batch costs much more than a checkpoint.
        for _ in range(GATHER_CHECKPOINTS):
            size = self._bytes
            await trio.lowlevel.checkpoint()
            if self._bytes == size or size >= BATCH:
                return

    def take(self, most: int = MAX_TAKEN) -> Batch:
        """Take the frames to send next, with at most so many messages; `settle` or `fail` must follow."""
        self._sending, self._since = True, trio.current_time()
        frames = _pack(self._control, MAX_CONTROL_FRAME)
        # The last control fields travel in one frame with the first messages.
        parts = frames.pop() if frames else []
        total, size, in_frame = self._control_bytes, sum(map(len, parts)), 0
        self._control, self._control_bytes = [], 0
        messages = self._messages
        entries: list[Entry] = []
        while messages and total < BATCH and len(entries) < most:
            item = messages.popleft()
            message, receipt = item
            entry = message.entry
            self._bytes -= len(entry)
            if not self._wanted(message):
                if receipt is not None:
                    receipt.settle(self.peer, NOT_NEEDED)
                continue
            if parts and (size + len(entry) > self._max_frame or in_frame == MAX_MESSAGES_FRAME):
                frames.append(parts)
                parts, size, in_frame = [], 0, 0
            parts.append(entry)
            size += len(entry)
            total += len(entry)
            in_frame += 1
            entries.append(item)
        if parts:
            frames.append(parts)
        if self._space and not self.full:
            self._space.unpark_all()
        return Batch(join_frames(frames), entries)

    def settle(self, batch: Batch) -> None:
        """Note that the connection has taken a batch."""
        self._sending = False
        self._remember(batch)
        for _, receipt in batch.entries:
            if receipt is not None:
                receipt.settle(self.peer, SENT)
        if not self.busy:
            self._idle.unpark_all()

    def fail(self, batch: Batch) -> None:
        """Note that the stream broke while the connection took a batch; `restore`, `shut` or `close` must follow."""
        self._sending = False
        self._remember(batch)

    def _remember(self, batch: Batch) -> None:
        if not batch.entries:
            return
        recent = self._recent
        size = len(batch.data)
        recent.append((trio.current_time(), size, batch.entries))
        self._recent_bytes += size
        while self._recent_bytes > MAX_RECENT and len(recent) > 1:
            self._recent_bytes -= recent.popleft()[1]

    # ---- when a stream breaks

    def begin(self, hello: Sequence[bytes], *, moved: bool = False) -> None:
        """Send `hello` before all else on a new stream; control messages for one that broke mean nothing any more.

        `moved`: the earlier stream did not break, and control messages that wait follow on this one.
        """
        self.paused, self.reason, self._since = False, "", trio.current_time()
        waiting = self._control if moved else []
        self._control, self._control_bytes = [], 0
        self.put_control([*hello, *waiting])

    def pause(self) -> None:
        """Note that the stream broke and another is to come: what is put in waits for that."""
        self.paused, self._since = True, trio.current_time()
        self._control.clear()
        self._control_bytes = 0

    def restore(self) -> None:
        """Have what the broken stream may have lost sent again, the large last.

        A large message that was on two streams that broke is taken for the cause: no more of that size are sent for
        a while.
        """
        now = trio.current_time()
        unsure = self._take_recent()
        self._learn([item for _, item in unsure if item[0].id in self._resent], now)
        small: list[Entry] = []
        large: list[Entry] = []
        resent, self._resent = self._resent, {}
        for at, item in unsure:
            message, receipt = item
            first_sent = resent.get(message.id, at)
            size = len(message.entry)
            if now - first_sent > RESEND_AGE:
                self._doubt(item, at, "the stream broke while it was sent")
                continue
            (large if size > self._max_frame else small).append(item)
            self._resent[message.id] = first_sent
            if receipt is not None:
                receipt.settle(self.peer, QUEUED)
        waiting = [*small, *self._messages, *large]
        self._messages.clear()
        self._bytes = 0
        for message, receipt in waiting:
            size = len(message.entry)
            if size <= self._limit:
                self._messages.append((message, receipt))
                self._bytes += size
            elif receipt is not None:
                receipt.settle(self.peer, self._too_large(size))
        self._work.wake()

    def resend_nothing(self, reason: str) -> None:
        """Do not send again what was on a stream before."""
        waiting = tuple(self._messages)
        self._messages.clear()
        for item in waiting:
            message, _ = item
            if message.id in self._resent:
                self._bytes -= len(message.entry)
                self._doubt(item, trio.current_time(), reason)
            else:
                self._messages.append(item)
        self._resent.clear()

    def _take_recent(self) -> list[tuple[float, Entry]]:
        found = [(at, item) for at, _, entries in self._recent for item in entries]
        self._recent.clear()
        self._recent_bytes = 0
        return found

    def _learn(self, resent: Sequence[Entry], now: float) -> None:
        largest = max((len(message.entry) for message, _ in resent), default=0)
        if largest > self._max_frame:
            self._limit, self._limit_until = min(self._limit, largest - 1), now + LEARNED_FOR

    def _doubt(self, item: Entry, sent_at: float, reason: str) -> None:
        _, receipt = item
        if receipt is None:
            return
        before = receipt.peers[self.peer]
        lately = before is SENT and trio.current_time() - sent_at <= DOUBT_AGE
        if lately or before is QUEUED:
            receipt.settle(self.peer, Delivery(DeliveryState.UNCERTAIN, reason))

    def drop(self, reason: str) -> int:
        """Drop the messages that wait, for that reason; return how many it was."""
        dropped = Delivery(DeliveryState.DROPPED, reason)
        waiting = tuple(self._messages)
        self._messages.clear()
        self._bytes = 0
        for item in waiting:
            message, receipt = item
            if message.id in self._resent:
                self._doubt(item, trio.current_time(), reason)
            elif receipt is not None:
                receipt.settle(self.peer, dropped)
        self._resent.clear()
        self._space.unpark_all()
        return len(waiting)

    def shut(self, reason: str) -> int:
        """Drop what waits and take nothing until `begin`; return how many messages it was."""
        if self.reason:
            return 0
        self.reason = reason
        for at, item in self._take_recent():
            self._doubt(item, at, reason)
        count = self.drop(reason)
        self.pause()
        self._work.wake()
        self._idle.unpark_all()
        return count

    def close(self, reason: str, *, lost: bool = True) -> int:
        """Take nothing more for good; return how many messages waited. Only the first call counts.

        `lost`: the connection ended, by either side, so that what it took lately may not have arrived.
        """
        if self.closed:
            return 0
        self.closed = True
        if not lost:
            for at, item in self._take_recent():
                self._doubt_unfinished(item, at, reason)
        return self.shut(reason)

    def _doubt_unfinished(self, item: Entry, sent_at: float, reason: str) -> None:
        _, receipt = item
        if receipt is not None and receipt.peers[self.peer] is QUEUED:
            self._doubt(item, sent_at, reason)


def _pack(parts: Sequence[bytes], limit: int) -> list[list[bytes]]:
    """Return the parts in groups of at most `limit` bytes, as long as no part is larger, and one `control` in each.

    The limits of others, such as go's ten IDONTWANTs, are for what one RPC holds.
    """
    groups: list[list[bytes]] = []
    size, controlled = limit, False
    for part in parts:
        control = part[0] == CONTROL_TAG
        if size + len(part) > limit or (control and controlled):
            groups.append([])
            size, controlled = 0, False
        groups[-1].append(part)
        size += len(part)
        controlled = controlled or control
    return groups
