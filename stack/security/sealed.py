"""What Noise and TLS share on the data path: the queue of sealed bytes, and receiving what is to be opened.

What makes it fast: one buffer for a whole batch of frames, no copy but the encryption itself, and buffers that are
borrowed for the moment they hold something, so that an idle connection owns none.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from operator import index
from typing import ClassVar, Final

import trio

from ..abc import Buffer, Channel, Pipe
from ..background import Guard
from ..errors import ConnectionLost, StackError

MAX_FRAME: Final = 65_537
"""Bytes of the longest frame, header included, that `reserve` is asked for: a Noise message and its length."""
_SEGMENT_SIZE: Final = 8 * MAX_FRAME
RECEIVE_SIZE: Final = 512 * 1024
"""Most bytes received at once; the plaintext of as many fits a buffer of the same size."""
_KEPT_BUFFERS: Final = 8
_SMALL: Final = 64 * 1024
_FIRST: Final = 8 * 1024
_BULK: Final = 16 * 1024
"""A piece this large means a bulk transfer, where a little delay is worth larger reads."""


class _Segment:
    """A run of sealed frames waiting to be sent: `view[start:end]`."""

    __slots__ = ("data", "end", "start", "view")

    def __init__(self, data: bytearray) -> None:
        self.data = data
        self.view = memoryview(data)
        self.start = 0
        self.end = 0


# Free buffers, shared by all connections; borrowing is one atomic pop, so that threads with their own loops may share:
# after a check first, another thread could take the last one.
_free_segments: list[_Segment] = []
_free_buffers: list[bytearray] = []


def borrow_buffer() -> bytearray:
    """Return a buffer of `RECEIVE_SIZE` bytes with arbitrary content, to be given back within the same call."""
    try:
        return _free_buffers.pop()
    except IndexError:
        return _make_buffer()


def _make_buffer() -> bytearray:
    # glibc gives freed memory back to the system, to fault it in again for the next batch of frames: 120 000 faults
    # and a fifth of the throughput for each GiB. It stops when it has seen one block of this size come and go, since
    # it then expects more of them. The block is never touched, so it costs nothing; other allocators ignore it.
    bytes(16 * 1024 * 1024)
    return bytearray(RECEIVE_SIZE)


def give_back(buffer: bytearray) -> None:
    """Let others borrow the buffer."""
    if len(_free_buffers) < _KEPT_BUFFERS:
        _free_buffers.append(buffer)


def _borrow_segment() -> _Segment:
    try:
        return _free_segments.pop()
    except IndexError:
        return _Segment(bytearray(_SEGMENT_SIZE))


class SealedChannel(Channel):
    """An encrypted channel over a pipe; subclasses define what a frame is, and how it is sealed and opened."""

    frame: ClassVar[str]
    """What the protocol calls its frames, for messages."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._segments: deque[_Segment] = deque()
        self._queued = 0
        self._partial = b""
        self._bulk = False
        self._pushback: list[bytes] = []
        self._ended = False
        self._failure: StackError | None = None
        self._sending = Guard("another task is sending on this channel")
        self._receiving = Guard("another task is receiving on this channel")

    @abstractmethod
    def _open(self, view: memoryview, end: int) -> list[bytes]:
        """Return the plaintext of every whole frame of `view[:end]` and keep what is left over in `_partial`.

        Sets `_ended` at a close_notify, and `_failure` for what cannot be opened; what came before is returned.
        """

    # ---- sending

    @property
    def queued(self) -> int:
        """Bytes sealed but not yet taken by the pipe."""
        return self._queued

    def _reserve(self, size: int) -> memoryview:
        """Return room for a frame of `size` bytes at the end of the queue; the caller fills it before it returns."""
        segments = self._segments
        segment = segments[-1] if segments else None
        if segment is None or segment.end + size > len(segment.data):
            if segment is not None and len(segment.data) != _SEGMENT_SIZE and size <= _FIRST:
                # The pipe is stalled and little waits, see `_shrink`; a little more must not take a whole segment.
                segment = _Segment(bytearray(_SMALL))
            else:
                segment = _borrow_segment()
            segments.append(segment)
        start = segment.end
        stop = segment.end = start + size
        self._queued += size
        return segment.view[start:stop]

    def flush_nowait(self) -> None:
        """Hand the pipe as much of the queue as it takes without waiting; a task that flushes does so itself."""
        if self._sending.held:
            # What that task waits to send would go twice.
            return
        segments = self._segments
        while segments:
            segment = segments[0]
            sent = self._pipe.send_nowait(segment.view[segment.start : segment.end])
            if not sent:
                return
            self._sent(segment, sent)

    async def flush(self) -> None:
        """Wait until the pipe has taken the whole queue."""
        with self._sending:
            await self._flush()

    async def _flush(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._shrink()
        while self._segments:
            segment = self._segments[0]
            self._sent(segment, await self._pipe.send_some(segment.view[segment.start : segment.end]))

    def _sent(self, segment: _Segment, size: int) -> None:
        self._queued -= size
        segment.start += size
        if segment.start == segment.end:
            self._segments.popleft()
            if len(segment.data) == _SEGMENT_SIZE and len(_free_segments) < _KEPT_BUFFERS:
                segment.start = segment.end = 0
                _free_segments.append(segment)

    def _shrink(self) -> None:
        """Keep a little that waits in a buffer of its own size, so that many stalled peers do not hold 512 KiB each."""
        segment = self._segments[-1] if self._segments else None
        if segment is not None and len(segment.data) == _SEGMENT_SIZE and segment.end - segment.start <= _SMALL:
            waiting = _Segment(bytearray(segment.view[segment.start : segment.end]))
            waiting.end = len(waiting.data)
            self._segments[-1] = waiting
            segment.start = segment.end = 0
            if len(_free_segments) < _KEPT_BUFFERS:
                _free_segments.append(segment)

    # ---- receiving

    async def read(self) -> list[bytes]:
        """Wait for bytes and return the plaintext of every complete frame; an empty list is the end.

        Raises RemoteProtocolError for a frame that cannot be opened, ConnectionLost for an end inside a frame.
        """
        if self._pushback:
            await trio.lowlevel.checkpoint()
            chunks, self._pushback = self._pushback, []
            return chunks
        with self._receiving:
            while not self._ended:
                if self._failure is not None:
                    raise self._failure.with_traceback(None)
                await self._pipe.wait_receive_might_not_block()
                if self._bulk:
                    # In a bulk transfer, more arrives while other tasks run, and fewer, larger reads cost less.
                    await trio.lowlevel.checkpoint()
                opened = self._read_nowait()
                if opened is None:
                    if self._partial:
                        raise ConnectionLost(f"the connection ended inside a {self.frame}")
                    return []
                self._bulk = bool(opened) and len(opened[-1]) >= _BULK
                if opened:
                    return opened
            await trio.lowlevel.checkpoint()
            return []

    def _read_nowait(self) -> list[bytes] | None:
        """Receive once and open what is whole; None at the end of the pipe."""
        buffer = borrow_buffer()
        try:
            with memoryview(buffer) as view:
                have = len(self._partial)
                view[:have] = self._partial
                try:
                    received = self._pipe.receive_nowait(view[have:])
                except trio.WouldBlock:
                    return []
                return self._open(view, have + received) if received else None
        finally:
            give_back(buffer)

    def unread(self, data: bytes) -> None:
        """Give bytes back: the next read returns them first."""
        if data:
            self._pushback.insert(0, data)

    # ---- as a plain trio stream, for the negotiation of a muxer

    async def send_all(self, data: Buffer) -> None:
        """Seal and send everything."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            self.write([data])
            await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the pipe takes bytes again."""
        with self._sending:
            await self._pipe.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte, or `b""` at the end."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        chunks = await self.read()
        if not chunks:
            return b""
        data = b"".join(chunks)
        if max_bytes is not None and len(data) > max_bytes:
            self.unread(data[max_bytes:])
            data = data[:max_bytes]
        return data

    async def aclose(self) -> None:
        """Close the pipe; what is queued and not flushed is lost."""
        # The queue stays as it is: a task that flushes may be in the middle of it.
        await self._pipe.aclose()
