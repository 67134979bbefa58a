"""A stream of a muxer as a trio stream, whatever the muxer."""

from __future__ import annotations

from collections import deque
from operator import index
from typing import TYPE_CHECKING, Any

import trio

from ..abc import Buffer, Stream
from ..background import Guard, Waiter
from ..errors import StreamReset

if TYPE_CHECKING:
    from .connection import DrivenConnection

_JOIN_BELOW = 16 * 1024
"""Received pieces smaller than this are joined for the caller, up to _JOINED; larger ones are handed on as they are."""
_JOINED = 64 * 1024


class DrivenStream(Stream):
    """One stream of a connection whose muxer is a core and a driver.

    Calls change the core's state at once or not at all; only the connection's tasks touch the wire, so a caller
    that is cancelled never leaves half a frame behind.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_failure",
        "_finished",
        "_id",
        "_readable",
        "_receive_guard",
        "_send_closed",
        "_send_guard",
        "_writable",
        "protocol",
    )

    def __init__(self, connection: DrivenConnection[Any], stream_id: int) -> None:
        self.protocol = ""
        self._connection = connection
        self._id = stream_id
        self._chunks: deque[bytes] = deque()
        self._finished = False
        self._failure: Exception | None = None
        self._send_closed = False
        self._readable = Waiter()
        self._writable = Waiter()
        self._send_guard = Guard("another task is sending on this stream")
        self._receive_guard = Guard("another task is receiving on this stream")

    @property
    def connection(self) -> DrivenConnection[Any]:
        """The connection that carries this stream."""
        return self._connection

    def __repr__(self) -> str:
        number, protocol = self._id or "closed", self.protocol or "not negotiated"
        return f"<{type(self).__name__} {number} {protocol} with {self._connection.remote_peer}>"

    # ---- sending

    async def send_all(self, data: Buffer) -> None:
        """Send everything; returns when the connection has taken it. Raises what `Stream` says."""
        with self._send_guard:
            self._check_sending()
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            with memoryview(data) as whole, whole.cast("B") as view:
                position, size = 0, len(view)
                while position < size:
                    if self._connection.congested or not self._connection.send_credit(self._id):
                        waited = True
                        await self._wait_sendable()
                    position += self._connection.send_data(self._id, view[position:])
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the window and the connection have room."""
        with self._send_guard:
            self._check_sending()
            await trio.lowlevel.checkpoint()
            await self._wait_sendable()

    async def _wait_sendable(self) -> None:
        while True:
            self._check_sending()
            if not self._connection.send_credit(self._id):
                await self._writable.wait()
            elif self._connection.congested:
                self._connection.wake_when_there_is_room(self._id, self._writable)
                await self._writable.wait()
            else:
                return

    async def send_eof(self) -> None:
        """End our direction; the peer may go on sending."""
        with self._send_guard:
            if self._failure is not None:
                raise self._failure
            await trio.lowlevel.checkpoint_if_cancelled()
            if not self._send_closed:
                self._send_closed = True
                self._connection.send_eof(self._id)
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _check_sending(self) -> None:
        if self._send_closed:
            raise trio.ClosedResourceError("this stream was closed for sending")
        if self._failure is not None:
            raise self._failure

    # ---- receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte, or `b""` at the end."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receive_guard:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._chunks or self._finished:
                await trio.lowlevel.cancel_shielded_checkpoint()
            while not self._chunks:
                if self._finished:
                    return b""
                if self._failure is not None:
                    raise self._failure
                await self._readable.wait()
            return self._take(max_bytes)

    def _take(self, max_bytes: int | None) -> bytes:
        chunks = self._chunks
        data = chunks.popleft()
        if chunks and len(data) < _JOIN_BELOW:
            data = self._join(data)
        if max_bytes is not None and len(data) > max_bytes:
            chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._connection.consumed(self._id, len(data))
        return data

    def _join(self, first: bytes) -> bytes:
        pieces, size = [first], len(first)
        while self._chunks and size + len(self._chunks[0]) <= _JOINED:
            pieces.append(self._chunks.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    def unread(self, data: bytes) -> None:
        """Give bytes back; the next `receive_some` returns them first."""
        if data:
            self._chunks.appendleft(data)
            self._connection.consumed(self._id, -len(data))

    # ---- ending

    async def aclose(self) -> None:
        """End our half and stop reading; never waits for the peer."""
        if not isinstance(self._failure, trio.ClosedResourceError):
            self._send_closed = True
            self._failure = None
            self._end(trio.ClosedResourceError("this stream was closed"))
            self._connection.close_stream(self._id)
        await trio.lowlevel.checkpoint()

    def reset(self, code: int = 0) -> None:
        """Abort the stream in both directions."""
        if self._failure is None:
            self._end(StreamReset("this stream was reset by this side", remote=False, code=code))
        self._connection.reset_stream(self._id, code)

    def _end(self, failure: Exception) -> None:
        """Drop what is buffered and let nothing more happen."""
        self._chunks.clear()
        self._finished = False
        self.break_off(failure)

    # ---- called by the connection

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._chunks.append(data)
        self._readable.wake()

    def finish(self) -> None:
        """The peer will send no more."""
        self._finished = True
        self._readable.wake()

    def window_opened(self) -> None:
        """The peer granted credit to a stream that had none."""
        self._writable.wake()

    def was_reset(self, failure: StreamReset) -> None:
        """The stream was aborted: what was received before is dropped."""
        self._end(failure)

    def forgotten(self) -> None:
        """The session knows the stream no more, and the peer may use its id again: 0 is nobody's."""
        self._id = 0

    def break_off(self, failure: Exception) -> None:
        """The connection is gone; what was received before, and the end if it came, may still be read."""
        if self._failure is None:
            self._failure = failure
        self._readable.wake()
        self._writable.wake()
