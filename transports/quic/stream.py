"""A QUIC stream as a trio stream: what all muxed streams are, but that each direction ends by itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from peerstack.stack.codes import describe_code
from peerstack.stack.errors import StreamReset
from peerstack.stack.muxing.stream import MuxedStream
from peerstack.stack.muxing.stream_registry import StreamRegistry

READ_SIZE: Final = 256 * 1024
"""Bytes that a reader gets at once at most, unless it says how many it wants."""


class QuicStreamRegistry(StreamRegistry["QuicStream"]):
    """What a stream needs of its connection, beside what all muxed streams do."""

    @abstractmethod
    def read(self, stream_id: int, size: int) -> tuple[bytes, bool] | None:
        """Take what arrived; see `SocketEngine.read`. Once it is kept, `after_read` must be called."""

    @abstractmethod
    def after_read(self) -> None:
        """Tell the peer that there is room again; the connection may end by that."""

    @abstractmethod
    def stream_done(self, stream_id: int) -> None:
        """Forget a stream on which nothing more can happen, and tell."""


class QuicStream(MuxedStream):
    """One bidirectional stream.

    What arrived stays in the engine until it is read. The directions fail apart: a peer that stops reading breaks
    sending only, one that gives up sending breaks receiving only.
    """

    __slots__ = ("closed_unread", "consumed")

    _connection: QuicStreamRegistry

    def __init__(self, connection: QuicStreamRegistry, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self.consumed = 0
        """Bytes that the application took."""
        self.closed_unread = False
        """Whether it was closed before anything that the peer sent on it was read."""

    def _fetch(self, max_bytes: int | None) -> bool:
        if self._finished or self._receive_failure is not None:
            return False
        received = self._connection.read(self._id, max_bytes or READ_SIZE)
        if received is None:
            return False
        self.keep(*received)
        self._connection.after_read()
        return True

    def keep(self, data: bytes, end: bool) -> None:
        """Take bytes that arrived, and the end, from the engine."""
        self._finished = end
        if data:
            self._chunks.append(data)

    async def aclose(self) -> None:
        """End our direction and stop reading; never waits for the peer."""
        self.closed_unread = not self._finished and not self.consumed
        await super().aclose()

    def _direction_done(self) -> None:
        """Tell the connection when nothing more can happen on this stream."""
        self._notice_end()
        receiving = not self._finished and self._receive_failure is None
        if self._sending_done and not receiving and not self._chunks:
            self._connection.stream_done(self._id)

    def _notice_end(self) -> None:
        """Learn of an end that no task waits for: it may be the last that happens here."""
        receiving = not self._finished and self._receive_failure is None
        if self._sending_done and receiving and not self._receive_guard.held:
            received = self._connection.read(self._id, 0)
            self._finished = received is not None and received[1]

    @property
    def _sending_done(self) -> bool:
        return self._send_closed or self._send_failure is not None

    # ---- called by the connection

    def readable(self) -> None:
        """Something arrived, or the end."""
        self._direction_done()
        self._readable.wake()

    def writable(self) -> None:
        """There is room to send again."""
        self._writable.wake()

    def was_reset(self, code: int) -> None:
        """The peer gave up sending, and what the engine had received before was read."""
        if self._receive_failure is None:
            self._receive_failure = _by_peer("reset", code)
            self._direction_done()
            self._readable.wake()

    def was_stopped(self, code: int) -> None:
        """The peer reads no more."""
        if self._send_failure is None and not self._send_closed:
            self._send_failure = _by_peer("no longer read", code)
            self._direction_done()
            self._writable.wake()


def _by_peer(what: str, code: int) -> StreamReset:
    why = f" ({describe_code(code)})" if code else ""
    return StreamReset(f"this stream was {what} by the peer{why}", remote=True, code=code)
