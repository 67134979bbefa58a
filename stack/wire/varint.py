"""Encode and decode unsigned varints, least significant first.

`encode` and `decode` are for those of multiformats: at most nine bytes (63 bits), and minimal. `encode_uint64` and
`decode_uint64` are for those of protobuf: at most ten bytes (64 bits), and not always minimal.
"""

from __future__ import annotations

from ..errors import RemoteProtocolError

MAX_BYTES = 9
MAX_VALUE = (1 << 63) - 1
_MAX_BYTES_UINT64 = 10
_UINT64 = 1 << 64

_ONE_BYTE = tuple(bytes((value,)) for value in range(0x80))


class Incomplete(RemoteProtocolError):
    """The input ends inside a varint.

    An error where the input is a whole message; where bytes still arrive, catch it and wait for more.
    """


def encode(value: int) -> bytes:
    """Return the one to nine bytes of `value`; ValueError outside 0 <= value < 2**63."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    if not 0 <= value <= MAX_VALUE:
        raise ValueError(f"{value} does not fit an unsigned varint of 63 bits")
    return _encode(value)


def decode(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int]:
    """Return the value that starts at `offset` and the offset behind it.

    Raises Incomplete when `data` ends too early, RemoteProtocolError for more than nine bytes or a longer
    encoding than needed (`81 00`).
    """
    size = len(data)
    if offset < size and (first := data[offset]) < 0x80:
        return first, offset + 1
    value = 0
    for index in range(MAX_BYTES):
        if offset + index >= size:
            raise Incomplete("input ended inside a varint")
        byte = data[offset + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index:
                raise RemoteProtocolError("varint is longer than needed")
            return value, offset + index + 1
    raise RemoteProtocolError(f"varint is longer than {MAX_BYTES} bytes")


def encode_uint64(value: int) -> bytes:
    """Return the minimal encoding of `value` in one to ten bytes; ValueError outside 0 <= value < 2**64."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    if not 0 <= value < _UINT64:
        raise ValueError(f"{value} does not fit an unsigned varint of 64 bits")
    return _encode(value)


def decode_uint64(data: bytes, offset: int, end: int) -> tuple[int, int]:
    """Return the value that starts at `offset` and the offset behind it.

    Raises RemoteProtocolError if it reaches beyond `end`, has more than ten bytes, or is not below 2**64.
    """
    value = shift = 0
    for index in range(offset, min(end, offset + _MAX_BYTES_UINT64)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= _UINT64:
                raise RemoteProtocolError("varint is over 64 bits")
            return value, index + 1
        shift += 7
    if end - offset < _MAX_BYTES_UINT64:
        raise RemoteProtocolError("input ended inside a varint")
    raise RemoteProtocolError(f"varint is longer than {_MAX_BYTES_UINT64} bytes")


def _encode(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
