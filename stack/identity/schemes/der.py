"""Keys in DER, as ECDSA and RSA have them; of public ones only one form counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from ...errors import InvalidKey
from .key_pair import KeyPair

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes


def load_public(data: bytes, name: str) -> PublicKeyTypes:
    """Return the key in a PKIX DER; InvalidKey for another form of the same key too: the bytes become a peer id."""
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKey(f"the {name} public key is not PKIX DER") from error
    if _encode(key) != data:
        raise InvalidKey(f"the {name} public key is not in canonical DER")
    return key


def load_private(data: bytes, name: str, form: str) -> PrivateKeyTypes:
    """Return the key in a DER of the traditional `form`; InvalidKey if it is none, or its parts do not fit."""
    try:
        return load_der_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidKey(f"the {name} private key is not {form} DER, or its parts do not fit one another") from error


def other_type(name: str) -> InvalidKey:
    """Return the error for a key that is not what it is marked as."""
    return InvalidKey(f"the key is marked as {name} and is of another type")


def key_pair(key: EllipticCurvePrivateKey | RSAPrivateKey, sign: Callable[[bytes], bytes]) -> KeyPair:
    """Return the pair of a private key and what signs with it."""
    private = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return KeyPair(_encode(key.public_key()), private, sign)


def _encode(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
