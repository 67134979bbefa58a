"""A wrapper that lets any trio stream take back bytes."""

from __future__ import annotations

import trio

from ..errors import LocalProtocolError


class Replay(trio.abc.HalfCloseableStream):
    """A trio stream with `unread` on top; everything else goes to `stream`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._unread = b""

    def unread(self, data: bytes, /) -> None:
        """Put `data` in front of what `receive_some` returns next."""
        self._unread = data + self._unread

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what was unread, then from the stream."""
        if not self._unread or (max_bytes is not None and max_bytes < 1):
            return await self._stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        size = len(self._unread) if max_bytes is None else max_bytes
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending might not block."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the write half; raises LocalProtocolError if the stream below can not."""
        if not isinstance(self._stream, trio.abc.HalfCloseableStream):
            raise LocalProtocolError(f"{type(self._stream).__name__} can not close only its write half")
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the stream below, and forget what was unread."""
        self._unread = b""
        await self._stream.aclose()
