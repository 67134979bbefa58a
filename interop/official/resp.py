"""A small Redis client on trio: the five commands that the contracts need, over RESP2.

The `redis` package would do it in a thread, but a blocking BLPOP there can be neither cancelled nor bounded in what it
takes from a server, and it would be the only dependency of these programs besides peerstack.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import trio

PORT = 6379
MAX_LINE = 1024
"""Bytes of a line: a number, a status or an error."""
MAX_BULK = 64 * 1024
"""Bytes of one value; the contracts store an address."""
MAX_ITEMS = 16
"""Elements of an array, which is flat in the answers to our commands."""

Reply: TypeAlias = "bytes | int | list[bytes | int | None] | None"
_Item: TypeAlias = "bytes | int | None"


class RedisError(Exception):
    """The server refused a command, spoke no RESP, or left."""


class Redis:
    """One connection, one command at a time. Get it from `open_redis`."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._turn = trio.Lock()

    async def delete(self, key: str) -> None:
        """Remove a key, if it is there."""
        await self.command("DEL", key)

    async def push(self, key: str, value: str) -> None:
        """Append a value to a list."""
        await self.command("RPUSH", key, value)

    async def pop(self, key: str) -> str:
        """Wait until a list has a value, and take the first; only a cancel ends the wait."""
        reply = await self.command("BLPOP", key, "0")
        match reply:
            case [bytes(), bytes(value)]:
                return _text(value)
        raise RedisError(f"BLPOP is answered by {reply!r}")

    async def set(self, key: str, value: str) -> None:
        """Store a value."""
        await self.command("SET", key, value)

    async def get(self, key: str) -> str | None:
        """Return a stored value, None if there is none."""
        match await self.command("GET", key):
            case None:
                return None
            case bytes(value):
                return _text(value)
            case reply:
                raise RedisError(f"GET is answered by {reply!r}")

    async def command(self, *words: str) -> Reply:
        """Send one command and return its reply. Raises RedisError; after a cancel the connection is of no more use."""
        async with self._turn:
            try:
                await self._stream.send_all(encode(words))
                return await self._reply()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise RedisError(f"the connection is gone: {error}") from error

    async def _reply(self) -> Reply:
        kind, rest = await self._line()
        if kind != b"*":
            return await self._item(kind, rest)
        count = _number(rest, MAX_ITEMS)
        return None if count is None else [await self._item(*await self._line()) for _ in range(count)]

    async def _item(self, kind: bytes, rest: bytes) -> _Item:
        match kind:
            case b"+":
                return rest
            case b"-":
                raise RedisError(rest.decode(errors="replace"))
            case b":":
                return _integer(rest)
            case b"$":
                size = _number(rest, MAX_BULK)
                return None if size is None else await self._bulk(size)
        raise RedisError(f"a reply begins with {kind!r}")

    async def _line(self) -> tuple[bytes, bytes]:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise RedisError(f"a line of more than {MAX_LINE} bytes")
            await self._more()
        if end > MAX_LINE:
            raise RedisError(f"a line of more than {MAX_LINE} bytes")
        line = self._take(end + 2)[:-2]
        return line[:1], line[1:]

    async def _bulk(self, size: int) -> bytes:
        while len(self._buffer) < size + 2:
            await self._more()
        data = self._take(size + 2)
        if not data.endswith(b"\r\n"):
            raise RedisError("a value is longer than its length says")
        return data[:-2]

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def _more(self) -> None:
        data = await self._stream.receive_some(MAX_BULK)
        if not data:
            raise RedisError("the server closed the connection")
        self._buffer += data


@asynccontextmanager
async def open_redis(address: str) -> AsyncIterator[Redis]:
    """Connect to a server given as `HOST` or `HOST:PORT`. Raises ValueError or OSError."""
    host, _, port = address.partition(":")
    if not host:
        raise ValueError(f"{address!r} names no host")
    async with await trio.open_tcp_stream(host, int(port or PORT)) as stream:
        yield Redis(stream)


def encode(words: tuple[str, ...]) -> bytes:
    """Return a command as an array of bulk strings."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _number(text: bytes, most: int) -> int | None:
    """Return a length, None for -1, which means that nothing is there."""
    number = _integer(text)
    if number == -1:
        return None
    if not 0 <= number <= most:
        raise RedisError(f"a length of {number}, where at most {most} is taken")
    return number


def _integer(text: bytes) -> int:
    if not text.removeprefix(b"-").isdigit() or len(text) > 20:
        raise RedisError(f"{text[:40]!r} is no number")
    return int(text)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RedisError(f"a value is not UTF-8: {error}") from error
