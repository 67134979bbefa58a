"""The key pair a peer proves itself with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self, TypeAlias

from . import key_file
from .keys import PublicKey
from .peer_id import PeerId
from .schemes import KeyPair, scheme
from .wire import MAX_PRIVATE_KEY, KeyType, decode_key, encode_key

KeyTypeName: TypeAlias = Literal["ed25519", "rsa", "secp256k1", "ecdsa"]


class Identity:
    """A key pair; its private half is in no representation but `encode()` and `save()`."""

    __slots__ = ("_pair", "_public_key")

    def __init__(self, key_type: KeyType, pair: KeyPair) -> None:
        self._pair = pair
        self._public_key = PublicKey(key_type, pair.public)  # InvalidKey for sizes and curves we do not take

    @classmethod
    def generate(cls, key_type: KeyTypeName | KeyType = "ed25519", *, bits: int = 2048) -> Self:
        """Return a new identity; `bits` is the size of RSA keys, InvalidKey outside 2048 to 8192."""
        kind = key_type if isinstance(key_type, KeyType) else KeyType[key_type.upper()]
        return cls(kind, scheme(kind).generate(bits))

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Return the identity in a `PrivateKey` protobuf; InvalidKey if it is none."""
        key_type, data = decode_key(bytes(encoded), limit=MAX_PRIVATE_KEY)
        return cls(key_type, scheme(key_type).load_private(data))

    def encode(self) -> bytes:
        """Return the `PrivateKey` protobuf. It is the secret: whoever has it, is this peer."""
        return encode_key(self._public_key.key_type, self._pair.private)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an identity from a file: the protobuf `save` writes, or its base64 text as in a kubo config.

        Raises KeyFileError if the file is missing, malformed, or on POSIX readable by other users.
        """
        return key_file.read(Path(path), cls.decode)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the identity to a new file that only its owner can read; KeyFileError if that is impossible."""
        key_file.write(Path(path), self.encode(), overwrite=overwrite)

    @property
    def public_key(self) -> PublicKey:
        """The half to hand out."""
        return self._public_key

    @property
    def peer_id(self) -> PeerId:
        """Who this identity proves to be."""
        return self._public_key.peer_id

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`, in the encoding peer-ids.md gives for the key type."""
        return self._pair.sign(message)

    def __repr__(self) -> str:
        return f"<Identity {self._public_key.key_type.name} {self.peer_id}>"
