"""RSA: RSASSA-PKCS1-v1_5 over SHA-256, of 2048 to 8192 bits."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from ...errors import InvalidKey
from . import der
from .key_pair import KeyPair, Verify

MIN_BITS = 2048  # as in go-libp2p and rust-libp2p
MAX_BITS = 8192  # a huge modulus turns each verification into seconds of work (CVE-2023-39533)
MAX_EXPONENT = (1 << 32) - 1
MIN_EXPONENT = 3
_EXPONENT = 65537

_PADDING = PKCS1v15()
_HASH = SHA256()


def load_public(data: bytes) -> Verify:
    """Return the verifier of a PKIX DER."""
    key = der.load_public(data, "RSA")
    if not isinstance(key, RSAPublicKey):
        raise der.other_type("RSA")
    _check(key)

    def verify(signature: bytes, message: bytes) -> None:
        key.verify(signature, message, _PADDING, _HASH)

    return verify


def load_private(data: bytes) -> KeyPair:
    """Return the pair of a PKCS#1 DER; `load_public` checks its size."""
    key = der.load_private(data, "RSA", "PKCS#1")
    if not isinstance(key, RSAPrivateKey):
        raise der.other_type("RSA")
    return _pair(key)


def generate(bits: int) -> KeyPair:
    """Return a new key pair of `bits`; InvalidKey outside 2048 to 8192."""
    _check_size(bits)
    return _pair(generate_private_key(_EXPONENT, bits))


def _check(key: RSAPublicKey) -> None:
    _check_size(key.key_size)
    numbers = key.public_numbers()
    if not (MIN_EXPONENT <= numbers.e <= MAX_EXPONENT and numbers.e % 2 and numbers.n % 2):
        raise InvalidKey("exponent and modulus of an RSA key are odd, and the exponent is between 3 and 2**32")


def _check_size(bits: int) -> None:
    if not MIN_BITS <= bits <= MAX_BITS:
        raise InvalidKey(f"RSA keys have {MIN_BITS} to {MAX_BITS} bits, not {bits}")


def _pair(key: RSAPrivateKey) -> KeyPair:
    return der.key_pair(key, lambda message: key.sign(message, _PADDING, _HASH))
