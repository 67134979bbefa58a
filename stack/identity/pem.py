"""Keys as OpenSSL and OpenSSH write them, to and from the form that peers have; `cryptography` reads and writes.

-----BEGIN PRIVATE KEY-----              PKCS#8, what `openssl genpkey` writes
-----BEGIN ENCRYPTED PRIVATE KEY-----    PKCS#8 with a password
-----BEGIN EC|RSA PRIVATE KEY-----       traditional OpenSSL: SEC 1, PKCS#1; a password may be in its headers
-----BEGIN OPENSSH PRIVATE KEY-----      what `ssh-keygen` writes

The first three are read as DER, too, which is the same without the text around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from ..errors import InvalidInput, InvalidKey, KeyPasswordError
from .wire import KeyType

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

PemForm: TypeAlias = Literal["pkcs8", "openssl", "openssh"]
"""The three forms above."""

MARK = b"-----BEGIN "
_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_PRIVATE = b"PRIVATE KEY-----"
_DER_START = b"\x30"  # of a SEQUENCE; a digit 0 in base64, so the length that follows must fit, too
_OPENSSH_PUBLIC = (b"ssh-", b"ecdsa-sha2-", b"sk-")
_SUPPORTED = "Ed25519, secp256k1, ECDSA (P-256, P-384, P-521) and RSA keys can be identities"


def read(pem: bytes, password: bytes | None) -> tuple[KeyType, bytes]:
    """Return the key in a text: its type, and its data as in the `PrivateKey` protobuf.

    Raises InvalidKey for a key that cannot be an identity, is broken, or has another password.
    """
    if is_der(pem):
        return _data_of(_load(pem, password))
    if is_openssh_public(pem):
        raise InvalidKey("it is a public key of OpenSSH; the private one is in the file without .pub")
    if MARK not in pem:
        raise InvalidKey("there is no key in PEM form in it")
    if _PRIVATE not in pem:
        kind = pem.partition(MARK)[2].partition(b"-----")[0].decode(errors="replace")
        raise InvalidKey(f"it holds no private key, but a {kind[:40]!a}; an identity is a private key")
    return _data_of(_load(pem, password))


def is_der(content: bytes) -> bool:
    """Return whether this looks like a key in DER: a SEQUENCE that says the length of all that follows."""
    if content[:1] != _DER_START or len(content) < 4:
        return False
    short, length = content[1], content[1] & 0x7F
    if short < 0x80:
        return len(content) == 2 + short
    return length in (1, 2) and len(content) == 2 + length + int.from_bytes(content[2 : 2 + length], "big")


def is_openssh_public(content: bytes) -> bool:
    """Return whether this is the public half of a key, as in a `.pub` file of OpenSSH."""
    return content.startswith(_OPENSSH_PUBLIC)


def write(key_type: KeyType, data: bytes, form: PemForm, password: bytes | None) -> bytes:
    """Return the text of a key, encrypted if there is a password.

    Raises InvalidInput for a form that does not know the key type, or for a password that is empty or too long.
    """
    from cryptography.hazmat.primitives import serialization

    forms = {
        "pkcs8": serialization.PrivateFormat.PKCS8,
        "openssl": serialization.PrivateFormat.TraditionalOpenSSL,
        "openssh": serialization.PrivateFormat.OpenSSH,
    }
    if form not in forms:
        raise InvalidInput(f"the form of a key is one of {', '.join(forms)}, not {form!r}")
    if (form, key_type) in (("openssl", KeyType.ED25519), ("openssh", KeyType.SECP256K1)):
        raise InvalidInput(f"{form} has no form for {key_type.name} keys; pkcs8 has")
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return _key_of(key_type, data).private_bytes(serialization.Encoding.PEM, forms[form], _encryption(password))
    except UnsupportedAlgorithm as error:
        raise InvalidInput(_unsupported(error)) from error
    except ValueError as error:
        raise InvalidInput(f"the key cannot be written as {form}: {error}") from error


def _load(pem: bytes, password: bytes | None) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        load_der_private_key,
        load_pem_private_key,
        load_ssh_private_key,
    )

    load = load_pem_private_key if MARK in pem else load_der_private_key
    if _OPENSSH in pem:
        load = load_ssh_private_key
    try:
        return load(pem, password)
    except TypeError as error:  # so the library says that a password is missing, or one too many
        needed = "not encrypted" not in str(error) and password is None
        raise KeyPasswordError(
            "it is encrypted; give its password" if needed else "it is not encrypted; leave the password out"
        ) from error
    except UnsupportedAlgorithm as error:
        raise InvalidKey(_unsupported(error)) from error
    except ValueError as error:
        if password is not None:
            raise KeyPasswordError("the password does not open it, or it is broken") from error
        raise InvalidKey(f"it is broken, or a form that is not known: {error}") from error


def _data_of(key: PrivateKeyTypes) -> tuple[KeyType, bytes]:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    match key:
        case Ed25519PrivateKey():
            return KeyType.ED25519, key.private_bytes_raw() + key.public_key().public_bytes_raw()
        case EllipticCurvePrivateKey() if isinstance(key.curve, SECP256K1):
            return KeyType.SECP256K1, key.private_numbers().private_value.to_bytes(32, "big")
        case EllipticCurvePrivateKey() | RSAPrivateKey():
            data = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            return KeyType.RSA if isinstance(key, RSAPrivateKey) else KeyType.ECDSA, data
    kind = type(key).__name__.lstrip("_").removesuffix("PrivateKey")
    raise InvalidKey(f"it is a key of type {kind}; {_SUPPORTED}")


def _key_of(key_type: KeyType, data: bytes) -> PrivateKeyTypes:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, derive_private_key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    match key_type:
        case KeyType.ED25519:
            return Ed25519PrivateKey.from_private_bytes(data[:32])
        case KeyType.SECP256K1:
            return derive_private_key(int.from_bytes(data, "big"), SECP256K1())
        case _:
            return load_der_private_key(data, None)


def _encryption(password: bytes | None) -> KeySerializationEncryption:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, NoEncryption

    return NoEncryption() if password is None else BestAvailableEncryption(password)


def _unsupported(error: Exception) -> str:
    if "bcrypt" in str(error):
        return "OpenSSH encrypts its keys by bcrypt, which is not installed: pip install bcrypt"
    return f"its form or its encryption is not supported: {error}"
