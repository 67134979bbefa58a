"""WebSocket frames (RFC 6455, section 5.2).

    1 B   FIN, three reserved bits (zero without an extension), 4 bits of opcode
    1 B   MASK, 7 bits of length: 0..125, or 126: 2 B of length follow, 127: 8 B follow
    4 B   masking key, from clients only
    …     payload, from clients XORed with the key

A message is one frame, or a first one and continuations up to one with FIN; control frames may come in between.
"""

from __future__ import annotations

from enum import IntEnum
from os import urandom
from struct import Struct
from typing import Final

from peerstack.stack.abc import Buffer
from peerstack.stack.errors import RemoteProtocolError

try:
    from websockets.speedups import apply_mask as apply_mask
except ImportError:  # pragma: no cover - where the library was installed without its C code
    from websockets.utils import apply_mask as apply_mask

MAX_PAYLOAD: Final = 65535
"""Bytes in a frame of ours: the most that a length of two bytes says; other implementations hold a whole frame."""
MAX_MESSAGE: Final = 256 * 1024 * 1024
"""Bytes in a frame or message of the peer. We hold none of it, so this is as rust-libp2p has it: js-libp2p in a private
network sends all that it has queued as one message, megabytes of it."""
MAX_UNAUTHENTICATED: Final = 1024 * 1024
"""The same until the peer is authenticated: no handshake needs more."""
MAX_CONTROL: Final = 125
"""Bytes in a control frame (section 5.5)."""

FIN: Final = 0x80
RESERVED: Final = 0x70
MASK: Final = 0x80
CONTROL: Final = 0x08

_SHORT: Final = Struct("!BB")
_LONG: Final = Struct("!BBH")


class Opcode(IntEnum):
    """The kind of a frame; those from 8 on are control frames."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class CloseCode(IntEnum):
    """Why a connection ends (section 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005  # never sent: stands for an empty Close frame
    TOO_BIG = 1009


CLEAN: Final = frozenset({CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS})
"""Codes of an orderly end."""


class FrameError(RemoteProtocolError):
    """The peer sent a frame that breaks the rules; `close_code` is what it is told."""

    def __init__(self, message: str, close_code: CloseCode = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(f"WebSocket: {message}")
        self.close_code = close_code


def encode_frame(opcode: Opcode, payload: Buffer, *, mask: bool) -> bytes:
    """Encode a frame of at most `MAX_PAYLOAD` bytes that is a whole message."""
    size = len(payload)
    masked = MASK if mask else 0
    header = _SHORT.pack(FIN | opcode, masked | size) if size < 126 else _LONG.pack(FIN | opcode, masked | 126, size)
    if not mask:
        return b"".join((header, payload))
    key = urandom(4)
    return b"".join((header, key, apply_mask(payload, key)))
