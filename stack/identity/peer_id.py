"""Peer ids: the multihash of a public key, and its text forms (peer-ids.md, RFC 0001)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from ..errors import InvalidKey, InvalidPeerId
from .base_encoding import BASE36, BASE58, decode_base32, decode_number, encode_base32, encode_number

if TYPE_CHECKING:
    from .keys import PublicKey

MAX_INLINE_KEY = 42  # bytes; shorter keys are in the id as they are, longer ones hashed
MAX_TEXT = 128  # characters; the longest form has 75, and decoding base58 is quadratic

_IDENTITY = 0x00  # multihash code: the digest is the data itself
_SHA256_HEADER = b"\x12\x20"  # multihash code, then the digest's 32 bytes of length
_SHA256_SIZE = 34
_ED25519_HEADER = b"\x00\x24\x08\x01\x12\x20"  # identity, 36 bytes: type Ed25519, 32 bytes of data
_ED25519_SIZE = 38
_CID_HEADER = b"\x01\x72"  # CID version 1 of a libp2p-key
_SHORT = 8  # characters of `short()`


@dataclass(frozen=True, slots=True, order=True, repr=False)
class PeerId:
    """The identity of a peer, from its multihash; InvalidPeerId from the constructor for other bytes.

    Stricter than some implementations: the multihash is sha2-256, or the identity of a valid canonical public
    key of at most 42 bytes; nothing else can be the id of a peer.
    """

    _bytes: bytes
    _text: str | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        data = self._bytes
        if len(data) == _ED25519_SIZE and data.startswith(_ED25519_HEADER):
            return
        if len(data) == _SHA256_SIZE and data.startswith(_SHA256_HEADER):
            return
        _check_inline_key(data)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the peer id with the multihash `data`."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"a multihash is bytes, not {type(data).__name__}; text goes to PeerId.parse")
        return cls(bytes(data))

    @classmethod
    def from_public_key(cls, key: PublicKey) -> Self:
        """Return the id of the holder of `key`."""
        encoded = key.encode()
        if len(encoded) <= MAX_INLINE_KEY:
            return cls(bytes((_IDENTITY, len(encoded))) + encoded)
        return cls(_SHA256_HEADER + hashlib.sha256(encoded).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the peer id in `text`: a base58 multihash (`12D3…`, `Qm…`), or a CID (`bafz…`, `k51…`, `z…`).

        Raises InvalidPeerId for any other text.
        """
        if not isinstance(text, str):
            raise TypeError(f"the text of a peer id is str, not {type(text).__name__}; bytes go to PeerId.from_bytes")
        if len(text) > MAX_TEXT:
            raise InvalidPeerId(f"text of {len(text)} characters is too long for a peer id")
        try:
            if text.startswith(("1", "Qm")):
                return cls(decode_number(text, BASE58))
            return cls(_multihash_of_cid(text))
        except InvalidPeerId as error:
            raise InvalidPeerId(f"{text!r} is not a peer id: {error}") from error

    def to_bytes(self) -> bytes:
        """Return the multihash."""
        return self._bytes

    def to_cid(self, base: Literal["base32", "base36"] = "base32") -> str:
        """Return the id as a CID, in base32 or the base36 of IPNS names and subdomains."""
        cid = _CID_HEADER + self._bytes
        return "b" + encode_base32(cid) if base == "base32" else "k" + encode_number(cid, BASE36)

    def short(self) -> str:
        """Return the last characters, enough to tell peers apart in a log; the first are alike for all."""
        return str(self)[-_SHORT:]

    @property
    def public_key(self) -> PublicKey | None:
        """The public key where the id contains it (Ed25519, secp256k1), else None."""
        if self._bytes[0] != _IDENTITY:
            return None
        from .keys import PublicKey

        return PublicKey.decode(self._bytes[2:])

    def __str__(self) -> str:
        if self._text is None:
            object.__setattr__(self, "_text", encode_number(self._bytes, BASE58))
        assert self._text is not None
        return self._text

    def __repr__(self) -> str:
        return f"PeerId({self})"

    # By hand, since peer ids are keys of every table and the generated ones build a tuple for each comparison.
    def __eq__(self, other: object) -> bool:
        return self._bytes == other._bytes if isinstance(other, PeerId) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._bytes)


def _check_inline_key(data: bytes) -> None:
    from .keys import PublicKey

    if len(data) < 2 or data[0] != _IDENTITY:
        raise InvalidPeerId("the bytes are neither a sha2-256 nor an identity multihash")
    if data[1] > MAX_INLINE_KEY or data[1] != len(data) - 2:
        raise InvalidPeerId(f"identity multihash of {len(data)} bytes announces {data[1]}; at most {MAX_INLINE_KEY}")
    try:
        PublicKey.decode(data[2:])
    except InvalidKey as error:
        raise InvalidPeerId(f"the public key inside: {error}") from error


def _multihash_of_cid(text: str) -> bytes:
    match text[:1]:
        case "b":
            cid = decode_base32(text[1:])
        case "k":
            cid = decode_number(text[1:], BASE36)
        case "z":
            cid = decode_number(text[1:], BASE58)
        case _:
            raise InvalidPeerId("it begins with none of 1, Qm (base58), b, k, z (CID)")
    if not cid.startswith(_CID_HEADER):
        raise InvalidPeerId("it is a CID of something else than a libp2p key")
    return cid[len(_CID_HEADER) :]
