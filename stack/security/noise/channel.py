"""The data path of Noise: bytes sealed straight into the send queue, and opened straight out of the receive buffer.

What makes it fast: one buffer for a whole batch of frames, no copy but the encryption itself, and buffers that are
borrowed for the moment they hold something, so that an idle connection owns none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import index
from typing import Final

import trio
from cryptography.exceptions import InvalidTag

from ...abc import Buffer, Channel, Pipe
from ...background import Guard
from ...errors import ConnectionLost, RemoteProtocolError
from .core import Session
from .wire import LENGTH, MAX_NONCE, MAX_PLAINTEXT, NONCE, TAG_SIZE

_FRAME_OVERHEAD: Final = LENGTH.size + TAG_SIZE
_SEGMENT_SIZE: Final = 8 * (MAX_PLAINTEXT + _FRAME_OVERHEAD)
_RECEIVE_SIZE: Final = 512 * 1024
_KEPT_BUFFERS: Final = 8
_DIRECT: Final = 8 * 1024
"""Buffers at least this large are encrypted where they lie; smaller ones are joined first, which costs less than
a frame of their own (2.5 us a call whatever the size)."""
_SMALL: Final = 64 * 1024
_BULK: Final = 16 * 1024
"""A frame this large says that somebody is sending much, and that a little delay is worth larger bites."""


class _Segment:
    """A run of sealed frames waiting to be sent: `view[start:end]`."""

    __slots__ = ("data", "end", "start", "view")

    def __init__(self, data: bytearray) -> None:
        self.data = data
        self.view = memoryview(data)
        self.start = 0
        self.end = 0


# Free buffers, shared by all connections; borrowing is one atomic pop, so threads with their own loops may share too.
_free_segments: list[_Segment] = []
_free_receive_buffers: list[bytearray] = []


def _new_receive_buffer() -> bytearray:
    # glibc gives freed memory back to the system, to fault it in again for the next batch of frames: 120 000 faults
    # and a fifth of the throughput for each GiB. It stops when it has seen one block of this size come and go, since
    # it takes that for the program's habit. The block is never touched, so it costs nothing; others ignore it.
    bytes(16 * 1024 * 1024)
    return bytearray(_RECEIVE_SIZE)


class NoiseChannel(Channel):
    """An encrypted channel over a pipe, after the handshake."""

    def __init__(self, pipe: Pipe, session: Session) -> None:
        self._pipe = pipe
        self._encrypt_into = session.send.encrypt_into
        self._decrypt = session.receive.decrypt
        self._send_nonce = 0
        self._receive_nonce = 0
        self._segments: deque[_Segment] = deque()
        self._queued = 0
        self._partial = b""
        self._bulk = False
        self._pushback: list[bytes] = []
        self._sending = Guard("another task is sending on this channel")
        self._receiving = Guard("another task is receiving on this channel")

    # ---- sending

    @property
    def queued(self) -> int:
        """Bytes sealed but not yet taken by the pipe."""
        return self._queued

    def write(self, buffers: Sequence[Buffer]) -> None:
        """Seal the buffers, as one run of bytes, into the queue."""
        small: list[Buffer] = []
        size = 0
        for buffer in buffers:
            length = len(buffer)
            if length >= _DIRECT:
                if size:
                    self._seal(b"".join(small))
                    small, size = [], 0
                view = memoryview(buffer)
                # Frames of equal size: a last one of a few bytes would cost as much as a full one to handle.
                step = -(-length // -(-length // MAX_PLAINTEXT))
                for start in range(0, length, step):
                    self._seal(view[start : start + step])
                continue
            if size + length > MAX_PLAINTEXT:
                self._seal(b"".join(small))
                small, size = [], 0
            small.append(buffer)
            size += length
        if size:
            self._seal(b"".join(small) if len(small) > 1 else small[0])

    def _seal(self, plaintext: Buffer) -> None:
        nonce = self._send_nonce
        if nonce > MAX_NONCE:
            raise ConnectionLost("the Noise send counter is used up")
        self._send_nonce = nonce + 1
        size = len(plaintext)
        needed = size + _FRAME_OVERHEAD
        segments = self._segments
        segment = segments[-1] if segments else None
        if segment is None or segment.end + needed > len(segment.data):
            if segment is not None and len(segment.data) != _SEGMENT_SIZE and needed <= _DIRECT:
                # The wire is stalled and little waits, see `_shrink`; a little more must not take a whole segment.
                segment = _Segment(bytearray(_SMALL))
            else:
                segment = _free_segments.pop() if _free_segments else _Segment(bytearray(_SEGMENT_SIZE))
            segments.append(segment)
        start = segment.end
        stop = segment.end = start + needed
        LENGTH.pack_into(segment.data, start, size + TAG_SIZE)
        self._encrypt_into(NONCE.pack(nonce), plaintext, None, segment.view[start + 2 : stop])
        self._queued += needed

    def flush_nowait(self) -> None:
        """Hand the pipe as much of the queue as it takes without waiting."""
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
        """Keep a little that waits in a buffer of its own size: many stalled peers must not hold 512 KiB each."""
        segment = self._segments[-1] if self._segments else None
        if segment is not None and len(segment.data) == _SEGMENT_SIZE and segment.end - segment.start <= _SMALL:
            waiting = _Segment(bytearray(segment.view[segment.start : segment.end]))
            waiting.end = len(waiting.data)
            self._segments[-1] = waiting
            segment.start = segment.end = 0
            if len(_free_segments) < _KEPT_BUFFERS:
                _free_segments.append(segment)

    async def send_eof(self) -> None:
        """End our direction of the pipe; Noise has no word of its own for it."""
        await self._pipe.send_eof()

    # ---- receiving

    async def read(self) -> list[bytes]:
        """Wait for bytes and return the plaintext of every whole frame that is there; an empty list is the end."""
        if self._pushback:
            await trio.lowlevel.checkpoint()
            chunks, self._pushback = self._pushback, []
            return chunks
        with self._receiving:
            while True:
                await self._pipe.wait_receive_might_not_block()
                if self._bulk:
                    # Bytes come in numbers: one turn for the others lets more arrive, and fewer bites cost less.
                    await trio.lowlevel.checkpoint()
                opened = self._read_nowait()
                if opened is None:
                    if self._partial:
                        raise ConnectionLost("the connection ended inside a Noise frame")
                    return []
                self._bulk = bool(opened) and len(opened[-1]) >= _BULK
                if opened:
                    return opened

    def _read_nowait(self) -> list[bytes] | None:
        """Receive once and open what is whole; None at the end of the wire."""
        buffer = _free_receive_buffers.pop() if _free_receive_buffers else _new_receive_buffer()
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
            if len(_free_receive_buffers) < _KEPT_BUFFERS:
                _free_receive_buffers.append(buffer)

    def _open(self, view: memoryview, end: int) -> list[bytes]:
        chunks: list[bytes] = []
        position = size = 0
        nonce = self._receive_nonce
        decrypt = self._decrypt
        try:
            while end - position >= 2:
                size = LENGTH.unpack_from(view, position)[0]
                stop = position + 2 + size
                if stop > end:
                    break
                plaintext = decrypt(NONCE.pack(nonce), view[position + 2 : stop], None)
                nonce += 1
                position = stop
                # An empty frame is legal, and not the end of the stream.
                if plaintext:
                    chunks.append(plaintext)
        except InvalidTag:
            self._decrypt = _refuse  # for good: whoever changed the frame could repeat the true one
            raise RemoteProtocolError(f"Noise frame {nonce} of {size} bytes does not decrypt") from None
        if nonce > MAX_NONCE:
            self._decrypt = _refuse
            raise RemoteProtocolError("the peer's Noise counter is used up")
        self._receive_nonce = nonce
        self._partial = bytes(view[position:end])
        return chunks

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
        await self.flush()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the pipe takes bytes again."""
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


def _refuse(nonce: Buffer, data: Buffer, associated_data: Buffer | None) -> bytes:
    raise InvalidTag
