"""A pipe that sends what it is given in another form, frames or records, over a pipe below."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from enum import Enum, auto
from operator import index

import trio

from peerstack.stack.abc import Buffer, Pipe
from peerstack.stack.net.pipes import GuardedPipe

_RECEIVE = 64 * 1024
_NOTHING = memoryview(b"")


class _State(Enum):
    OPEN = auto()
    ENDED = auto()  # our end of the stream was sent
    ANSWERED = auto()  # the same, since the peer ended the stream or broke the protocol
    CLOSED = auto()


class WrappingPipe(GuardedPipe):
    """What `TlsPipe` and `WebSocketPipe` share.

    What was wrapped has to go in full, even when the pipe below takes a part of it only. The last byte of such a batch
    is *owed*: it is not counted as sent until the batch has gone, so that the caller comes back and keeps it moving.
    One that is cancelled and does not come back has sent that byte.
    """

    __slots__ = ("_below", "_owed", "_pushing", "_state", "_waiting")

    def __init__(self, below: Pipe) -> None:
        super().__init__()
        self._below = below
        self._waiting = _NOTHING
        self._owed: int | None = None
        self._pushing = False  # whether a task waits for the pipe below to take more
        self._state = _State.OPEN

    # ---- what the kinds differ in

    @abstractmethod
    def _wrap(self, data: memoryview) -> tuple[Buffer, int]:
        """Wrap the first part of `data`: what goes to the pipe below, and how many bytes it stands for."""

    @abstractmethod
    def _more(self) -> Buffer:
        """Return what has to go without being asked, such as answers to the peer; it is not offered again."""

    @abstractmethod
    def _go_away_reason(self) -> Buffer:
        """Return the frame or record that ends our direction."""

    @abstractmethod
    def _receive(self, buffer: memoryview) -> int:
        """Receive from the pipe below and unwrap into `buffer`; see `Pipe.receive_nowait`."""

    @property
    @abstractmethod
    def _at_hand(self) -> bool:
        """Whether `_receive` has something to say without anything new from below."""

    # ---- sending

    def send_nowait(self, data: Buffer) -> int:
        """Send what fits at once; see `Pipe.send_nowait`."""
        self._check_sendable()
        if self._waiting and not self._flush_nowait():
            return 0
        taken = 0
        with memoryview(data) as view:
            if self._owed is not None and view:
                # Another byte: the one owed was that of a send that was cancelled; it went, as trio allows.
                taken = int(view[0] == self._owed)
                self._owed = None
            while taken < len(view):
                wrapped, size = self._wrap(view[taken:])
                taken += size
                sent = self._below.send_nowait(wrapped)
                if sent < len(wrapped):
                    # A copy: what was wrapped may lie in a buffer that is used again.
                    self._waiting = memoryview(bytes(memoryview(wrapped)[sent:]))
                    taken -= 1
                    self._owed = view[taken]
                    break
        return taken

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the pipe below has taken what was wrapped, and takes more."""
        with self._sending:
            self._check_sendable()
            await self._wait_sendable()
            while not self._flush_nowait():
                await self._wait_sendable()

    async def send_eof(self) -> None:
        """End our direction; the connection below stays open."""
        with self._sending:
            self._check_open()
            await trio.lowlevel.checkpoint()
            while not self._flush_nowait():
                await self._wait_sendable()
            if self._state is _State.OPEN:
                self._state = _State.ENDED
                self._waiting = memoryview(self._go_away_reason())
            while not self._flush_nowait():
                await self._wait_sendable()

    async def _wait_sendable(self) -> None:
        self._pushing = True
        try:
            await self._below.wait_send_all_might_not_block()
        finally:
            self._pushing = False

    def _flush_nowait(self) -> bool:
        """Send what waits; return whether all of it went."""
        while waiting := self._waiting or memoryview(self._more()):
            self._waiting = waiting[self._below.send_nowait(waiting) :]
            if self._waiting:
                return False
        return True

    def _answer(self) -> None:
        """Send what waits, if it goes and no task is at it; what breaks here is told by receiving."""
        if self._pushing:
            return
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            self._flush_nowait()

    def _end(self) -> None:
        """Send our end, if it fits and no task is sending, and nothing after it."""
        if self._state is _State.OPEN:
            self._state = _State.ANSWERED
            if self._pushing:
                return
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                if self._flush_nowait():
                    self._waiting = memoryview(self._go_away_reason())
                    self._flush_nowait()

    @property
    def ended(self) -> bool:
        """Whether our end of the stream was sent."""
        return self._state is not _State.OPEN

    # ---- receiving

    def receive_nowait(self, buffer: memoryview) -> int:
        """Receive into `buffer`; see `Pipe.receive_nowait`."""
        self._check_open()
        if self._replay:
            return self._receive_unread(buffer)
        if self._waiting:
            self._answer()
        return self._receive(buffer)

    async def wait_receive_might_not_block(self) -> None:
        """Wait until there is something to receive."""
        self._check_open()
        if self._replay or self._at_hand:
            await trio.lowlevel.checkpoint()
        else:
            await self._below.wait_receive_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte, or `b""` at the end."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            self._check_open()
            await trio.lowlevel.checkpoint()
            buffer = bytearray(min(max_bytes or _RECEIVE, _RECEIVE))
            with memoryview(buffer) as view:
                while True:
                    try:
                        return bytes(view[: self.receive_nowait(view)])
                    except trio.WouldBlock:
                        await self.wait_receive_might_not_block()

    # ---- closing

    async def aclose(self) -> None:
        """Send our end, if there is room for it, and close the pipe below."""
        self._end()
        self._state = _State.CLOSED
        await self._below.aclose()

    def _check_open(self) -> None:
        if self._state is _State.CLOSED:
            raise trio.ClosedResourceError("this connection was closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._state is _State.ENDED:
            raise trio.ClosedResourceError("the end of this connection was already sent")
        if self._state is _State.ANSWERED:
            raise trio.BrokenResourceError("the peer has ended this connection")
