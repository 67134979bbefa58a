"""A byte stream in memory, made of two bounded queues."""

from __future__ import annotations

import trio

from ..abc import Buffer, Pipe
from ..background import Guard
from .queue import MAX_PIECE, ByteQueue

DEFAULT_CAPACITY = 64 * 1024
"""Bytes that one direction holds before the sender waits; about what a kernel gives a socket at first."""


class MemoryPipe(Pipe):
    """One end of a byte stream in memory; see `memory_pipe_pair`."""

    def __init__(self, incoming: ByteQueue, outgoing: ByteQueue) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self._sending = Guard("another task is sending to this stream")
        self._receiving = Guard("another task is receiving from this stream")
        self._sent_eof = False
        self._closed = False

    def send_nowait(self, data: Buffer) -> int:
        """Send what fits at once and return how many bytes went."""
        with self._sending:
            self._check_sendable()
            return self.outgoing.put(data)

    async def send_some(self, data: Buffer) -> int:
        """Wait until something can be sent, send it, and return how many bytes went."""
        await trio.lowlevel.checkpoint_if_cancelled()
        with self._sending:
            self._check_sendable()
            if self.outgoing.writable:
                sent = self.outgoing.put(data)
                await trio.lowlevel.cancel_shielded_checkpoint()
                return sent
            await self._wait_writable()
            return self.outgoing.put(data)

    async def send_all(self, data: Buffer) -> None:
        """Send all the data; when cancelled, a part of it may have been sent."""
        await trio.lowlevel.checkpoint()
        view = memoryview(data).cast("B")
        with self._sending:
            self._check_sendable()
            sent = self.outgoing.put(view)
            while sent < len(view):
                await self._wait_writable()
                sent += self.outgoing.put(view[sent:])

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room, or the other side is gone."""
        await trio.lowlevel.checkpoint()
        with self._sending:
            self._check_sendable()
            await self._wait_writable()

    async def send_eof(self) -> None:
        """End the outgoing direction."""
        await trio.lowlevel.checkpoint()
        with self._sending:
            self._check_open()
            self._sent_eof = True
            self.outgoing.end()

    def receive_nowait(self, buffer: memoryview) -> int:
        """Receive into `buffer` and return how many bytes came (0 = end of stream)."""
        with self._receiving:
            self._check_open()
            return self.incoming.take_into(buffer)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return at most `max_bytes` of them; none at the end."""
        limit = _checked_limit(max_bytes)
        await trio.lowlevel.checkpoint_if_cancelled()
        with self._receiving:
            self._check_open()
            if self.incoming.readable:
                data = self.incoming.take(limit)
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
            await self._wait_readable()
            return self.incoming.take(limit)

    async def wait_receive_might_not_block(self) -> None:
        """Wait until there are bytes, an end, or an error."""
        await trio.lowlevel.checkpoint()
        with self._receiving:
            self._check_open()
            await self._wait_readable()

    def unread(self, data: bytes) -> None:
        """Give bytes back: the next receive returns them first."""
        self._check_open()
        self.incoming.unread(data)

    def abort(self) -> None:
        """Cut the stream in both directions, as a lost connection does; the other side sees it as broken."""
        self._closed = True
        self.incoming.cut()
        self.outgoing.cut()

    async def aclose(self) -> None:
        """Close: the other side gets what was sent, then the end; what it sends from now on fails."""
        if not self._closed:
            self._closed = True
            self.outgoing.end()
            self.incoming.abandon()
            # The queues may not have changed by that, but our own waiters must look again.
            self.outgoing.wake()
            self.incoming.wake()
        await trio.lowlevel.checkpoint()

    async def _wait_writable(self) -> None:
        while not self.outgoing.writable:
            await self.outgoing.wait_for_change()
            self._check_open()

    async def _wait_readable(self) -> None:
        while not self.incoming.readable:
            await self.incoming.wait_for_change()
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._sent_eof:
            raise trio.ClosedResourceError("the end of this stream was already sent")


def memory_pipe_pair(capacity: int = DEFAULT_CAPACITY) -> tuple[MemoryPipe, MemoryPipe]:
    """Return the two ends of a byte stream; each direction holds `capacity` bytes before the sender waits."""
    one, other = ByteQueue(capacity), ByteQueue(capacity)
    return MemoryPipe(one, other), MemoryPipe(other, one)


def _checked_limit(max_bytes: int | None) -> int:
    if max_bytes is None:
        return MAX_PIECE
    if not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an integer, not {type(max_bytes).__name__}")
    if max_bytes < 1:
        raise ValueError(f"max_bytes must be at least 1, not {max_bytes}")
    return max_bytes
