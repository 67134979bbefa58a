"""A WebSocket connection as a pipe: binary messages one way and the other, their boundaries ignored."""

from __future__ import annotations

from typing import Final

import trio
from websockets.frames import Close

from peerstack.stack.abc import Buffer, Pipe
from peerstack.stack.errors import ConnectionLost

from .core import SMALLEST_BUFFER, FrameReader
from .wire import CLEAN, MAX_MESSAGE, MAX_PAYLOAD, CloseCode, FrameError, Opcode, encode_frame
from .wrapping import WrappingPipe

_APART: Final = 64 * 1024


class WebSocketPipe(WrappingPipe):
    """A WebSocket after its handshake.

    WebSocket cannot end one direction only: `send_eof` sends a Close frame, after which the peer sends no more than
    what was under way.
    """

    __slots__ = ("_client", "_close_code", "_failure", "_pong", "_reader")

    def __init__(self, below: Pipe, *, client: bool) -> None:
        super().__init__(below)
        self._client = client
        self._reader = FrameReader(masked=not client)
        self._pong: bytes | None = None
        self._close_code = CloseCode.NORMAL
        self._failure: FrameError | ConnectionLost | None = None

    def trust(self) -> None:
        """Take messages as large as authenticated peers may send."""
        self._reader.largest = MAX_MESSAGE

    def _wrap(self, data: memoryview) -> tuple[Buffer, int]:
        if self._reader.close is not None:
            raise trio.BrokenResourceError("the peer closed the WebSocket")
        with data[:MAX_PAYLOAD] as payload:
            return encode_frame(Opcode.BINARY, payload, mask=self._client), len(payload)

    def _more(self) -> Buffer:
        if self._pong is None:
            return b""
        pong, self._pong = self._pong, None
        return encode_frame(Opcode.PONG, pong, mask=self._client)

    def _go_away_reason(self) -> Buffer:
        return encode_frame(Opcode.CLOSE, self._close_code.to_bytes(2, "big"), mask=self._client)

    @property
    def _at_hand(self) -> bool:
        return bool(self._failure or self._reader.failure or self._reader.close)

    def _receive(self, buffer: memoryview) -> int:
        if len(buffer) < SMALLEST_BUFFER:
            return self._receive_apart(buffer)
        if self._failure is not None:
            raise self._failure
        if self._reader.failure is not None:
            raise self._refuse(self._reader.failure)
        if self._reader.close is not None:
            return self._closed(self._reader.close)
        kept = len(self._reader.partial)
        buffer[:kept] = self._reader.partial
        received = self._below.receive_nowait(buffer[kept:])
        if not received:
            return self._hung_up()
        try:
            size = self._reader.unframe(buffer, kept + received)
        except FrameError as error:
            raise self._refuse(error) from None
        if self._reader.ping is not None:
            # Of several, only the latest need be answered (section 5.5.3): a flood of them fills no queue.
            self._pong, self._reader.ping = self._reader.ping, None
            self._answer()
        if size:
            return size
        if self._reader.close is not None:
            return self._closed(self._reader.close)
        raise trio.WouldBlock

    def _receive_apart(self, buffer: memoryview) -> int:
        """Receive into a buffer of our own, where the caller's cannot hold what arrives beside the payload."""
        with memoryview(bytearray(_APART)) as view:
            size = self._receive(view)
            taken = min(size, len(buffer))
            buffer[:taken] = view[:taken]
            self.unread(bytes(view[taken:size]))
        return taken

    def _refuse(self, error: FrameError) -> FrameError:
        """Tell the peer what it did wrong, and remember it."""
        self._failure = error
        self._close_code = error.close_code
        self._end()
        return error

    def _closed(self, close: Close) -> int:
        """Answer the peer's Close frame, and end; see `_receive`."""
        self._end()
        if close.code in CLEAN:
            return 0
        self._failure = ConnectionLost(f"the peer closed the WebSocket: {close}")
        raise self._failure

    def _hung_up(self) -> int:
        """Return or raise what the end of the connection below means; see `_receive`."""
        if self._reader.inside:
            raise ConnectionLost("the connection ended inside a WebSocket frame")
        if not self.ended:
            raise ConnectionLost("the connection ended without a WebSocket Close frame")
        return 0
