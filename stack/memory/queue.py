"""A bounded queue of bytes between one writer and one reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

import trio

from ..abc import Buffer

MAX_PIECE = 64 * 1024
"""Most bytes that `take` returns when the caller names no limit."""


class QueueState(Enum):
    """The state of a queue."""

    OPEN = auto()
    ENDED = auto()
    """The writer is done: the reader gets what is left, then the end."""
    ABANDONED = auto()
    """The reader is gone: what is left is dropped, and writing fails."""
    BROKEN = auto()
    """The queue was cut: what is left is dropped, and both sides fail."""


class ByteQueue:
    """Bytes on their way in one direction, at most `capacity` of them; only `unread` may exceed that."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a queue needs room for at least one byte, not {capacity}")
        self.capacity = capacity
        self.size = 0
        self.state = QueueState.OPEN
        self.on_change: Callable[[], None] | None = None
        """Called after every change; a simulated network moves the bytes on by it."""
        self._pieces: deque[memoryview] = deque()
        self._parked = trio.lowlevel.ParkingLot()

    @property
    def readable(self) -> bool:
        """Whether taking gives bytes, the end, or an error at once."""
        return self.size > 0 or self.state is not QueueState.OPEN

    @property
    def writable(self) -> bool:
        """Whether putting gives room or an error at once."""
        return self.size < self.capacity or self.state is not QueueState.OPEN

    def put(self, data: Buffer) -> int:
        """Copy in what fits and return how many bytes that were. Raises `trio.BrokenResourceError`."""
        if self.state in (QueueState.ABANDONED, QueueState.BROKEN):
            raise trio.BrokenResourceError("the other side is gone")
        view = memoryview(data).cast("B")[: max(0, self.capacity - self.size)]
        if view:
            # Bytes never change, so a view of them is as good as a copy.
            self._pieces.append(view if isinstance(view.obj, bytes) else memoryview(bytes(view)))
            self.size += len(view)
            self.wake()
        return len(view)

    def take(self, limit: int = MAX_PIECE) -> bytes:
        """Take at most `limit` bytes; none at the end. Raises `trio.WouldBlock` or `trio.BrokenResourceError`."""
        buffer = bytearray(min(limit, self.size))
        self.take_into(memoryview(buffer))
        return bytes(buffer)

    def take_into(self, buffer: memoryview) -> int:
        """Fill the buffer as far as the bytes go and return how far; 0 is the end. Raises as `take` does."""
        if self.state is QueueState.BROKEN:
            raise trio.BrokenResourceError("the other side is gone")
        if not self.readable:
            raise trio.WouldBlock
        filled = 0
        while self._pieces and filled < len(buffer):
            piece = self._pieces.popleft()
            part = piece[: len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            filled += len(part)
            if len(part) < len(piece):
                self._pieces.appendleft(piece[len(part) :])
        if filled:
            self.size -= filled
            self.wake()
        return filled

    def unread(self, data: bytes) -> None:
        """Put bytes back in front."""
        if data and self.state in (QueueState.OPEN, QueueState.ENDED):
            self._pieces.appendleft(memoryview(data))
            self.size += len(data)
            self.wake()

    def end(self) -> None:
        """End the queue: nothing more will be put."""
        if self.state is QueueState.OPEN:
            self.state = QueueState.ENDED
            self.wake()

    def abandon(self) -> None:
        """Abandon the queue: nothing more will be taken."""
        self._drop(QueueState.ABANDONED)

    def cut(self) -> None:
        """Drop everything and break both sides."""
        self._drop(QueueState.BROKEN)

    def wake(self) -> None:
        """Wake all waiting tasks."""
        self._parked.unpark_all()
        if self.on_change is not None:
            self.on_change()

    async def wait_for_change(self) -> None:
        """Wait until something changes."""
        await self._parked.park()

    def _drop(self, state: QueueState) -> None:
        if self.state in (QueueState.ABANDONED, QueueState.BROKEN):
            return
        self.state = state
        self._pieces.clear()
        self.size = 0
        self.wake()
