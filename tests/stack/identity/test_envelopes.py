"""Signed envelopes: only the payload that was signed comes out, for the domain and type it was signed for."""

import pytest

from peerstack.stack.errors import InvalidInput, InvalidKey, InvalidSignature
from peerstack.stack.identity import Envelope, Identity
from peerstack.stack.identity.envelope import MAX_ENVELOPE
from peerstack.stack.identity.records_pb2 import Envelope as Message

DOMAIN, TYPE, PAYLOAD = "test-domain", b"\x55\x66", b"the payload"


@pytest.fixture
def envelope(ed25519: Identity) -> Envelope:
    return Envelope.seal(ed25519, DOMAIN, TYPE, PAYLOAD)


def test_round_trip(identity: Identity) -> None:
    envelope = Envelope.decode(Envelope.seal(identity, DOMAIN, TYPE, PAYLOAD).encode())
    assert envelope.open(DOMAIN, TYPE) == PAYLOAD
    assert envelope.signer == identity.peer_id


def test_what_is_signed_is_domain_type_and_payload_with_their_lengths(ed25519: Identity, envelope: Envelope) -> None:
    # RFC 0002: each behind an unsigned varint of its length
    signed = b"\x0btest-domain" + b"\x02\x55\x66" + b"\x0bthe payload"
    ed25519.public_key.verify(signed, envelope.signature)


def test_parts_cannot_be_shifted_into_one_another(envelope: Envelope) -> None:
    shifted = Envelope(envelope.public_key, TYPE + PAYLOAD[:1], PAYLOAD[1:], envelope.signature)
    with pytest.raises(InvalidSignature):
        shifted.open(DOMAIN, TYPE + PAYLOAD[:1])


def test_other_domain(envelope: Envelope) -> None:
    for domain in ("", "test-domai", "test-domain\0", "libp2p-peer-record"):
        with pytest.raises(InvalidSignature, match="not one of"):
            envelope.open(domain, TYPE)


def test_other_type(envelope: Envelope) -> None:
    with pytest.raises(InvalidSignature, match="holds type 5566, not 0301"):
        envelope.open(DOMAIN, b"\x03\x01")


def test_type_exchanged_behind_the_signature(envelope: Envelope) -> None:
    exchanged = Envelope(envelope.public_key, b"\x03\x01", PAYLOAD, envelope.signature)
    with pytest.raises(InvalidSignature, match="not one of"):
        exchanged.open(DOMAIN, b"\x03\x01")


def test_each_byte_counts(envelope: Envelope) -> None:
    encoded = envelope.encode()
    for index in range(len(encoded)):
        tampered = encoded[:index] + bytes((encoded[index] ^ 1,)) + encoded[index + 1 :]
        with pytest.raises((InvalidInput, InvalidSignature)):
            Envelope.decode(tampered).open(DOMAIN, TYPE)


def test_every_cut(envelope: Envelope) -> None:
    encoded = envelope.encode()
    for cut in range(len(encoded)):
        with pytest.raises((InvalidInput, InvalidSignature)):
            Envelope.decode(encoded[:cut]).open(DOMAIN, TYPE)


def test_key_that_is_not_canonical(ed25519: Identity, envelope: Envelope) -> None:
    message = Message.FromString(envelope.encode())
    message.public_key += b"\x18\x00"
    with pytest.raises(InvalidKey):
        Envelope.decode(message.SerializeToString())


def test_original_bytes_are_served_on(envelope: Envelope) -> None:
    unknown_field = envelope.encode() + b"\x32\x01x"
    received = Envelope.decode(unknown_field)
    assert received.open(DOMAIN, TYPE) == PAYLOAD
    assert received.encode() == unknown_field
    assert received == envelope


def test_giant_envelope_is_refused_undecoded() -> None:
    with pytest.raises(InvalidInput, match="over the limit"):
        Envelope.decode(b"\x1a" + bytes(MAX_ENVELOPE))


def test_no_protobuf() -> None:
    with pytest.raises(InvalidInput, match="not a signed envelope"):
        Envelope.decode(b"\x0a\xff")
