"""Protobuf varints of 64 bits: one to ten bytes, and unlike those of the multiformats not always minimal."""

from __future__ import annotations

from peerstack.stack.errors import RemoteProtocolError

MAX_BYTES = 10
LIMIT = 1 << 64

_ONE_BYTE = tuple(bytes((value,)) for value in range(0x80))


def encode_varint(value: int) -> bytes:
    """Return the minimal encoding of `value`; ValueError outside 0 <= value < 2**64."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    if not 0 <= value < LIMIT:
        raise ValueError(f"{value} does not fit an unsigned varint of 64 bits")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Return the value that starts at `position` and the position behind it.

    Raises RemoteProtocolError if it reaches beyond `end`, has more than ten bytes, or is not below 2**64.
    """
    value = shift = 0
    for index in range(position, min(end, position + MAX_BYTES)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= LIMIT:
                raise RemoteProtocolError("varint is over 64 bits")
            return value, index + 1
        shift += 7
    if end - position < MAX_BYTES:
        raise RemoteProtocolError("input ended inside a varint")
    raise RemoteProtocolError(f"varint is longer than {MAX_BYTES} bytes")
