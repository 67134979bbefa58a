"""Takes frames apart as they come, in the buffer they were received into; nothing is held but a broken-off header."""

from __future__ import annotations

from typing import Final

from websockets.exceptions import ProtocolError
from websockets.frames import Close

from .wire import (
    CONTROL,
    FIN,
    MASK,
    MAX_CONTROL,
    MAX_UNAUTHENTICATED,
    RESERVED,
    CloseCode,
    FrameError,
    Opcode,
    apply_mask,
)

SMALLEST_BUFFER: Final = 1024
"""Room for what may be left of a header or a control frame, and then some."""

_MASKING: Final = {
    True: "a frame of a client is not masked (RFC 6455, section 5.1)",
    False: "a frame of a server is masked (RFC 6455, section 5.1)",
}


class FrameReader:
    """The receiving side of a WebSocket: binary messages as one run of bytes, whatever their boundaries."""

    __slots__ = ("_filled", "_key", "_left", "_masked", "_message", "close", "failure", "largest", "partial", "ping")

    def __init__(self, *, masked: bool) -> None:
        self._masked = masked
        self._left = 0  # bytes of payload to come in the present frame
        self._key = b""
        self._filled = 0  # bytes of payload moved to the front of the present buffer
        self._message: int | None = None  # bytes of the present message, if another fragment is to come
        self.largest = MAX_UNAUTHENTICATED
        """Bytes that a frame or message may have."""
        self.partial = b""
        """What was left of a header or control frame; it goes in front of what comes next."""
        self.ping: bytes | None = None
        """The latest ping, to be taken and answered."""
        self.failure: FrameError | None = None
        """What the peer did wrong, if payload came before it that had to be returned first."""
        self.close: Close | None = None
        """The peer's last word."""

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._left or self.partial)

    def unframe(self, view: memoryview, end: int) -> int:
        """Move the payload in `view[:end]` to the front and return its size; what follows a Close is ignored.

        Raises FrameError; but what came before the fault is returned first, and the fault left in `failure`.
        """
        self._filled = 0
        try:
            self._move(view, end)
        except FrameError as error:
            self.failure = error
            if not self._filled:
                raise
        return self._filled

    def _move(self, view: memoryview, end: int) -> None:
        position = 0
        self.partial = b""
        while position < end and self.close is None:
            if not self._left:
                start = self._begin(view, position, end)
                if not start:
                    self.partial = bytes(view[position:end])
                    return
                position = start
                if not self._left:
                    continue
            size = min(self._left, end - position)
            filled, stop, moved = self._filled, position + size, self._filled + size
            if self._masked:
                view[filled:moved] = apply_mask(view[position:stop], self._key)
                turn = size & 3
                self._key = self._key[turn:] + self._key[:turn]
            elif filled != position:
                view[filled:moved] = view[position:stop]
            self._left -= size
            position, self._filled = stop, moved

    def _begin(self, view: memoryview, position: int, end: int) -> int:
        """Read a header, and the whole of a control frame; return where the next thing begins, or 0 if too little."""
        if end - position < 2:
            return 0
        first, second = view[position], view[position + 1]
        length = second & ~MASK
        self._check(first, second, length)
        extra = {126: 2, 127: 8}.get(length, 0)
        start = position + 2 + extra + 4 * self._masked
        if start > end:
            return 0
        if extra:
            length = int.from_bytes(view[position + 2 : position + 2 + extra], "big")
        key = bytes(view[start - 4 : start]) if self._masked else b""
        if first & CONTROL:
            stop = start + length
            if stop > end:
                return 0
            payload = bytes(view[start:stop])
            self._control(first & 0x0F, apply_mask(payload, key) if self._masked else payload)
            return stop
        self._measure(length, last=bool(first & FIN))
        self._left, self._key = length, key
        return start

    def _check(self, first: int, second: int, length: int) -> None:
        opcode = first & 0x0F
        if first & RESERVED:
            raise FrameError("reserved bits are set, though no extension was agreed on")
        if opcode not in Opcode.__members__.values():
            raise FrameError(f"a frame has the unknown opcode {opcode}")
        if bool(second & MASK) is not self._masked:
            raise FrameError(_MASKING[self._masked])
        if opcode & CONTROL:
            if length > MAX_CONTROL or not first & FIN:
                raise FrameError(f"a {Opcode(opcode).name} frame is fragmented or larger than {MAX_CONTROL} bytes")
        elif opcode == Opcode.TEXT:
            raise FrameError("text where libp2p sends binary messages only", CloseCode.UNSUPPORTED_DATA)
        elif (opcode == Opcode.CONTINUATION) is not (self._message is not None):
            raise FrameError("a message begins inside another, or goes on without having begun")

    def _measure(self, length: int, *, last: bool) -> None:
        size = (self._message or 0) + length
        if size > self.largest:
            raise FrameError(f"a message of {size} bytes or more; the limit is {self.largest}", CloseCode.TOO_BIG)
        self._message = None if last else size

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.PING:
            self.ping = payload
        elif opcode == Opcode.CLOSE:
            try:
                self.close = Close.parse(payload)
            except (ProtocolError, UnicodeDecodeError) as error:
                raise FrameError(f"a malformed Close frame: {error}") from None
