"""Read and write messages behind a varint of their length in bytes, one by one or all that arrived together."""

from __future__ import annotations

from typing import Final, Protocol, Self

import trio

from .errors import RemoteProtocolError
from .wire import varint


class EndOfMessages(RemoteProtocolError):
    """The peer ended the stream where a message could have begun.

    A reader of many messages catches it as the regular end; where one was due it is the peer's error.
    """


class Source(Protocol):
    """Anything bytes can be received from: every `trio.abc.ReceiveStream`, and `BufferedReader`."""

    async def receive_some(self, max_bytes: int | None = None, /) -> bytes | bytearray:
        """Return up to `max_bytes` bytes, empty at the end."""
        ...


class BufferedReader:
    """Read exact amounts from a receive stream, taking what arrives together at once.

    It reads ahead: once wrapped, read the stream through the reader only, or begin with its `leftover()`.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, *, buffered: bytes | bytearray = b"") -> None:
        self._stream = stream
        self._buffer = bytearray(buffered)

    async def receive_some(self, max_bytes: int | None = None, /) -> bytes:
        """Return what is buffered, else what arrives next; empty at the end."""
        if not self._buffer:
            chunk = await self._stream.receive_some()
            self._buffer += chunk
        return self._take(len(self._buffer) if max_bytes is None else min(max_bytes, len(self._buffer)))

    async def receive_exactly(self, count: int) -> bytes:
        """Return `count` bytes; EndOfMessages if none was left, RemoteProtocolError if some were."""
        while len(self._buffer) < count:
            chunk = await self._stream.receive_some()
            if len(chunk) == count and not self._buffer:
                return bytes(chunk)
            if not chunk:
                raise _ended(bool(self._buffer))
            self._buffer += chunk
        return self._take(count)

    def leftover(self) -> bytes:
        """Take out the bytes that were received but not yet read."""
        return self._take(len(self._buffer))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


class Memory(Protocol):
    """Counts bytes that are held for a peer, as `limits.MemoryAccount` does."""

    def hold(self, amount: int, /) -> None:
        """Count `amount` bytes more; raises LimitExceeded if they may not be held."""
        ...

    def free(self, amount: int, /) -> None:
        """Count `amount` bytes less."""
        ...


SMALL: Final = 4096
"""Bytes of a message below which counting them would cost more than holding them."""


class FrameReader:
    """Splits a receive stream into the messages it carries; for long-lived streams of many small messages.

    Use it instead of `read_length_prefixed` where one read may bring hundreds of messages. It is a context manager, so
    that what `memory` holds of an incomplete message is given back.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, *, limit: int, memory: Memory | None = None) -> None:
        self._stream = stream
        self._limit = limit
        self._memory = memory
        self._held = 0
        self._partial = bytearray()
        self._missing = 1  # bytes still needed before `_partial` can hold a message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hold(0)

    async def receive(self) -> list[bytes]:
        """Wait for at least one complete message and return all that are there; empty ones are left out.

        Raises EndOfMessages at the end between two messages, RemoteProtocolError when the stream ends inside one, or
        a length is malformed or over the limit: it is checked before its bytes are waited for. Raises LimitExceeded
        where `memory` has no room for the message that has begun.
        """
        while True:
            if self._missing > SMALL and not self._held:
                self._hold(len(self._partial) + self._missing)
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
                self._hold(0)
            else:
                data = bytes(chunk)
            messages = self._split(data)
            if messages:
                return messages

    def _hold(self, amount: int) -> None:
        if self._memory is None or amount == self._held:
            return
        if amount:
            self._memory.hold(amount)
        else:
            self._memory.free(self._held)
        self._held = amount

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


def encode_length_prefixed(data: bytes) -> bytes:
    """Return `data` behind a varint of its length."""
    return varint.encode(len(data)) + data


async def read_length_prefixed(source: Source, *, limit: int) -> bytes:
    """Return the next message, of at most `limit` bytes, and not read beyond it.

    The length is checked before anything is allocated. Raises EndOfMessages when the stream ends before the
    first byte, RemoteProtocolError when it ends inside a message, or the length is malformed or over the limit.
    """
    size = await _read_length(source)
    if size > limit:
        raise RemoteProtocolError(f"message of {size} bytes is over the limit of {limit}")
    return await _read_body(source, size)


async def _read_length(source: Source) -> int:
    prefix = bytearray()
    while True:
        byte = await source.receive_some(1)
        if not byte:
            raise _ended(bool(prefix))
        prefix += byte
        if byte[0] < 0x80 or len(prefix) == varint.MAX_BYTES:
            return varint.decode(prefix)[0]


async def _read_body(source: Source, size: int) -> bytes:
    # Grows with what arrives: a peer that only announces a size makes us allocate nothing.
    body = bytearray()
    while len(body) < size:
        chunk = await source.receive_some(size - len(body))
        if not chunk:
            raise _ended(True)
        body += chunk
    return bytes(body)


def _ended(inside: bool) -> RemoteProtocolError:
    if inside:
        return RemoteProtocolError("the stream ended inside a message")
    return EndOfMessages("the stream ended where a message was due")
