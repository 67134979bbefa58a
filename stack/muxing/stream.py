"""The streams of connections as trio streams, over a muxer or a native transport."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from operator import index

import trio

from ..abc import Buffer, MuxedConnection, Stream
from ..background import Guard, Waiter
from ..errors import ConnectionLost, StreamReset

_JOIN_BELOW = 16 * 1024
"""Received pieces smaller than this are joined for the caller, up to _JOINED; larger ones are returned as they are."""
_JOINED = 64 * 1024
NO_STREAM = -1
"""The id of a stream that its connection has forgotten."""


class StreamConnection(MuxedConnection):
    """What streams call of the connection that carries them; nothing here waits."""

    @abstractmethod
    def send_data(self, stream_id: int, data: memoryview) -> int:
        """Take the first part of `data` and return its size; 0 when there is no room."""

    @abstractmethod
    def can_send(self, stream_id: int, sender: Waiter) -> bool:
        """Return whether `send_data` would take something; if not, wake `sender` when that may have changed."""

    @abstractmethod
    def send_eof(self, stream_id: int) -> None:
        """End our direction."""

    @abstractmethod
    def close_stream(self, stream_id: int) -> None:
        """End our direction, if it is still open, and stop receiving."""

    @abstractmethod
    def reset_stream(self, stream_id: int, code: int) -> None:
        """Abort both directions."""

    @abstractmethod
    def consumed(self, stream_id: int, size: int) -> None:
        """Note that the application consumed bytes, or gave some back (negative)."""


class MuxedStream(Stream):
    """One stream of a connection: its two directions, what was received and not read, and the tasks that wait.

    Calls change the connection's state at once or not at all; only the connection's tasks do I/O, so a caller
    that is cancelled never leaves half a frame behind. Each direction can fail by itself.
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
        "_writable",
        "protocol",
    )

    def __init__(self, connection: StreamConnection, stream_id: int) -> None:
        self.protocol = ""
        self._connection = connection
        self._id = stream_id
        self._chunks: deque[bytes | memoryview] = deque()
        self._finished = False
        self._send_failure: Exception | None = None
        self._receive_failure: Exception | None = None
        self._send_closed = False
        self._readable = Waiter()
        self._writable = Waiter()
        self._send_guard = Guard("another task is sending on this stream")
        self._receive_guard = Guard("another task is receiving on this stream")

    @property
    def connection(self) -> StreamConnection:
        """The connection that carries this stream."""
        return self._connection

    def __repr__(self) -> str:
        number, protocol = "closed" if self._id == NO_STREAM else self._id, self.protocol or "not negotiated"
        return f"<{type(self).__name__} {number} {protocol} with {self._connection.remote_peer}>"

    # ---- sending

    async def send_all(self, data: Buffer) -> None:
        """Send everything; returns when the connection has taken it.

        Raises `StreamReset` once the peer reset the stream or no longer reads it, `ConnectionLost`, and
        `trio.ClosedResourceError` or a `StreamReset` of ours once this side has closed it, also while this was running:
        what was taken may then be lost. What the peer sent before a reset can still be received.
        """
        with self._send_guard:
            self._check_sending()
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            with memoryview(data) as whole, whole.cast("B") as view:
                position, size = 0, len(view)
                while position < size:
                    sent = self._connection.send_data(self._id, view[position:])
                    if not sent:
                        waited = True
                        await self._wait_sendable()
                    position += sent
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            self._check_kept()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the connection has room for something of this stream."""
        with self._send_guard:
            self._check_sending()
            await trio.lowlevel.checkpoint()
            await self._wait_sendable()

    async def _wait_sendable(self) -> None:
        while True:
            self._check_sending()
            if self._connection.can_send(self._id, self._writable):
                return
            await self._writable.wait()

    async def send_eof(self) -> None:
        """End our direction; the peer may go on sending.

        Nothing happens when the peer has reset the stream or no longer reads it: no data is lost by that, and the
        caller can go on to read the answer. Raises `ConnectionLost`, and, once this side closed or reset the stream,
        what `send_all` raises then.
        """
        with self._send_guard:
            self._check_kept()
            await trio.lowlevel.checkpoint_if_cancelled()
            if not self._send_closed:
                self._send_closed = True
                if self._send_failure is None:
                    self._connection.send_eof(self._id)
                    self._direction_done()
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._check_kept()

    def _check_sending(self) -> None:
        if self._send_closed:
            raise trio.ClosedResourceError("this stream was closed for sending")
        if self._send_failure is not None:
            raise self._send_failure

    def _check_kept(self) -> None:
        """Raise if what was taken may be lost, since this side closed the stream or the connection ended."""
        failure = self._send_failure
        if failure is not None and not _by_peer(failure):
            raise failure

    # ---- receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte, or `b""` at the end.

        What had arrived before the peer reset the stream, or before the connection was lost, comes first; only then
        `StreamReset` or `ConnectionLost` is raised. Nothing can be read once this side closed or reset the stream.
        """
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receive_guard:
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._chunks or self._finished or self._fetch(max_bytes):
                await trio.lowlevel.cancel_shielded_checkpoint()
            while not self._chunks:
                if self._finished:
                    self._direction_done()
                    return b""
                if self._receive_failure is not None:
                    self._direction_done()
                    raise self._receive_failure
                await self._readable.wait()
                self._fetch(max_bytes)
            return self._take(max_bytes)

    def _fetch(self, max_bytes: int | None) -> bool:
        """Get what the connection has for this stream, where it keeps that until it is asked; say if there was any."""
        return False

    def _take(self, max_bytes: int | None) -> bytes:
        chunks = self._chunks
        data = chunks.popleft()
        if chunks and len(data) < _JOIN_BELOW:
            data = self._join(data)
        if max_bytes is not None and len(data) > max_bytes:
            # A view: small reads of a large piece must not copy the rest of it each time.
            chunks.appendleft(memoryview(data)[max_bytes:])
            data = data[:max_bytes]
        self._connection.consumed(self._id, len(data))
        return bytes(data)

    def _join(self, first: bytes | memoryview) -> bytes:
        pieces, size = [first], len(first)
        while self._chunks and size + len(self._chunks[0]) <= _JOINED:
            pieces.append(self._chunks.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    def unread(self, data: bytes) -> None:
        """Give bytes back; the next `receive_some` returns them first."""
        failure = self._receive_failure
        if data and (failure is None or _by_peer(failure) or isinstance(failure, ConnectionLost)):
            self._chunks.appendleft(data)
            self._connection.consumed(self._id, -len(data))

    # ---- ending

    async def aclose(self) -> None:
        """End our direction and stop receiving; never waits for the peer."""
        if not isinstance(self._receive_failure, trio.ClosedResourceError):
            self._send_closed = True
            self._send_failure = self._receive_failure = None
            self._drop_unread()
            self.break_off(trio.ClosedResourceError("this stream was closed"))
            self._connection.close_stream(self._id)
        await trio.lowlevel.checkpoint()

    def reset(self, code: int = 0) -> None:
        """Abort the stream in both directions."""
        self._drop_unread()
        self.break_off(StreamReset("this stream was reset by this side", remote=False, code=code))
        self._connection.reset_stream(self._id, code)

    def _drop_unread(self) -> None:
        """Forget what was received and not read, and the end if it came."""
        self._chunks.clear()
        self._finished = False

    def _direction_done(self) -> None:
        """Called when our end was sent and when the peer's was read, for connections that do not track it."""

    # ---- called by the connection

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._chunks.append(data)
        self._readable.wake()

    def finish(self) -> None:
        """The peer will send no more."""
        self._finished = True
        self._direction_done()
        self._readable.wake()

    def break_sending(self, failure: Exception) -> None:
        """Nothing more is sent."""
        self._send_failure = self._send_failure or failure
        self._writable.wake()

    def break_off(self, failure: Exception) -> None:
        """Nothing more happens; what was received before, and the end if it came, may still be read."""
        self.break_sending(failure)
        self._receive_failure = self._receive_failure or failure
        self._readable.wake()


class MuxerStream(MuxedStream):
    """One stream of a connection whose muxer is a core and a driver; there both directions fail at once."""

    __slots__ = ()

    def window_opened(self) -> None:
        """The peer granted credit to a stream that had none."""
        self._writable.wake()

    def was_reset(self, failure: StreamReset) -> None:
        """The stream was aborted: what was received before the peer did so may still be read (as in rust-yamux)."""
        if not failure.remote:
            self._drop_unread()
        self.break_off(failure)

    def forgotten(self) -> int:
        """The core has forgotten the stream, and its id may be used again; return the number of bytes not yet read."""
        self._id = NO_STREAM
        return sum(map(len, self._chunks))

    def _drop_unread(self) -> None:
        if self._id == NO_STREAM and self._chunks:
            self._connection.consumed(NO_STREAM, sum(map(len, self._chunks)))
        super()._drop_unread()


def _by_peer(failure: Exception) -> bool:
    return isinstance(failure, StreamReset) and failure.remote
