"""Peer records: the addresses a peer vouches for itself (RFC 0003)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from ..errors import InvalidInput, InvalidSignature, PeerIdMismatch
from .envelope import Envelope
from .identity import Identity
from .peer_id import PeerId

DOMAIN = "libp2p-peer-record"
PAYLOAD_TYPE = b"\x03\x01"  # what the network uses, though 0x0301 as a varint would be 81 06

# What the text of RFC 0003 says, and rust-libp2p uses by default. Domain and type are never mixed across the two.
RFC_DOMAIN = "libp2p-routing-state"
RFC_PAYLOAD_TYPE = b"/libp2p/routing-state-record"

MAX_SEQ = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """The addresses of a peer; the record with the higher `seq` counts. InvalidInput for a `seq` of 2**64 or more."""

    peer_id: PeerId
    seq: int
    """A counter below 2**64. Some peers take a clock for it; it is still not a time."""
    addresses: tuple[bytes, ...]
    """Multiaddrs in binary form, unchecked, with or without `/p2p/` of the peer."""

    def __post_init__(self) -> None:
        if not 0 <= self.seq <= MAX_SEQ:
            raise InvalidInput(f"the sequence number of a peer record is below 2**64, not {self.seq}")

    def seal(self, identity: Identity) -> Envelope:
        """Return the record signed by its own peer; InvalidInput for the identity of another."""
        if identity.peer_id != self.peer_id:
            raise InvalidInput(f"the record of {self.peer_id} cannot be signed by {identity.peer_id}")
        return Envelope.seal(identity, DOMAIN, PAYLOAD_TYPE, self.encode_payload())

    @classmethod
    def open(cls, envelope: Envelope | bytes, *, expected: PeerId | None = None) -> Self:
        """Return the record in `envelope` if its peer signed it, in the form go and js use or that of RFC 0003.

        Give the peer the record came from as `expected` where it can only be about that peer (identify).
        Raises InvalidInput for malformed bytes, InvalidSignature for a wrong signature, domain, type or signer,
        PeerIdMismatch for a record of another peer than expected.
        """
        if not isinstance(envelope, Envelope):
            envelope = Envelope.decode(envelope)
        if envelope.payload_type == RFC_PAYLOAD_TYPE:
            payload = envelope.open(RFC_DOMAIN, RFC_PAYLOAD_TYPE)
        else:
            payload = envelope.open(DOMAIN, PAYLOAD_TYPE)
        record = cls.decode_payload(payload)
        if record.peer_id != envelope.signer:
            raise InvalidSignature(f"the record of {record.peer_id} is signed by {envelope.signer}")
        if expected is not None and record.peer_id != expected:
            raise PeerIdMismatch(expected, record.peer_id)
        return record

    def encode_payload(self) -> bytes:
        """Return the protobuf of the record alone, which is nothing without the envelope round it."""
        from .records_pb2 import PeerRecord as Message

        infos = [Message.AddressInfo(multiaddr=address) for address in self.addresses]
        return Message(peer_id=self.peer_id.to_bytes(), seq=self.seq, addresses=infos).SerializeToString()

    @classmethod
    def decode_payload(cls, payload: bytes) -> Self:
        """Return the record in an unsigned protobuf. Raises InvalidInput if it is none."""
        from google.protobuf.message import DecodeError

        from .records_pb2 import PeerRecord as Message

        try:
            message = Message.FromString(payload)
        except DecodeError as error:
            raise InvalidInput("the payload is not a peer record") from error
        addresses = tuple(info.multiaddr for info in message.addresses)
        return cls(PeerId.from_bytes(message.peer_id), message.seq, addresses)
