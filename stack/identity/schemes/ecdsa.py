"""ECDSA over SHA-256 with DER signatures, on P-256 and for other peers' keys also P-384 and P-521."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from ...errors import InvalidKey
from .key_pair import KeyPair, Verify

_CURVES = (SECP256R1, SECP384R1, SECP521R1)  # go-libp2p also takes P-224, which is below 128 bits of strength
_ALGORITHM = ECDSA(SHA256())


def load_public(data: bytes) -> Verify:
    """Return the verifier of a PKIX DER; only its one DER form counts, the bytes become a peer id."""
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKey("the ECDSA public key is not PKIX DER") from error
    if not isinstance(key, EllipticCurvePublicKey):
        raise InvalidKey("the key is marked as ECDSA and is of another type")
    _check(key)
    if _public_der(key) != data:
        raise InvalidKey("the ECDSA public key is not in canonical DER")

    def verify(signature: bytes, message: bytes) -> None:
        key.verify(signature, message, _ALGORITHM)

    return verify


def load_private(data: bytes) -> KeyPair:
    """Return the pair of an RFC 5915 DER; `load_public` judges its curve."""
    try:
        key = load_der_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidKey("the ECDSA private key is not RFC 5915 DER, or its halves do not fit") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise InvalidKey("the key is marked as ECDSA and is of another type")
    return _pair(key)


def generate(bits: int) -> KeyPair:
    """Return a new key pair on P-256, the one curve all implementations know."""
    return _pair(generate_private_key(SECP256R1()))


def _check(key: EllipticCurvePublicKey) -> None:
    if not isinstance(key.curve, _CURVES):
        raise InvalidKey(f"ECDSA keys are on P-256, P-384 or P-521, not {key.curve.name}")


def _public_der(key: EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pair(key: EllipticCurvePrivateKey) -> KeyPair:
    def sign(message: bytes) -> bytes:
        return key.sign(message, _ALGORITHM)

    private = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return KeyPair(_public_der(key.public_key()), private, sign)
