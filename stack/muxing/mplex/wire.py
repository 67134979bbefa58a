"""Mplex on the wire (mplex/README.md).

Every message is `varint(stream id << 3 | flag) || varint(length) || length bytes`.

    flag                         body
    0 NEW_STREAM                 a name, which means nothing
    1 MESSAGE_RECEIVER           bytes of the stream      2 MESSAGE_INITIATOR
    3 CLOSE_RECEIVER             -                        4 CLOSE_INITIATOR       the sender will send no more
    5 RESET_RECEIVER             -                        6 RESET_INITIATOR

Each side numbers the streams it opens, both from 0, so that one id means two streams: the flag says which, by whether
its sender opened the stream (initiator) or not (receiver).
"""

from __future__ import annotations

from typing import Final

from ...errors import RemoteProtocolError
from ...wire import varint

PROTOCOL_ID: Final = "/mplex/6.7.0"

NEW_STREAM: Final = 0
# Without the side that sends it: of each, the odd flag is the receiver's, and the even one above it the initiator's.
MESSAGE: Final = 1
CLOSE: Final = 3
RESET: Final = 5
LAST_FLAG: Final = 6

MAX_MESSAGE: Final = 1024 * 1024
"""Bytes of a message; fixed by the spec."""
MAX_STREAM_ID: Final = 2**60 - 1


def encode_header(stream_id: int, flag: int, length: int) -> bytes:
    """Encode what stands before a message."""
    return varint.encode(stream_id << 3 | flag) + varint.encode(length)


def decode_header(data: bytes, offset: int) -> tuple[int, int, int, int]:
    """Return (stream id, flag, length) of the message at `offset`, and the offset of its body.

    Raises varint.Incomplete when the header is not all there yet, RemoteProtocolError for one that is none.
    """
    tag, offset = varint.decode(data, offset)
    flag = tag & 7
    if flag > LAST_FLAG:
        raise RemoteProtocolError(f"mplex flag {flag} is unknown")
    length, offset = varint.decode(data, offset)
    if length > MAX_MESSAGE:
        raise RemoteProtocolError(f"mplex message of {length} bytes is over the limit of {MAX_MESSAGE}")
    return tag >> 3, flag, length, offset
