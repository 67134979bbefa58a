"""Read length-prefixed messages in bulk: all that arrived together comes out together."""

from __future__ import annotations

import trio

from ..errors import RemoteProtocolError
from . import varint
from .framing import EndOfMessages


class FrameReader:
    """Splits a receive stream into the messages it carries; for long-lived streams of many small messages.

    Use it instead of `read_length_prefixed` where a wake-up may bring hundreds of messages.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, *, limit: int) -> None:
        self._stream = stream
        self._limit = limit
        self._partial = bytearray()
        self._missing = 1  # bytes without which another look at `_partial` is useless

    async def receive(self) -> list[bytes]:
        """Wait for at least one complete message and return all that are there; empty ones are left out.

        Raises EndOfMessages at the end between two messages, RemoteProtocolError when the stream ends inside one, or
        a length is malformed or over the limit: it is checked before its bytes are waited for.
        """
        while True:
            chunk = await self._stream.receive_some()
            if not chunk:
                self._end()
            if self._partial:
                self._partial += chunk
                self._missing -= len(chunk)
                if self._missing > 0:
                    continue
                data = bytes(self._partial)
                self._partial.clear()
            else:
                data = bytes(chunk)
            messages = self._split(data)
            if messages:
                return messages

    def _end(self) -> None:
        if self._partial:
            raise RemoteProtocolError("the stream ended inside a message")
        raise EndOfMessages("the peer ended the stream")

    def _split(self, data: bytes) -> list[bytes]:
        messages: list[bytes] = []
        position, end = 0, len(data)
        while position < end:
            try:
                size, start = varint.decode(data, position)
            except varint.Incomplete:
                self._keep(data, position, 1)
                break
            if size > self._limit:
                raise RemoteProtocolError(f"message of {size} bytes is over the limit of {self._limit}")
            if start + size > end:
                self._keep(data, position, start + size - end)
                break
            if size:
                messages.append(data[start : start + size])
            position = start + size
        return messages

    def _keep(self, data: bytes, position: int, missing: int) -> None:
        self._partial += data[position:]
        self._missing = missing
