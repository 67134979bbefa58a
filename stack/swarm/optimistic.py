"""A stream that proposes its protocol together with its first bytes, without waiting for the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from ..abc import Buffer, MuxedConnection, Stream
from ..background import Guard
from ..codes import StreamCode
from ..errors import NegotiationError, StackError, StreamReset
from ..negotiation import optimistic_prefix, read_answer

_ALONG = 4096
"""Bytes that are copied to leave in one piece with the proposal."""


class OptimisticStream(Stream):
    """Wraps a fresh outbound stream whose protocol the peer is known to support.

    The proposal leaves with the first bytes, or by itself when the first thing asked for is to receive. If the peer
    refuses after all, every later call raises `NegotiationError`.
    """

    def __init__(self, stream: Stream, protocol: str, *, on_agreed: Callable[[], None] = lambda: None) -> None:
        """`on_agreed` is called when the peer's answer was read, and it supports the protocol."""
        self._stream = stream
        self._on_agreed = on_agreed
        self.protocol = protocol
        stream.protocol = protocol
        self._proposed = False
        # One task may send while another receives, and either may be the first to propose.
        self._proposing = trio.Lock()
        self._sending = Guard("another task is sending on this stream")
        self._answered = False
        self._refusal: StackError | None = None

    @property
    def connection(self) -> MuxedConnection:
        """The connection that carries this stream."""
        return self._stream.connection

    async def send_all(self, data: Buffer) -> None:
        """Send everything, behind the proposal the first time."""
        if self._answered:
            await self._stream.send_all(data)
            return
        with self._sending:
            self._check_refusal()
            if self._proposed or not await self._propose(data):
                with self._explaining_resets():
                    await self._stream.send_all(data)

    def _check_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    @contextmanager
    def _explaining_resets(self) -> Iterator[None]:
        """Turn the reset by a peer that gave up negotiating into what it means."""
        try:
            yield
        except StreamReset as error:
            self._check_refusal()
            if self._answered or error.code != StreamCode.NEGOTIATION_FAILED or not error.remote:
                raise
            self._refusal = NegotiationError(
                f"the peer does not support {self.protocol}: it reset the stream", offered=(self.protocol,)
            )
            raise self._refusal from error

    async def _propose(self, data: Buffer = b"") -> bool:
        """Send the proposal unless it was sent; return whether `data`, being little, went along."""
        async with self._proposing:
            if self._proposed:
                return False
            along = bytes(data) if len(data) <= _ALONG else b""
            await self._stream.send_all(optimistic_prefix(self.protocol) + along)
            self._proposed = True
            return bool(along)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the stream takes bytes."""
        self._check_refusal()
        with self._explaining_resets():
            await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End our direction."""
        with self._sending:
            self._check_refusal()
            if not self._proposed:
                await self._propose()
            with self._explaining_resets():
                await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive at least one byte, or `b""` at the end."""
        if not self._answered:
            await self._read_answer()
        return await self._stream.receive_some(max_bytes)

    async def _read_answer(self) -> None:
        self._check_refusal()
        if not self._proposed:
            await self._propose()
        answer = _Remembered(self._stream)
        try:
            with self._explaining_resets():
                await read_answer(answer, self.protocol)
        except trio.Cancelled:
            # The next call reads the answer from its beginning.
            self._stream.unread(answer.taken)
            raise
        except StackError as error:
            if not isinstance(error, trio.BrokenResourceError):
                self._refusal = error
                self._stream.reset(StreamCode.NEGOTIATION_FAILED)
            raise
        self._answered = True
        self._on_agreed()

    def unread(self, data: bytes) -> None:
        """Give bytes back; the next `receive_some` returns them first."""
        self._stream.unread(data)

    def reset(self, code: int = 0) -> None:
        """Abort the stream."""
        self._stream.reset(code)

    async def aclose(self) -> None:
        """End the stream properly; never waits for the peer."""
        try:
            if not self._proposed:
                # Nothing was asked of the peer; there is nothing to end.
                self._stream.reset()
        finally:
            await self._stream.aclose()


class _Remembered:
    """A stream as negotiation reads it, which remembers what was taken."""

    def __init__(self, stream: Stream) -> None:
        self.taken = b""
        self.unread = stream.unread
        self.send_all = stream.send_all
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None, /) -> bytes:
        data = bytes(await self._stream.receive_some(max_bytes))
        self.taken += data
        return data
