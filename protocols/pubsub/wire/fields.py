"""Read one protobuf field at a time."""

from __future__ import annotations

from peerstack.stack.errors import RemoteProtocolError

from .varints import decode_varint

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_TAG = (1 << 32) - 1


def read_field(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Return the tag at `position`, where the content begins, and the position behind the field.

    The tag is field number times eight plus wire type. Instead of a begin, a varint field gives its value.
    Raises RemoteProtocolError for groups (wire types 3 and 4), unknown wire types, field number 0, and fields
    that reach beyond `end`.
    """
    if (tag := data[position]) < 0x80:
        position += 1
    else:
        tag, position = decode_varint(data, position, end)
    if not 8 <= tag <= _MAX_TAG:
        raise RemoteProtocolError(f"{tag} is not the tag of a field")
    kind = tag & 7
    if kind == _VARINT:
        value, position = decode_varint(data, position, end)
        return tag, value, position
    if kind == _BYTES:
        if position < end and (size := data[position]) < 0x80:
            position += 1
        else:
            size, position = decode_varint(data, position, end)
    elif kind == _FIXED64:
        size = 8
    elif kind == _FIXED32:
        size = 4
    else:
        raise RemoteProtocolError(f"field {tag >> 3} has wire type {kind}; groups are not taken")
    behind = position + size
    if behind > end:
        raise RemoteProtocolError(f"field {tag >> 3} announces {size} bytes, {end - position} are left")
    return tag, position, behind


def read_topic(content: bytes, max_size: int) -> str:
    """Return the topic named by `content`; RemoteProtocolError if it is over `max_size` bytes or not UTF-8."""
    if len(content) > max_size:
        raise RemoteProtocolError(f"topic of {len(content)} bytes is over the limit of {max_size}")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError("the name of a topic is not UTF-8") from error
