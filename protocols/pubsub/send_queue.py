"""What waits to be sent to one peer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import trio

from peerstack.stack.background import Waiter
from peerstack.stack.identity import PeerId

from .receipt import NOT_NEEDED, QUEUED, SENT, Delivery, DeliveryState, Receipt
from .settings import QueueConfig
from .wire import Message, join_frames

BATCH = 256 * 1024
"""Bytes handed to the stream at once: enough that the cost of a wake-up is shared by many messages."""

MAX_CONTROL_FRAME = 15 * 1024
"""Bytes of control in one frame: rust-libp2p gives up a stream with more than 16 KiB."""
CONTROL_TAG = 0x1A
"""The first byte of a `control` field."""
MAX_MESSAGES_FRAME = 500
"""Messages in one frame: rust-libp2p gives up a stream with more."""
GATHER_TURNS = 4
"""Turns of other tasks that may add to a batch before it goes out: half a millisecond each while they publish."""

Wanted = Callable[[Message], bool]


@dataclass(slots=True)
class Batch:
    """What goes out at once, and whose receipts hear of it."""

    data: bytes
    receipts: list[Receipt]
    messages: int


class SendQueue:
    """Control messages and messages for one peer; control goes first, since it is small and urgent.

    `full` is where publishing waits. A little more than that may be put in: a reader puts in what one wake-up brought
    and waits only then.
    """

    def __init__(self, peer: PeerId, config: QueueConfig, *, max_frame: int, wanted: Wanted) -> None:
        self.peer = peer
        self.reason = ""
        """Why nothing more is sent, once it is closed."""
        self.progressed_at = -inf
        """When a batch was last taken by the peer, on trio's clock."""
        self._config = config
        self._max_frame = max_frame
        self._wanted = wanted
        self._control: list[bytes] = []
        self._control_bytes = 0
        self._messages: deque[tuple[Message, Receipt | None]] = deque()
        self._bytes = 0
        self._work = Waiter()
        self._room = trio.lowlevel.ParkingLot()
        self._idle = trio.lowlevel.ParkingLot()
        self._sending = False
        self._ending = False

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    @property
    def size(self) -> int:
        """Bytes of messages that wait."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether whoever can wait should."""
        return len(self._messages) >= self._config.max_messages or self._bytes >= self._config.max_bytes

    @property
    def overfull(self) -> bool:
        """Whether even what can not wait is left out."""
        return len(self._messages) >= 2 * self._config.max_messages or self._bytes >= 2 * self._config.max_bytes

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return bool(self.reason)

    @property
    def busy(self) -> bool:
        """Whether something waits, or is being sent."""
        return bool(self._messages or self._control or self._sending)

    @property
    def ended(self) -> bool:
        """Whether all was said: nothing waits, and `end` was called."""
        return self._ending and not (self._control or self._messages)

    # ---- putting in

    def put(self, message: Message, receipt: Receipt | None = None) -> None:
        """Queue a message. Look at `closed` and `full` before."""
        self._messages.append((message, receipt))
        self._bytes += len(message.entry)
        if receipt is not None:
            receipt.settle(self.peer, QUEUED)
        self._work.wake()

    def begin(self, hello: Sequence[bytes]) -> None:
        """Send `hello` before all else on a new stream; control messages for an earlier one mean nothing any more."""
        self._control.clear()
        self._control_bytes = 0
        self.put_control(hello)

    def put_control(self, parts: Sequence[bytes]) -> None:
        """Queue fields of an RPC that are no messages."""
        if self.closed:
            return
        self._control += parts
        self._control_bytes += sum(map(len, parts))
        if self._control_bytes > self._config.max_control:
            self.close("the peer does not read: too many control messages wait for it")
        self._work.wake()

    def end(self) -> None:
        """Say goodbye to the peer after what waits."""
        self._ending = True
        self._work.wake()

    async def wait_room(self) -> None:
        """Wait until the queue is not full, or closed."""
        while self.full and not self.closed:
            await self._room.park()

    async def wait_idle(self) -> None:
        """Wait until all that was put in was taken by the connection, or the queue is closed."""
        while self.busy and not self.closed:
            await self._idle.park()

    # ---- taking out

    async def wait_work(self) -> None:
        """Wait until there is something to send, the queue is closed, or all was said. One task at a time."""
        while not (self._control or self._messages or self.closed or self._ending):
            await self._work.wait()
        # As long as each turn of the others brings more, wait for it: a batch costs much more than a turn.
        for _ in range(GATHER_TURNS):
            size = self._bytes
            await trio.lowlevel.checkpoint()
            if self._bytes == size or size >= BATCH:
                return

    def take(self) -> Batch:
        """Take the frames to send next; `settle` must follow."""
        self._sending = True
        frames = _pack(self._control, MAX_CONTROL_FRAME)
        receipts: list[Receipt] = []
        # The last control fields travel in one frame with the first messages.
        parts = frames.pop() if frames else []
        total, size, in_frame, count = self._control_bytes, sum(map(len, parts)), 0, 0
        self._control, self._control_bytes = [], 0
        messages = self._messages
        while messages and total < BATCH:
            message, receipt = messages.popleft()
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
            count += 1
            if receipt is not None:
                receipts.append(receipt)
        if parts:
            frames.append(parts)
        if self._room and not self.full:
            self._room.unpark_all()
        return Batch(join_frames(frames), receipts, count)

    def settle(self, batch: Batch, delivery: Delivery = SENT) -> None:
        """Note what became of a batch."""
        self._sending = False
        if delivery.state is DeliveryState.SENT:
            self.progressed_at = trio.current_time()
        for receipt in batch.receipts:
            receipt.settle(self.peer, delivery)
        if not self.busy:
            self._idle.unpark_all()

    def drop(self, reason: str) -> int:
        """Drop the messages that wait, for that reason; return how many it was."""
        dropped = Delivery(DeliveryState.DROPPED, reason)
        count = len(self._messages)
        for _, receipt in self._messages:
            if receipt is not None:
                receipt.settle(self.peer, dropped)
        self._messages.clear()
        self._bytes = 0
        self._room.unpark_all()
        return count

    def close(self, reason: str) -> int:
        """Drop what waits and take nothing more; return how many messages it was. Only the first call counts."""
        if self.closed:
            return 0
        self.reason = reason
        count = self.drop(reason)
        self._control.clear()
        self._control_bytes = 0
        self._work.wake()
        self._idle.unpark_all()
        return count


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
