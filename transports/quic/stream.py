"""A QUIC stream as a trio stream: what all muxed streams are, but that each direction ends by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerstack.stack.codes import describe_code
from peerstack.stack.errors import StreamReset
from peerstack.stack.muxing.stream import MuxedStream

if TYPE_CHECKING:
    from .connection import QuicConnection


class QuicStream(MuxedStream):
    """One bidirectional stream.

    The directions fail apart: a peer that stops listening breaks sending only, one that gives up sending breaks
    receiving only.
    """

    __slots__ = ("unheard",)

    _connection: QuicConnection

    def __init__(self, connection: QuicConnection, stream_id: int) -> None:
        super().__init__(connection, stream_id)
        self.unheard = False
        """Whether it was closed before anything that the peer sent on it was read."""

    async def aclose(self) -> None:
        """End our direction and stop listening; never waits for the peer."""
        self.unheard = not self._finished and self._connection.nothing_read(self._id)
        await super().aclose()

    def _drop_unread(self) -> None:
        # The engine still counts it as received: this makes room in the connection's window.
        self._connection.consumed(self._id, sum(map(len, self._chunks)))
        super()._drop_unread()

    def _direction_done(self) -> None:
        """Tell the connection when nothing more can happen on this stream."""
        receiving = not self._finished and self._receive_failure is None
        sending = not self._send_closed and self._send_failure is None
        if not sending and not receiving and not self._chunks:
            self._connection.stream_done(self._id)

    def was_reset(self, code: int) -> None:
        """The peer gave up sending; what was received before may still be read."""
        if self._receive_failure is None:
            self._receive_failure = _by_peer("reset", code)
            self._direction_done()
            self._readable.wake()

    def was_stopped(self, code: int) -> None:
        """The peer listens no more."""
        if self._send_failure is None and not self._send_closed:
            self._send_failure = _by_peer("no longer read", code)
            self._direction_done()
            self._writable.wake()


def _by_peer(what: str, code: int) -> StreamReset:
    why = f" ({describe_code(code)})" if code else ""
    return StreamReset(f"this stream was {what} by the peer{why}", remote=True, code=code)
