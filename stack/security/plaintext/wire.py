"""Plaintext on the wire (plaintext/README.md): each side sends one message behind a varint of its length.

    Exchange { id=1 bytes: the multihash of a peer id; pubkey=2: the PublicKey protobuf it is made from }

By hand, since the key must stay the bytes it came as: they are what the id is made from, see `identity/wire.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ...errors import RemoteProtocolError
from ...wire import varint

PROTOCOL_ID: Final = "/plaintext/2.0.0"
MAX_EXCHANGE: Final = 8 * 1024
"""Bytes, a limit of ours: with an RSA key of 8192 bits it has 1.2 KiB. go accepts 64 KiB."""

_ID, _KEY = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


@dataclass(frozen=True, slots=True)
class Exchange:
    """The identity a side claims without proof."""

    peer_id: bytes
    public_key: bytes

    def encode(self) -> bytes:
        """Return the protobuf."""
        return _field(_ID, self.peer_id) + _field(_KEY, self.public_key)

    @classmethod
    def decode(cls, data: bytes) -> Exchange:
        """Decode the protobuf, leaving out fields that are unknown. Raises RemoteProtocolError."""
        found: dict[int, bytes] = {}
        position = 0
        while position < len(data):
            tag, position = varint.decode(data, position)
            number, wire_type = tag >> 3, tag & 7
            start, position = _value(data, position, wire_type)
            if wire_type == _BYTES:
                found[number] = data[start:position]
        if _ID not in found or _KEY not in found:
            raise RemoteProtocolError("the peer's plaintext exchange lacks its id or its key")
        return cls(found[_ID], found[_KEY])


def _field(number: int, value: bytes) -> bytes:
    return bytes((number << 3 | _BYTES,)) + varint.encode(len(value)) + value


def _value(data: bytes, position: int, wire_type: int) -> tuple[int, int]:
    """Return where the value of a field begins and ends. Raises RemoteProtocolError."""
    if wire_type == _VARINT:
        return position, varint.decode(data, position)[1]
    if wire_type == _BYTES:
        size, position = varint.decode(data, position)
    elif wire_type in _FIXED:
        size = _FIXED[wire_type]
    else:
        raise RemoteProtocolError(f"the peer's plaintext exchange has a field of wire type {wire_type}")
    if position + size > len(data):
        raise RemoteProtocolError("the peer's plaintext exchange ends inside a field")
    return position, position + size
