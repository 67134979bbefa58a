"""secp256k1: ECDSA over SHA-256 with DER signatures in low-S form (BIP 62)."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256K1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    derive_private_key,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ...errors import InvalidKey
from .key_pair import KeyPair, Verify

PUBLIC_SIZE = 33
_PRIVATE_SIZE = 32
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_CURVE = SECP256K1()
_ALGORITHM = ECDSA(SHA256())


def load_public(data: bytes) -> Verify:
    """Return the verifier of a compressed point; it refuses signatures with a high S, as rust-libp2p does.

    Raises InvalidKey for what is no point on the curve.
    """
    if len(data) != PUBLIC_SIZE:
        raise InvalidKey(f"a secp256k1 public key has {PUBLIC_SIZE} bytes, not {len(data)}")
    try:
        key = EllipticCurvePublicKey.from_encoded_point(_CURVE, data)
    except ValueError as error:
        raise InvalidKey("the secp256k1 public key is not a point on the curve") from error

    def verify(signature: bytes, message: bytes) -> None:
        key.verify(signature, message, _ALGORITHM)
        if decode_dss_signature(signature)[1] > _ORDER // 2:
            raise InvalidSignature("high S")

    return verify


def load_private(data: bytes) -> KeyPair:
    """Return the pair of a scalar of 32 bytes; InvalidKey for other sizes and values."""
    scalar = int.from_bytes(data, "big")
    if len(data) != _PRIVATE_SIZE or not 0 < scalar < _ORDER:
        raise InvalidKey(f"a secp256k1 private key is a number of {_PRIVATE_SIZE} bytes below the group order")
    return _pair(derive_private_key(scalar, _CURVE))


def generate(bits: int) -> KeyPair:
    """Return a new key pair; all have the same size."""
    return _pair(generate_private_key(_CURVE))


def _pair(key: EllipticCurvePrivateKey) -> KeyPair:
    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(message, _ALGORITHM))
        return encode_dss_signature(r, min(s, _ORDER - s))

    public = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return KeyPair(public, key.private_numbers().private_value.to_bytes(_PRIVATE_SIZE, "big"), sign)
