"""Whatever bytes or text arrive, the decoders of stack.wire and stack.identity return or raise what they say."""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import example, given
from hypothesis import strategies as st

from peerstack.stack.errors import InvalidInput, InvalidKey, InvalidPeerId, InvalidSignature, RemoteProtocolError
from peerstack.stack.identity import Envelope, Identity, KeyType, PeerId, PeerRecord, PublicKey
from peerstack.stack.identity.base_encoding import (
    BASE36,
    BASE58,
    decode_base32,
    decode_number,
    encode_base32,
    encode_number,
)
from peerstack.stack.wire import varint

T = TypeVar("T")

IDENTITIES = [Identity.generate(key_type) for key_type in KeyType]
IDENTITY = IDENTITIES[KeyType.ED25519]
PEER_IDS = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda digest: PeerId(b"\x12\x20" + digest)),
    st.binary(min_size=32, max_size=32).map(lambda key: PublicKey(KeyType.ED25519, key).peer_id),
)


def mutated(*originals: bytes) -> st.SearchStrategy[bytes]:
    """Return one of `originals` with up to four splices of other bytes."""
    splice = st.tuples(st.integers(0, 6000), st.integers(0, 4), st.binary(max_size=6))

    def apply(original: bytes, splices: list[tuple[int, int, bytes]]) -> bytes:
        for start, removed, inserted in splices:
            at = start % (len(original) + 1)
            original = original[:at] + inserted + original[at + removed :]
        return original

    return st.builds(apply, st.sampled_from(originals), st.lists(splice, max_size=4))


def returned(decode: Callable[[bytes], T], data: bytes, *errors: type[Exception]) -> T | None:
    """Return what `decode` does, or None if it raises one of `errors`; others fail the test."""
    try:
        return decode(data)
    except errors:
        return None


@given(st.integers(0, varint.MAX_VALUE), st.binary(max_size=3), st.binary(max_size=3))
def test_varints_round_trip_inside_other_bytes(value: int, before: bytes, behind: bytes) -> None:
    encoded = varint.encode(value)
    assert len(encoded) == max(1, (value.bit_length() + 6) // 7)
    assert varint.decode(before + encoded + behind, len(before)) == (value, len(before) + len(encoded))


@given(st.binary(max_size=12), st.integers(0, 12))
def test_a_varint_has_one_encoding(data: bytes, offset: int) -> None:
    decoded = returned(lambda data: varint.decode(data, offset), data, RemoteProtocolError)
    if decoded is not None:
        value, end = decoded
        assert varint.encode(value) == data[offset:end]


@given(st.one_of(st.binary(max_size=200), mutated(*(identity.public_key.encode() for identity in IDENTITIES))))
def test_a_public_key_has_one_encoding(data: bytes) -> None:
    key = returned(PublicKey.decode, data, InvalidKey)
    if key is not None:
        assert key.encode() == data
        assert PeerId.from_bytes(key.peer_id.to_bytes()) == key.peer_id


@given(mutated(*(identity.public_key.encode() for identity in IDENTITIES)), st.binary(max_size=600))
def test_verification_raises_invalid_signature_only(data: bytes, signature: bytes) -> None:
    key = returned(PublicKey.decode, data, InvalidKey)
    if key is not None:
        assert returned(lambda signature: key.verify(b"message", signature), signature, InvalidSignature) is None


@given(st.one_of(st.binary(max_size=200), mutated(*(identity.encode() for identity in IDENTITIES))))
def test_private_keys_decode_or_are_invalid(data: bytes) -> None:
    identity = returned(Identity.decode, data, InvalidKey)
    if identity is not None:
        identity.public_key.verify(b"message", identity.sign(b"message"))


@given(st.one_of(st.binary(max_size=50), mutated(*(identity.peer_id.to_bytes() for identity in IDENTITIES))))
@example(b"\x00\x24\x08\x01\x12\x20" + bytes(32))
def test_peer_ids_from_any_bytes(data: bytes) -> None:
    peer = returned(PeerId.from_bytes, data, InvalidPeerId)
    if peer is not None:
        assert peer.to_bytes() == data
        assert peer.public_key is None or peer.public_key.peer_id == peer


@given(PEER_IDS)
def test_every_text_of_a_peer_id_is_parsed(peer: PeerId) -> None:
    for text in (str(peer), peer.to_cid("base32"), peer.to_cid("base36")):
        assert PeerId.parse(text) == peer


@given(st.one_of(st.text(max_size=140), st.from_regex(r"(1|Qm|b|k|z)[0-9A-Za-z]{0,80}", fullmatch=True)))
def test_peer_ids_from_any_text(text: str) -> None:
    try:
        peer = PeerId.parse(text)
    except InvalidPeerId:
        return
    assert text in (str(peer), peer.to_cid("base32"), peer.to_cid("base36"), "z" + base58_cid(peer))


def base58_cid(peer: PeerId) -> str:
    return encode_number(b"\x01\x72" + peer.to_bytes(), BASE58)


@given(PEER_IDS, PEER_IDS)
def test_peer_ids_compare_as_their_bytes(one: PeerId, other: PeerId) -> None:
    assert (one == other) == (one.to_bytes() == other.to_bytes())
    assert (one < other) == (one.to_bytes() < other.to_bytes())
    assert hash(one) == hash(PeerId(one.to_bytes()))


@given(st.binary(max_size=60))
def test_base_encodings_round_trip(data: bytes) -> None:
    assert decode_number(encode_number(data, BASE58), BASE58) == data
    assert decode_number(encode_number(data, BASE36), BASE36) == data
    assert decode_base32(encode_base32(data)) == data


ENVELOPE = PeerRecord(IDENTITY.peer_id, 5, (b"\x04\x7f\x00\x00\x01\x06\x0f\xa1",)).seal(IDENTITY).encode()


@given(st.one_of(st.binary(max_size=300), mutated(ENVELOPE)))
def test_a_record_is_the_one_that_was_signed(data: bytes) -> None:
    record = returned(PeerRecord.open, data, InvalidInput, InvalidSignature)
    if record is not None:
        # the protobuf round the signed parts has several encodings; what they say is one
        assert record == PeerRecord.open(ENVELOPE)


@given(st.binary(max_size=200))
def test_signed_nonsense_is_invalid_input(payload: bytes) -> None:
    envelope = Envelope.seal(IDENTITY, "libp2p-peer-record", b"\x03\x01", payload)
    record = returned(PeerRecord.open, envelope.encode(), InvalidInput, InvalidSignature)
    assert record is None or record.peer_id == IDENTITY.peer_id


@given(st.integers(0, 2**64 - 1), st.lists(st.binary(max_size=40), max_size=20))
def test_records_round_trip(seq: int, addresses: list[bytes]) -> None:
    record = PeerRecord(IDENTITY.peer_id, seq, tuple(addresses))
    assert PeerRecord.open(record.seal(IDENTITY).encode(), expected=IDENTITY.peer_id) == record
