"""Noise on the wire.

Every message, of the handshake and after it, is `u16 big-endian length || Noise message` (noise/README.md, "Wire
format"). The handshake is XX with an empty prologue:

    -> e                                 32 bytes
    <- e, ee, s, es, payload             32 + 48 + payload + 16
    -> s, se, payload                    48 + payload + 16

payload = protobuf NoiseHandshakePayload{identity_key=1, identity_sig=2, extensions=4{stream_muxers=2}}
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import RemoteProtocolError

PROTOCOL_ID = "/noise"
NOISE_NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
SIGNATURE_PREFIX = b"noise-libp2p-static-key:"

KEY_SIZE = 32
TAG_SIZE = 16
LENGTH = struct.Struct(">H")
MAX_MESSAGE = 65535
"""The spec's limit of one Noise message, ciphertext and tag."""
MAX_PLAINTEXT = MAX_MESSAGE - TAG_SIZE
"""Plaintext bytes that fill one frame exactly: 65519."""
MAX_NONCE = 2**64 - 2
"""2**64 - 1 is reserved; a connection ends before its counter would wrap."""
NONCE = struct.Struct("<xxxxQ")

MAX_HANDSHAKE_MESSAGE = 8 * 1024
"""Ours: the largest honest payload, with an RSA-8192 key and signature, is about 2.2 KiB; a peer that is not
authenticated yet must not make us hold 64 KiB."""
MAX_EARLY_MUXERS = 100
"""Longer lists are ignored, as go does."""


@dataclass(frozen=True, slots=True)
class Payload:
    """What a side proves in the handshake."""

    identity_key: bytes
    """The PublicKey protobuf of the peer."""
    signature: bytes
    """Of SIGNATURE_PREFIX and the Noise static key, by the identity key."""
    muxers: tuple[str, ...] = ()
    """Stream muxers in order of preference, for early negotiation."""

    def encode(self) -> bytes:
        """Encode as a NoiseHandshakePayload."""
        from .noise_pb2 import NoiseExtensions, NoiseHandshakePayload

        extensions = NoiseExtensions(stream_muxers=self.muxers) if self.muxers else None
        message = NoiseHandshakePayload(
            identity_key=self.identity_key, identity_sig=self.signature, extensions=extensions
        )
        return message.SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> Payload:
        """Decode a NoiseHandshakePayload. Raises RemoteProtocolError."""
        from google.protobuf.message import DecodeError

        from .noise_pb2 import NoiseHandshakePayload

        try:
            message = NoiseHandshakePayload.FromString(data)
        except (DecodeError, UnicodeDecodeError) as error:
            raise RemoteProtocolError(f"Noise payload is not a valid protobuf: {error}") from None
        muxers = tuple(message.extensions.stream_muxers)
        # Protobuf leaves strings that are no UTF-8 as bytes.
        if not all(isinstance(muxer, str) for muxer in muxers):
            raise RemoteProtocolError("Noise payload is not a valid protobuf: a muxer's name is not UTF-8")
        if len(muxers) > MAX_EARLY_MUXERS:
            muxers = ()
        return cls(message.identity_key, message.identity_sig, muxers)


def agree_on_muxer(initiator: Sequence[str], responder: Sequence[str]) -> str | None:
    """Return the first of the initiator's muxers that the responder has too; None when either names none.

    Raises RemoteProtocolError when both name some but share none (connections/inlined-muxer-negotiation.md).
    """
    if not initiator or not responder:
        return None
    for muxer in initiator:
        if muxer in responder:
            return muxer
    raise RemoteProtocolError(f"no muxer in common: {', '.join(initiator)} and {', '.join(responder)}")
