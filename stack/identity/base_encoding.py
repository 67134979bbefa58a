"""Base58 (the bitcoin alphabet), base36 and base32 without padding, for the text forms of peer ids."""

from __future__ import annotations

import base64

from ..errors import InvalidPeerId

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"

_VALUES = {alphabet: {digit: value for value, digit in enumerate(alphabet)} for alphabet in (BASE58, BASE36)}
_PAIRS = {alphabet: [high + low for high in alphabet for low in alphabet] for alphabet in (BASE58, BASE36)}


def encode_number(data: bytes, alphabet: str) -> str:
    """Return `data` as one big number in the digits of `alphabet`, leading zero bytes as leading zero digits."""
    stripped = data.lstrip(b"\0")
    number = int.from_bytes(stripped, "big")
    pairs, square = _PAIRS[alphabet], len(alphabet) ** 2
    parts = []
    while number:
        number, pair = divmod(number, square)
        parts.append(pairs[pair])
    digits = "".join(reversed(parts)).lstrip(alphabet[0])
    return alphabet[0] * (len(data) - len(stripped)) + digits


def decode_number(text: str, alphabet: str) -> bytes:
    """Return the bytes of `encode_number`; InvalidPeerId for other digits. Quadratic: bound `text` before."""
    values = _VALUES[alphabet]
    number = 0
    for digit in text:
        value = values.get(digit)
        if value is None:
            raise InvalidPeerId(f"{digit!r} is not a digit of base{len(alphabet)}")
        number = number * len(alphabet) + value
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def encode_base32(data: bytes) -> str:
    """Return `data` in lower-case RFC 4648 base32 without padding."""
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def decode_base32(text: str) -> bytes:
    """Return the bytes of `encode_base32`; InvalidPeerId for anything it would not write."""
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError as error:
        raise InvalidPeerId(f"{text!r} is not base32") from error
    if encode_base32(data) != text:
        raise InvalidPeerId(f"{text!r} is not canonical lower-case base32")
    return data
