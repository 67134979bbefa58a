"""Signed envelopes: a payload, what it is, and who vouches for it (RFC 0002)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from ..errors import InvalidInput, InvalidSignature
from ..framing import encode_length_prefixed
from .identity import Identity
from .keys import PublicKey
from .peer_id import PeerId

MAX_ENVELOPE = 64 * 1024  # bytes; identify carries at most 8 KiB, other carriers have limits of their own


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signed payload. Nothing in it is to be trusted before `open` has returned the payload."""

    public_key: PublicKey
    payload_type: bytes
    payload: bytes
    signature: bytes
    _encoded: bytes | None = field(default=None, repr=False, compare=False)

    @classmethod
    def seal(cls, identity: Identity, domain: str, payload_type: bytes, payload: bytes) -> Self:
        """Return `payload` signed by `identity` for use in `domain` only."""
        signature = identity.sign(_signed_bytes(domain, payload_type, payload))
        return cls(identity.public_key, payload_type, payload, signature)

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """Return the envelope in a protobuf of at most 64 KiB; InvalidInput if it is none."""
        from google.protobuf.message import DecodeError

        from .records_pb2 import Envelope as Message

        if len(encoded) > MAX_ENVELOPE:
            raise InvalidInput(f"envelope of {len(encoded)} bytes is over the limit of {MAX_ENVELOPE}")
        try:
            message = Message.FromString(bytes(encoded))
        except DecodeError as error:
            raise InvalidInput("the bytes are not a signed envelope") from error
        key = PublicKey.decode(message.public_key)
        return cls(key, message.payload_type, message.payload, message.signature, bytes(encoded))

    def encode(self) -> bytes:
        """Return the protobuf; of a decoded envelope the very bytes it came from, to serve it on."""
        if self._encoded is not None:
            return self._encoded
        from .records_pb2 import Envelope as Message

        return Message(
            public_key=self.public_key.encode(),
            payload_type=self.payload_type,
            payload=self.payload,
            signature=self.signature,
        ).SerializeToString()

    def open(self, domain: str, payload_type: bytes) -> bytes:
        """Return the payload if it was signed for `domain` as `payload_type`; InvalidSignature otherwise."""
        self.public_key.verify(_signed_bytes(domain, self.payload_type, self.payload), self.signature)
        if self.payload_type != payload_type:
            raise InvalidSignature(f"the envelope holds type {self.payload_type.hex()}, not {payload_type.hex()}")
        return self.payload

    @property
    def signer(self) -> PeerId:
        """The peer that the envelope says has signed it."""
        return self.public_key.peer_id


def _signed_bytes(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    return b"".join(encode_length_prefixed(part) for part in (domain.encode(), payload_type, payload))
