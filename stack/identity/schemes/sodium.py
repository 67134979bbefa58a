"""Ed25519 by libsodium: half the time of OpenSSL for a verification, and other threads run meanwhile.

What is a valid signature must not depend on the library: a peer that refuses what the others accept punishes
those who passed it on. Both libraries check the equation of RFC 8032 without the cofactor and refuse S >= L; libsodium
alone also refuses keys and points R of small order, and keys in a non-canonical encoding. No honest peer has such by
chance, so OpenSSL, which go-libp2p and rust-libp2p agree with, is asked about those few. Importing this module
fails where PyNaCl is missing, or brings a libsodium that multiplies by the cofactor.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_sign, crypto_sign_open
from nacl.exceptions import BadSignatureError

from .key_pair import Verify

_SIGNATURE_SIZE = 64
_POINT_SIZE = 32

_FIELD = (1 << 255) - 19
_WITHOUT_SIGN = (1 << 255) - 1
_EIGHTH = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826  # y of two of the points of order 8
_SMALL_ORDER = frozenset((0, 1, _FIELD - 1, _EIGHTH, _FIELD - _EIGHTH))  # y of all eight

# Valid only where both sides of the equation are multiplied by the cofactor: R has a component of order 8.
_WITH_COFACTOR = (
    "88aa55e6afeed8960a3191de78600347db8acd0a3795412f275f049b86260488",
    "5b61c2e3b93e6c06450f327ea72cdfeb8cde6aa020d2dd827ab3f86e708c8393"
    "dbeded6f4b5bf3df6632e6d9c4a85aab51e34b164a04398ff83849e2edb22206",
    b"peers verify without the cofactor",
)


def load_public(data: bytes) -> Verify:
    """Return the verifier of a key of 32 bytes."""
    by_openssl = Ed25519PublicKey.from_public_bytes(data).verify
    if _is_unusual(data):
        return by_openssl

    def verify(signature: bytes, message: bytes) -> None:
        if len(signature) != _SIGNATURE_SIZE:
            raise InvalidSignature(f"an Ed25519 signature has {_SIGNATURE_SIZE} bytes")
        try:
            crypto_sign_open(b"".join((signature, message)), data)
        except BadSignatureError as error:
            if not _is_unusual(signature[:_POINT_SIZE]):
                raise InvalidSignature from error
            by_openssl(signature, message)

    return verify


def sign(secret: bytes, message: bytes) -> bytes:
    """Return the signature by the key of 64 bytes (seed, then public half)."""
    return crypto_sign(message, secret)[:_SIGNATURE_SIZE]


def _is_unusual(point: bytes) -> bool:
    y = int.from_bytes(point, "little") & _WITHOUT_SIGN
    return y >= _FIELD or y in _SMALL_ORDER


def _multiplies_by_cofactor() -> bool:
    key, signature, message = _WITH_COFACTOR
    try:
        load_public(bytes.fromhex(key))(bytes.fromhex(signature), message)
    except InvalidSignature:
        return False
    return True


if _multiplies_by_cofactor():
    raise ImportError("this libsodium verifies Ed25519 with the cofactor, which other peers do not")
