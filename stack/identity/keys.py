"""Public keys: their canonical bytes, their limits, and the verification of signatures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from ..errors import InvalidKey, InvalidSignature
from .peer_id import PeerId
from .schemes import Verify, scheme
from .wire import MAX_PUBLIC_KEY, KeyType, decode_key, encode_key

__all__ = ["KeyType", "PublicKey"]

_ED25519_SIZE = 32


@dataclass(frozen=True, slots=True, repr=False)
class PublicKey:
    """A public key that is known to be well-formed; InvalidKey from the constructor otherwise."""

    key_type: KeyType
    data: bytes
    """Raw bytes or DER, as the key type has it (peer-ids.md)."""
    _verify: Verify | None = field(default=None, init=False, compare=False)
    _peer_id: PeerId | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.key_type is not KeyType.ED25519:
            self._load()
        elif len(self.data) != _ED25519_SIZE:
            raise InvalidKey(f"an Ed25519 public key has {_ED25519_SIZE} bytes, not {len(self.data)}")

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Return the key in a canonical protobuf; InvalidKey for any other bytes, sizes or types."""
        return cls(*decode_key(bytes(encoded), limit=MAX_PUBLIC_KEY))

    def encode(self) -> bytes:
        """Return the canonical protobuf, the bytes a peer id is made from."""
        return encode_key(self.key_type, self.data)

    @property
    def peer_id(self) -> PeerId:
        """The peer that holds the private half."""
        if self._peer_id is None:
            object.__setattr__(self, "_peer_id", PeerId.from_public_key(self))
        assert self._peer_id is not None
        return self._peer_id

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if the holder of this key signed `message`; InvalidSignature otherwise."""
        from cryptography import exceptions

        try:
            (self._verify or self._load())(signature, message)
        except exceptions.InvalidSignature as error:
            raise InvalidSignature(f"the signature is not one of {self.peer_id} ({self.key_type.name})") from error

    def __repr__(self) -> str:
        return f"<PublicKey {self.key_type.name} of {self.peer_id}>"

    def _load(self) -> Verify:
        verify = scheme(self.key_type).load_public(self.data)
        object.__setattr__(self, "_verify", verify)
        return verify
