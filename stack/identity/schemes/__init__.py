"""The signature schemes of the four key types, each a module with the same three functions."""

from __future__ import annotations

from typing import Protocol

from ..wire import KeyType
from .key_pair import KeyPair, Verify

__all__ = ["KeyPair", "Scheme", "Verify", "scheme"]


class Scheme(Protocol):
    """What the module of a scheme offers."""

    def load_public(self, data: bytes) -> Verify:
        """Check the public key in `data` and return what verifies with it; InvalidKey if it is not one."""
        ...

    def load_private(self, data: bytes) -> KeyPair:
        """Return the key pair of the private key in `data`; InvalidKey if it is not one."""
        ...

    def generate(self, bits: int) -> KeyPair:
        """Return a new key pair; `bits` is the modulus of RSA keys, the others have one size."""
        ...


def scheme(key_type: KeyType) -> Scheme:
    """Return the module for `key_type`, imported now: most programs need one of the four."""
    match key_type:
        case KeyType.ED25519:
            from . import ed25519

            return ed25519
        case KeyType.RSA:
            from . import rsa

            return rsa
        case KeyType.SECP256K1:
            from . import secp256k1

            return secp256k1
        case KeyType.ECDSA:
            from . import ecdsa

            return ecdsa
