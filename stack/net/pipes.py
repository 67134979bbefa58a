"""Pipes: any trio stream as one, so that the data path has one interface to run on, and what other pipes share."""

from __future__ import annotations

from abc import abstractmethod
from operator import index

import trio

from ..abc import Buffer, Pipe
from ..background import Guard
from ..errors import LocalProtocolError

_SEND_SIZE = 64 * 1024  # bytes handed to a foreign stream at once; it may copy them


class GuardedPipe(Pipe):
    """What pipes of which one task at a time may send, and one receive, have in common."""

    __slots__ = ("_receiving", "_replay", "_sending")

    def __init__(self) -> None:
        self._replay = b""
        self._sending = Guard("another task is sending on this connection")
        self._receiving = Guard("another task is receiving on this connection")

    @abstractmethod
    def _check_sendable(self) -> None:
        """Raise what a send would raise now."""

    @abstractmethod
    async def _wait_sendable(self) -> None:
        """Wait until `send_nowait` is worth a try."""

    async def send_some(self, data: Buffer) -> int:
        """Wait until something can be sent, send it, and return how many bytes went."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not (sent := self.send_nowait(data)):
            await self._wait_sendable()
        return sent

    async def send_all(self, data: Buffer) -> None:
        """Send everything."""
        with self._sending, memoryview(data) as view:
            self._check_sendable()
            await trio.lowlevel.checkpoint()
            position = 0
            while position < len(view):
                position += await self.send_some(view[position:])

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until bytes can be sent again."""
        with self._sending:
            self._check_sendable()
            await self._wait_sendable()

    def unread(self, data: bytes) -> None:
        """Give bytes back; the next receive returns them first."""
        self._replay = data + self._replay

    def _receive_unread(self, buffer: memoryview) -> int:
        """Receive bytes that were given back."""
        size = min(len(buffer), len(self._replay))
        buffer[:size], self._replay = self._replay[:size], self._replay[size:]
        return size


class StreamPipe(Pipe):
    """A plain trio stream seen as a pipe; nothing moves without waiting."""

    __slots__ = ("_replay", "_stream", "_torn")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._replay: bytes | None = b""
        self._torn = False

    def send_nowait(self, data: Buffer) -> int:
        """Send nothing: a trio stream can only be waited for."""
        return 0

    async def send_some(self, data: Buffer) -> int:
        """Send the first part of `data` and return its size."""
        with memoryview(data)[:_SEND_SIZE] as view:
            await self.send_all(view)
            return len(view)

    async def send_all(self, data: Buffer) -> None:
        """Send everything; a call that is cancelled breaks the pipe, since it is not known how much of it went."""
        if self._torn:
            raise trio.BrokenResourceError("an earlier send was cancelled half-way")
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            await self._stream.send_all(data)
        except trio.Cancelled:
            self._torn = True
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the stream takes bytes again."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End our direction, if the stream can."""
        if not isinstance(self._stream, trio.abc.HalfCloseableStream):
            raise LocalProtocolError(f"{type(self._stream).__name__} cannot close one direction only")
        await self._stream.send_eof()

    def receive_nowait(self, buffer: memoryview) -> int:
        """Receive what `wait_receive_might_not_block` fetched."""
        if self._replay is None:
            return 0
        if not self._replay:
            raise trio.WouldBlock
        size = min(len(buffer), len(self._replay))
        buffer[:size] = self._replay[:size]
        self._replay = self._replay[size:]
        return size

    async def wait_receive_might_not_block(self) -> None:
        """Fetch bytes if none are at hand."""
        if self._replay == b"":
            data = await self._stream.receive_some()
            self._replay = bytes(data) or None
        else:
            await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive at least one byte, or `b""` at the end."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        if not self._replay:
            return b"" if self._replay is None else await self._stream.receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        size = len(self._replay) if max_bytes is None else max_bytes
        data, self._replay = self._replay[:size], self._replay[size:]
        return data

    def unread(self, data: bytes) -> None:
        """Give bytes back; the next receive returns them first."""
        self._replay = data + (self._replay or b"")

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()


def as_pipe(stream: trio.abc.Stream) -> Pipe:
    """Return the stream itself if it is a pipe, else a pipe round it."""
    return stream if isinstance(stream, Pipe) else StreamPipe(stream)
