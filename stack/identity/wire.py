"""The container of public and private keys: `{1: type varint, 2: data bytes}`, in its one canonical form.

Written by hand because the bytes are hashed into peer ids: a protobuf encoder drops the type of RSA keys (zero),
and a protobuf decoder accepts further encodings of the same key, each with a peer id of its own.
Specification: peer-ids.md; schema: keys.proto.
"""

from __future__ import annotations

from enum import IntEnum

from ..errors import InvalidKey, RemoteProtocolError
from ..wire import varint

MAX_PUBLIC_KEY = 4 * 1024  # bytes; an RSA key of 8192 bits takes 1.1 KiB
MAX_PRIVATE_KEY = 16 * 1024  # bytes; an RSA key of 8192 bits takes 4.7 KiB

_TYPE_TAG = 0x08  # field 1, varint
_DATA_TAG = 0x12  # field 2, length-delimited


class KeyType(IntEnum):
    """The signature scheme a key belongs to."""

    RSA = 0  # public data: PKIX DER; private: PKCS#1 DER
    ED25519 = 1  # public data: 32 bytes; private: seed, then public key
    SECP256K1 = 2  # public data: compressed point of 33 bytes; private: 32 bytes
    ECDSA = 3  # public data: PKIX DER; private: RFC 5915 DER


def encode_key(key_type: KeyType, data: bytes) -> bytes:
    """Return the canonical container of a key."""
    return bytes((_TYPE_TAG, key_type, _DATA_TAG)) + varint.encode(len(data)) + data


def decode_key(encoded: bytes, *, limit: int) -> tuple[KeyType, bytes]:
    """Return type and data of a canonical container of at most `limit` bytes; InvalidKey otherwise."""
    if len(encoded) > limit:
        raise InvalidKey(f"key of {len(encoded)} bytes is over the limit of {limit}")
    if len(encoded) < 4 or encoded[0] != _TYPE_TAG or encoded[2] != _DATA_TAG:
        raise InvalidKey("key is not a canonical protobuf of a type and data")
    if encoded[1] not in KeyType.__members__.values():
        raise InvalidKey(f"key type {encoded[1]} is not one of {', '.join(f'{t.value} {t.name}' for t in KeyType)}")
    try:
        size, start = varint.decode(encoded, 3)
    except RemoteProtocolError as error:
        raise InvalidKey(f"length of the key data: {error}") from error
    if len(encoded) - start != size:
        raise InvalidKey(f"key announces {size} bytes of data, {len(encoded) - start} follow")
    return KeyType(encoded[1]), encoded[start:]
