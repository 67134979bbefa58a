"""Encode and decode multiformats unsigned varints: at most nine bytes (63 bits), minimal, least significant first."""

from __future__ import annotations

from ..errors import RemoteProtocolError

MAX_BYTES = 9
MAX_VALUE = (1 << 63) - 1

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
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


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
