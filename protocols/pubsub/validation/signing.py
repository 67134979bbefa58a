"""Sign messages, and check their author, sequence number, key and signature (libp2p specs, pubsub/README.md).

The signature covers `libp2p-pubsub:` and the protobuf of the message without `signature` and `key`, though the
specification only says without `signature`: all implementations leave out both.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from peerstack.stack.errors import InvalidKey, InvalidPeerId, InvalidSignature, StackError
from peerstack.stack.identity import Identity, PeerId, PublicKey

from ..wire import Message, make_message
from ..wire.encode import encode_fields, encode_signature
from .outcomes import RejectReason

__all__ = [
    "PREFIX",
    "SEQNO_SIZE",
    "InvalidMessage",
    "RejectReason",
    "SignaturePolicy",
    "author_of",
    "check",
    "make_anonymous",
    "releases_the_gil",
    "sign",
    "verify_batch",
]

PREFIX = b"libp2p-pubsub:"
SEQNO_SIZE = 8  # bytes, most significant first

_AUTHORS = 4096  # whose keys are kept at hand: parsing an RSA key takes as long as verifying with it
_INLINE = 0  # the first byte of peer ids that contain the public key


class SignaturePolicy(StrEnum):
    """What messages must carry, in all topics and at all peers of a network.

    The older lax policies, which check a signature only if there is one, are left out: under them anyone can publish
    in another peer's name.
    """

    STRICT_SIGN = "strict_sign"
    """Author, sequence number and a valid signature."""
    STRICT_NO_SIGN = "strict_no_sign"
    """None of them: messages are anonymous (Ethereum)."""

    @property
    def signs(self) -> bool:
        """Whether messages are signed."""
        return self is SignaturePolicy.STRICT_SIGN


class InvalidMessage(StackError):
    """A message is invalid; `reason` says why."""

    def __init__(self, reason: RejectReason) -> None:
        super().__init__(f"message rejected: {reason}")
        self.reason = reason


def sign(identity: Identity, topic: str, data: bytes, seqno: int) -> Message:
    """Return the message that `identity` wrote; `seqno` below 2**64 must be higher than that of any before."""
    author, number = identity.peer_id.to_bytes(), seqno.to_bytes(SEQNO_SIZE, "big")
    signed = encode_fields(author, data, number, topic.encode())
    signature = identity.sign(PREFIX + signed)
    key = None if author[0] == _INLINE else identity.public_key.encode()
    encoded = signed + encode_signature(signature, key)
    return Message(topic, data, author, number, signature, key, encoded, len(signed))


def make_anonymous(topic: str, data: bytes) -> Message:
    """Return a message without author, sequence number and signature."""
    return make_message(topic, data)


def check(message: Message, policy: SignaturePolicy, me: PeerId | None = None) -> None:
    """Check everything but the signature itself, which `verify_batch` does; InvalidMessage tells what is wrong.

    With `me` the message came from a peer and cannot be one of ours. A sequence number has exactly eight bytes,
    as js-libp2p and rust-libp2p demand. go-libp2p-pubsub takes any, yet writes eight; passing on others would cost
    us our score with all but go.
    """
    reason = _anonymous(message) if policy is SignaturePolicy.STRICT_NO_SIGN else _signed(message, me)
    if reason is not None:
        raise InvalidMessage(reason)


def verify_batch(messages: Sequence[Message]) -> list[RejectReason | None]:
    """Return for each message None if its author signed it, else what is wrong. Safe to call in another thread."""
    return [_verify(message) for message in messages]


def author_of(author: bytes) -> PeerId:
    """Return the peer id in the `from` of a message; InvalidMessage if it is none."""
    try:
        return _peer_id(author)
    except InvalidPeerId as error:
        raise InvalidMessage(RejectReason.MALFORMED_AUTHOR) from error


def releases_the_gil() -> bool:
    """Return whether signatures of most peers, which have Ed25519 keys, are verified beside other threads."""
    from peerstack.stack.identity.schemes import ed25519

    return ed25519.LIBRARY.releases_the_gil


def _anonymous(message: Message) -> RejectReason | None:
    if message.signature is not None or message.key is not None:
        return RejectReason.UNEXPECTED_SIGNATURE
    if message.author is not None:
        return RejectReason.UNEXPECTED_AUTHOR
    return None if message.seqno is None else RejectReason.UNEXPECTED_SEQNO


def _signed(message: Message, me: PeerId | None) -> RejectReason | None:
    author, seqno = message.author, message.seqno
    if message.signature is None:
        return RejectReason.MISSING_SIGNATURE
    if author is None:
        return RejectReason.MALFORMED_AUTHOR
    if seqno is None or len(seqno) != SEQNO_SIZE:
        return RejectReason.MALFORMED_SEQNO
    if me is not None and author == me.to_bytes():
        return RejectReason.SELF_ORIGIN
    try:
        _key_of(author, message.key)
    except InvalidMessage as error:
        return error.reason
    return None


def _verify(message: Message) -> RejectReason | None:
    if message.signature is None or message.author is None:
        return RejectReason.MISSING_SIGNATURE
    signed = PREFIX + message.encoded[: message.signed_size]
    try:
        _key_of(message.author, message.key).verify(signed, message.signature)
    except InvalidMessage as error:
        return error.reason
    except (InvalidSignature, ValueError):
        return RejectReason.INVALID_SIGNATURE
    return None


# Both are bounded by what a message can carry: an id has at most 44 bytes, a key that is taken 4 KiB. What is not
# taken, is not kept. The caches may be used by several threads.
@lru_cache(_AUTHORS)
def _peer_id(author: bytes) -> PeerId:
    return PeerId.from_bytes(author)


@lru_cache(_AUTHORS)
def _key_of(author: bytes, encoded: bytes | None) -> PublicKey:
    """Return the key of `author`, from its id or from what came along; InvalidMessage if that is not its key."""
    peer = author_of(author)
    try:
        key = peer.public_key if encoded is None else PublicKey.decode(encoded)
    except InvalidKey as error:
        raise InvalidMessage(RejectReason.MALFORMED_KEY) from error
    if key is None:
        raise InvalidMessage(RejectReason.MALFORMED_KEY)
    if key.peer_id != peer:
        raise InvalidMessage(RejectReason.FORGED_AUTHOR)
    return key
