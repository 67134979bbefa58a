"""A QUIC stream as a trio stream."""

from __future__ import annotations

from collections import deque
from operator import index
from typing import TYPE_CHECKING

import trio

from peerstack.stack.abc import Buffer, Stream
from peerstack.stack.background import Guard, Waiter
from peerstack.stack.codes import describe_code
from peerstack.stack.errors import StreamReset

if TYPE_CHECKING:
    from .connection import QuicConnection

_JOINED = 64 * 1024
"""Bytes of packets that are handed on as one piece."""


class QuicStream(Stream):
    """One bidirectional stream; calls change the engine at once or not at all, so no cancellation leaves a half.

    The directions fail apart: a peer that stops listening breaks sending only, one that gives up sending breaks
    receiving only.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_finished",
        "_id",
        "_readable",
        "_receive_failure",
        "_receive_guard",
        "_send_closed",
        "_send_failure",
        "_send_guard",
        "_unread",
        "_writable",
        "protocol",
    )

    def __init__(self, connection: QuicConnection, stream_id: int) -> None:
        self.protocol = ""
        self._connection = connection
        self._id = stream_id
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._finished = False
        self._send_failure: Exception | None = None
        self._receive_failure: Exception | None = None
        self._send_closed = False
        self._readable = Waiter()
        self._writable = Waiter()
        self._send_guard = Guard("another task is sending on this stream")
        self._receive_guard = Guard("another task is receiving on this stream")

    @property
    def connection(self) -> QuicConnection:
        """The connection that carries this stream."""
        return self._connection

    def __repr__(self) -> str:
        return f"<QuicStream {self._id} {self.protocol or 'not negotiated'} with {self._connection.remote_peer}>"

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
                    room = self._connection.send_room(self._id)
                    if room <= 0:
                        waited = True
                        await self._wait_sendable()
                        continue
                    self._connection.send_data(self._id, view[position : position + room])
                    position += room
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the send buffer has room."""
        with self._send_guard:
            self._check_sending()
            await trio.lowlevel.checkpoint()
            await self._wait_sendable()

    async def _wait_sendable(self) -> None:
        while True:
            self._check_sending()
            if self._connection.send_room(self._id) > 0:
                return
            self._connection.wake_when_there_is_room(self._id, self._writable)
            await self._writable.wait()

    async def send_eof(self) -> None:
        """End our direction (FIN); the peer may go on sending."""
        with self._send_guard:
            if self._send_failure is not None:
                raise self._send_failure
            await trio.lowlevel.checkpoint_if_cancelled()
            if not self._send_closed:
                self._send_closed = True
                self._connection.send_eof(self._id)
                self._tell_if_done()
            await trio.lowlevel.cancel_shielded_checkpoint()

    def _check_sending(self) -> None:
        if self._send_closed:
            raise trio.ClosedResourceError("this stream was closed for sending")
        if self._send_failure is not None:
            raise self._send_failure

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
                    self._tell_if_done()
                    return b""
                if self._receive_failure is not None:
                    raise self._receive_failure
                await self._readable.wait()
            return self._take(max_bytes)

    def _take(self, max_bytes: int | None) -> bytes:
        chunks = self._chunks
        data = chunks.popleft()
        if chunks:
            pieces, size = [data], len(data)
            while chunks and size + len(chunks[0]) <= _JOINED:
                pieces.append(chunks.popleft())
                size += len(pieces[-1])
            data = b"".join(pieces)
        if max_bytes is not None and len(data) > max_bytes:
            chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._unread -= len(data)
        self._connection.consumed(self._id, len(data))
        return data

    def unread(self, data: bytes) -> None:
        """Give bytes back; the next `receive_some` returns them first."""
        if data:
            self._chunks.appendleft(data)
            self._unread += len(data)
            self._connection.consumed(self._id, -len(data))

    # ---- ending

    async def aclose(self) -> None:
        """End our direction and stop listening; never waits for the peer."""
        if not isinstance(self._receive_failure, trio.ClosedResourceError):
            closed = trio.ClosedResourceError("this stream was closed")
            finish = not self._send_closed and self._send_failure is None
            self._send_closed = True
            self._drop_unread()
            self._finished = False
            self._send_failure = self._receive_failure = closed
            self._wake()
            self._connection.close_stream(self._id, finish=finish)
        await trio.lowlevel.checkpoint()

    def reset(self, code: int = 0) -> None:
        """Abort the stream in both directions."""
        failure = StreamReset("this stream was reset by this side", remote=False, code=code)
        self._drop_unread()
        self._finished = False
        self._send_failure = self._send_failure or failure
        self._receive_failure = self._receive_failure or failure
        self._wake()
        self._connection.reset_stream(self._id, code)

    def _drop_unread(self) -> None:
        self._chunks.clear()
        self._connection.consumed(self._id, self._unread)
        self._unread = 0

    def _tell_if_done(self) -> None:
        """Tell the connection when nothing more can happen on this stream."""
        receiving = not self._finished and self._receive_failure is None
        sending = not self._send_closed and self._send_failure is None
        if not sending and not receiving and not self._chunks:
            self._connection.stream_done(self._id)

    def _wake(self) -> None:
        self._readable.wake()
        self._writable.wake()

    # ---- called by the connection

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._chunks.append(data)
        self._unread += len(data)
        self._readable.wake()

    def finish(self) -> None:
        """The peer will send no more."""
        self._finished = True
        self._tell_if_done()
        self._readable.wake()

    def was_reset(self, code: int) -> None:
        """The peer gave up sending; what was received and not read is dropped, as the engine has counted it."""
        if self._receive_failure is None:
            self._chunks.clear()
            self._unread = 0
            self._finished = False
            self._receive_failure = _by_peer("reset", code)
            self._tell_if_done()
            self._readable.wake()

    def was_stopped(self, code: int) -> None:
        """The peer listens no more."""
        if self._send_failure is None and not self._send_closed:
            self._send_failure = _by_peer("no longer read", code)
            self._tell_if_done()
            self._writable.wake()

    def break_off(self, failure: Exception) -> None:
        """The connection is gone; what was received before, and the end if it came, may still be read."""
        self._send_failure = self._send_failure or failure
        self._receive_failure = self._receive_failure or failure
        self._wake()


def _by_peer(what: str, code: int) -> StreamReset:
    why = f" ({describe_code(code)})" if code else ""
    return StreamReset(f"this stream was {what} by the peer{why}", remote=True, code=code)
