"""Peer records: only a peer itself vouches for its addresses, in one of two forms that never mix."""

import pytest

from peerstack.stack.errors import InvalidInput, InvalidPeerId, InvalidSignature, PeerIdMismatch
from peerstack.stack.identity import Envelope, Identity, PeerRecord

ADDRESSES = (bytes.fromhex("047f000001060fa1"), bytes.fromhex("290000000000000000000000000000000106ffff"))
NETWORK = ("libp2p-peer-record", b"\x03\x01")
RFC = ("libp2p-routing-state", b"/libp2p/routing-state-record")


@pytest.fixture
def record(ed25519: Identity) -> PeerRecord:
    return PeerRecord(ed25519.peer_id, 7, ADDRESSES)


def test_round_trip(identity: Identity) -> None:
    record = PeerRecord(identity.peer_id, 7, ADDRESSES)
    envelope = record.seal(identity)
    assert PeerRecord.open(envelope) == record
    assert PeerRecord.open(envelope.encode(), expected=identity.peer_id) == record


def test_the_form_of_the_network_is_sent(ed25519: Identity, record: PeerRecord) -> None:
    assert PeerRecord.decode_payload(record.seal(ed25519).open(*NETWORK)) == record


@pytest.mark.parametrize("form", [NETWORK, RFC], ids=["network", "RFC 0003"])
def test_both_forms_are_taken(ed25519: Identity, record: PeerRecord, form: tuple[str, bytes]) -> None:
    assert PeerRecord.open(Envelope.seal(ed25519, *form, record.encode_payload())) == record


@pytest.mark.parametrize(
    "form",
    [
        pytest.param((NETWORK[0], RFC[1]), id="domain of the network, type of the RFC"),
        pytest.param((RFC[0], NETWORK[1]), id="domain of the RFC, type of the network"),
        pytest.param((NETWORK[0], b"\x03\x02"), id="type of a relay voucher"),
        pytest.param((NETWORK[0], b"\x81\x06"), id="type as a varint"),
        pytest.param((NETWORK[0], b""), id="no type"),
        pytest.param(("libp2p-relay-rsvp", NETWORK[1]), id="domain of a relay voucher"),
        pytest.param(("", b""), id="neither"),
    ],
)
def test_other_forms_are_refused(ed25519: Identity, record: PeerRecord, form: tuple[str, bytes]) -> None:
    with pytest.raises(InvalidSignature):
        PeerRecord.open(Envelope.seal(ed25519, *form, record.encode_payload()))


@pytest.mark.parametrize("form", [NETWORK, RFC], ids=["network", "RFC 0003"])
def test_record_of_another_peer(ed25519: Identity, record: PeerRecord, form: tuple[str, bytes]) -> None:
    # RUSTSEC-2022-0009: a valid envelope by a key that is not the peer's
    attacker = Identity.generate()
    envelope = Envelope.seal(attacker, *form, record.encode_payload())
    with pytest.raises(InvalidSignature, match=f"the record of {ed25519.peer_id} is signed by {attacker.peer_id}"):
        PeerRecord.open(envelope)
    with pytest.raises(InvalidSignature):
        PeerRecord.open(envelope, expected=ed25519.peer_id)


def test_record_of_another_peer_is_not_even_sealed(record: PeerRecord) -> None:
    with pytest.raises(InvalidInput, match="cannot be signed by"):
        record.seal(Identity.generate())


def test_valid_record_that_a_third_peer_passes_on(ed25519: Identity, record: PeerRecord) -> None:
    # CVE-2023-40583: records of peers we are not talking to
    expected = Identity.generate().peer_id
    with pytest.raises(PeerIdMismatch) as caught:
        PeerRecord.open(record.seal(ed25519), expected=expected)
    assert (caught.value.expected, caught.value.actual) == (expected, ed25519.peer_id)


def test_signature_is_checked_before_the_content(ed25519: Identity) -> None:
    envelope = Envelope.seal(ed25519, "elsewhere", NETWORK[1], b"\xff")
    with pytest.raises(InvalidSignature):
        PeerRecord.open(envelope)


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\x05abc", b"\x1a\x02\xff\xff"])
def test_payload_that_is_no_record(ed25519: Identity, payload: bytes) -> None:
    with pytest.raises(InvalidInput):
        PeerRecord.open(Envelope.seal(ed25519, *NETWORK, payload))


def test_payload_without_a_peer(ed25519: Identity) -> None:
    with pytest.raises(InvalidPeerId):
        PeerRecord.open(Envelope.seal(ed25519, *NETWORK, b""))


@pytest.mark.parametrize("seq", [0, 1, 2**32, 2**63, 2**64 - 1])
def test_sequence_numbers(ed25519: Identity, seq: int) -> None:
    record = PeerRecord(ed25519.peer_id, seq, ())
    assert PeerRecord.open(record.seal(ed25519)) == record


@pytest.mark.parametrize("seq", [-1, 2**64])
def test_sequence_numbers_that_do_not_fit(ed25519: Identity, seq: int) -> None:
    with pytest.raises(InvalidInput, match=r"below 2\*\*64"):
        PeerRecord(ed25519.peer_id, seq, ())
