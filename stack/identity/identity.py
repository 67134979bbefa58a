"""The key pair a peer proves itself with."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, Self, TypeAlias

from ..errors import InvalidInput, InvalidKey, KeyPasswordError
from . import key_file, pem
from .keys import PublicKey
from .peer_id import PeerId
from .pem import PemForm
from .schemes import KeyPair, scheme
from .wire import MAX_PRIVATE_KEY, KeyType, decode_key, encode_key

KeyTypeName: TypeAlias = Literal["ed25519", "rsa", "secp256k1", "ecdsa"]


class Identity:
    """A key pair; its private half is in no representation but those of `encode`, `to_pem` and `save`."""

    __slots__ = ("_pair", "_peer_id", "_public_key")

    def __init__(self, key_type: KeyType, pair: KeyPair) -> None:
        self._pair = pair
        self._public_key = PublicKey(key_type, pair.public)  # InvalidKey for sizes and curves we do not take
        self._peer_id = self._public_key.peer_id

    @classmethod
    def generate(cls, key_type: KeyTypeName | KeyType = "ed25519", *, bits: int = 2048) -> Self:
        """Return a new identity; `bits` is the size of RSA keys, InvalidKey outside 2048 to 8192."""
        kind = key_type if isinstance(key_type, KeyType) else KeyType.__members__.get(str(key_type).upper())
        if kind is None:
            names = ", ".join(name.lower() for name in KeyType.__members__)
            raise InvalidKey(f"the type of a key is one of {names}, not {key_type!r}")
        return cls(kind, scheme(kind).generate(bits))

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Return the identity in a `PrivateKey` protobuf; InvalidKey if it is none."""
        key_type, data = decode_key(bytes(encoded), limit=MAX_PRIVATE_KEY)
        return cls(key_type, scheme(key_type).load_private(data))

    def encode(self) -> bytes:
        """Return the `PrivateKey` protobuf. It is secret: its holder can act as this peer."""
        return encode_key(self._public_key.key_type, self._pair.private)

    @classmethod
    def from_pem(cls, text: str | bytes, *, password: str | bytes | None = None) -> Self:
        """Return the identity in a private key of OpenSSL (PKCS#8 or traditional, also as DER) or OpenSSH.

        Raises InvalidKey for a text that is none, a key of another type than the four, or a missing or wrong password.
        """
        data = text.encode() if isinstance(text, str) else bytes(text)
        key_type, private = pem.read(data, _bytes(password))
        return cls(key_type, scheme(key_type).load_private(private))

    def to_pem(self, form: PemForm = "pkcs8", *, password: str | bytes | None = None) -> str:
        """Return the private key as OpenSSL (`pkcs8`, `openssl`) or OpenSSH (`openssh`) reads it.

        It is the secret, and encrypted only if there is a password. Raises InvalidInput for a form that does not know
        the type of the key: `openssl` has no Ed25519, `openssh` no secp256k1.
        """
        return pem.write(self._public_key.key_type, self._pair.private, form, _bytes(password)).decode()

    @classmethod
    def load(cls, path: str | Path, *, password: str | bytes | None = None) -> Self:
        """Read an identity from a file: the protobuf `save` writes, its base64 text as in a kubo config, or PEM.

        PEM is what OpenSSL and OpenSSH write, see `from_pem`; only that can be encrypted. Raises KeyFileError if
        the file is missing, malformed, no regular file, on POSIX readable by other users, or needs another password.
        """
        return key_file.read(Path(path), partial(cls._decode_file, password=password))

    @classmethod
    def _decode_file(cls, content: bytes, *, password: str | bytes | None) -> Self:
        if pem.MARK in content or pem.is_der(content) or pem.is_openssh_public(content):
            return cls.from_pem(content, password=password)
        if password is not None:
            raise KeyPasswordError("it is not encrypted; leave the password out")
        return cls.decode(key_file.unwrap(content))

    def save(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        form: Literal["protobuf"] | PemForm = "protobuf",
        password: str | bytes | None = None,
    ) -> None:
        """Write the identity to a new file that only its owner can read; KeyFileError if that is impossible.

        Raises InvalidInput for a form of PEM that does not know the type of the key, as `to_pem` does.
        """
        if form != "protobuf":
            content = self.to_pem(form, password=password).encode()
        elif password is not None:
            raise InvalidInput("the protobuf form has no password; choose pkcs8 or openssh")
        else:
            content = self.encode()
        key_file.write(Path(path), content, overwrite=overwrite)

    @property
    def public_key(self) -> PublicKey:
        """The half to hand out."""
        return self._public_key

    @property
    def peer_id(self) -> PeerId:
        """The peer id of this identity."""
        return self._peer_id

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`, in the encoding peer-ids.md gives for the key type."""
        return self._pair.sign(message)

    def __repr__(self) -> str:
        return f"<Identity {self._public_key.key_type.name} {self.peer_id}>"


def _bytes(password: str | bytes | None) -> bytes | None:
    """Return a password in bytes. Raises InvalidInput for an empty one, which encrypts nothing."""
    if password is None:
        return None
    if not isinstance(password, (str, bytes)):
        raise TypeError(f"a password is str or bytes, not {type(password).__name__}")
    if not password:
        raise InvalidInput("the password is empty; leave it out for a key that is not encrypted")
    return password.encode() if isinstance(password, str) else password
