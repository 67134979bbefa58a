"""ECDSA over SHA-256 with DER signatures, on P-256 and for other peers' keys also P-384 and P-521."""

from __future__ import annotations

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

from ...errors import InvalidKey
from . import der
from .key_pair import KeyPair, Verify

_CURVES = (SECP256R1, SECP384R1, SECP521R1)  # go-libp2p also takes P-224, which is below 128 bits of strength
_ALGORITHM = ECDSA(SHA256())


def load_public(data: bytes) -> Verify:
    """Return the verifier of a PKIX DER; InvalidKey for another type or curve of key."""
    key = der.load_public(data, "ECDSA")
    if not isinstance(key, EllipticCurvePublicKey):
        raise der.other_type("ECDSA")
    if not isinstance(key.curve, _CURVES):
        raise InvalidKey(f"ECDSA keys are on P-256, P-384 or P-521, not {key.curve.name}")

    def verify(signature: bytes, message: bytes) -> None:
        key.verify(signature, message, _ALGORITHM)

    return verify


def load_private(data: bytes) -> KeyPair:
    """Return the pair of an RFC 5915 DER; `load_public` checks its curve."""
    key = der.load_private(data, "ECDSA", "RFC 5915")
    if not isinstance(key, EllipticCurvePrivateKey):
        raise der.other_type("ECDSA")
    return _pair(key)


def generate(bits: int) -> KeyPair:
    """Return a new key pair on P-256, the one curve all implementations know."""
    return _pair(generate_private_key(SECP256R1()))


def _pair(key: EllipticCurvePrivateKey) -> KeyPair:
    return der.key_pair(key, lambda message: key.sign(message, _ALGORITHM))
