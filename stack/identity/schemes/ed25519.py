"""Ed25519 (RFC 8032): 32 bytes of public key, 64 of private key and signature.

By libsodium where PyNaCl is installed (the extra `fast`), else by OpenSSL; the same signatures are valid to both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ...errors import InvalidKey
from .key_pair import KeyPair, Verify

PUBLIC_SIZE = 32
_SEED_SIZE = 32


@dataclass(frozen=True, slots=True)
class Library:
    """What computes; `releases_the_gil` says whether other threads run meanwhile."""

    load_public: Callable[[bytes], Verify]
    sign: Callable[[bytes, bytes], bytes]
    """Called with private key (seed, then public half) and message."""
    releases_the_gil: bool


def _load_public(data: bytes) -> Verify:
    return Ed25519PublicKey.from_public_bytes(data).verify


def _sign(private: bytes, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(private[:_SEED_SIZE]).sign(message)


def _sodium() -> Library | None:
    try:
        from . import sodium
    except ImportError:
        return None
    return Library(sodium.load_public, sodium.sign, releases_the_gil=True)


OPENSSL = Library(_load_public, _sign, releases_the_gil=False)
SODIUM = _sodium()
LIBRARY = SODIUM or OPENSSL


def load_public(data: bytes) -> Verify:
    """Return the verifier of the 32 bytes that `PublicKey` has checked; a point off the curve verifies nothing."""
    return LIBRARY.load_public(data)


def load_private(data: bytes) -> KeyPair:
    """Return the pair of seed and public key (64 bytes), or of the old form that has the public key twice.

    Raises InvalidKey for other sizes, and for halves that do not belong together.
    """
    if len(data) not in (_SEED_SIZE + PUBLIC_SIZE, _SEED_SIZE + 2 * PUBLIC_SIZE):
        raise InvalidKey(f"an Ed25519 private key has 64 bytes, or 96 in its old form, not {len(data)}")
    pair = _pair(Ed25519PrivateKey.from_private_bytes(data[:_SEED_SIZE]))
    # Signing with a public half that another chose gives the seed away (RUSTSEC-2022-0093).
    if any(data[i : i + PUBLIC_SIZE] != pair.public for i in range(_SEED_SIZE, len(data), PUBLIC_SIZE)):
        raise InvalidKey("the public half of the Ed25519 key does not belong to its private half")
    return pair


def generate(bits: int) -> KeyPair:
    """Return a new key pair; all have the same size."""
    return _pair(Ed25519PrivateKey.generate())


def _pair(key: Ed25519PrivateKey) -> KeyPair:
    public = key.public_key().public_bytes_raw()
    private = key.private_bytes_raw() + public
    return KeyPair(public, private, key.sign if LIBRARY is OPENSSL else partial(LIBRARY.sign, private))
