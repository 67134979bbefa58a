"""Yamux on the wire (yamux/README.md and hashicorp's spec.md).

Every frame begins with 12 bytes, big-endian: version u8 (0) | type u8 | flags u16 | stream id u32 | length u32.

    type            length                              body            stream id
    0 DATA          bytes that follow                   length bytes    stream
    1 WINDOW_UPDATE credit added for the sender         -               stream
    2 PING          opaque value, echoed with ACK       -               0
    3 GO_AWAY       error code                          -               0

Flags SYN 1, ACK 2, FIN 4, RST 8 ride on DATA or WINDOW_UPDATE. The dialer's stream ids are odd, the listener's even.
Not in the spec but on the network: go puts an error code in the length of WINDOW_UPDATE|RST.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from ...errors import RemoteProtocolError

PROTOCOL_ID: Final = "/yamux/1.0.0"

HEADER: Final = struct.Struct(">BBHII")
HEADER_SIZE: Final = 12

# Plain integers, not enum members: these are compared for every frame.
DATA: Final = 0
WINDOW_UPDATE: Final = 1
PING: Final = 2
GO_AWAY: Final = 3

SYN: Final = 1
ACK: Final = 2
FIN: Final = 4
RST: Final = 8

INITIAL_WINDOW: Final = 256 * 1024
"""Bytes each side may send on a fresh stream; fixed by the spec."""
MAX_CREDIT: Final = 2**32 - 1
"""A sum of window updates beyond this would wrap (CVE-2026-31814)."""
MAX_STREAM_ID: Final = 2**32 - 1


class GoAwayCode(IntEnum):
    """Why a session ends."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


def encode_header(kind: int, flags: int, stream_id: int, length: int) -> bytes:
    """Encode one frame header."""
    return HEADER.pack(0, kind, flags, stream_id, length)


def decode_header(data: bytes | memoryview, offset: int = 0) -> tuple[int, int, int, int]:
    """Decode the header at `offset` into (type, flags, stream id, length). Raises RemoteProtocolError."""
    version, kind, flags, stream_id, length = HEADER.unpack_from(data, offset)
    if version != 0 or kind > GO_AWAY:
        what = f"version {version}" if version else f"frame type {kind}"
        raise RemoteProtocolError(f"yamux {what} is unknown", code=GoAwayCode.PROTOCOL_ERROR)
    return kind, flags, stream_id, length
