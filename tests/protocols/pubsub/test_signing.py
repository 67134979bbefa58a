"""A message is by its author or it is refused, with a reason and never with a crash; for every type of key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from peerstack.protocols.pubsub.validation import signing
from peerstack.protocols.pubsub.validation.signing import InvalidMessage, RejectReason, SignaturePolicy
from peerstack.protocols.pubsub.wire import Message, decode_rpc, make_message
from peerstack.stack.identity import Identity, KeyType, PeerId
from peerstack.stack.identity.wire import encode_key
from peerstack.stack.wire.varint import encode_uint64

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/pubsub.json").read_text())["messages"]
IDENTITIES = {key_type: Identity.generate(key_type) for key_type in KeyType}
OTHERS = {key_type: Identity.generate(key_type) for key_type in KeyType}
INLINED = (KeyType.ED25519, KeyType.SECP256K1)
SIGN, NO_SIGN = SignaturePolicy.STRICT_SIGN, SignaturePolicy.STRICT_NO_SIGN
ME = Identity.generate().peer_id


@pytest.fixture(params=KeyType, ids=lambda key_type: key_type.name.lower())
def identity(request: pytest.FixtureRequest) -> Identity:
    """One identity of each key type in turn."""
    return IDENTITIES[request.param]


def received(message: Message) -> Message:
    """Return the message as a peer reads it."""
    (decoded,) = decode_rpc(message.entry).messages
    return decoded


def changed(message: Message, **fields: bytes | None) -> Message:
    """Return the message with other fields and the signature it had."""
    before = {"author": message.author, "seqno": message.seqno, "signature": message.signature, "key": message.key}
    return received(make_message(message.topic, message.data, **(before | fields)))


def checked(message: Message, policy: SignaturePolicy = SIGN, me: PeerId | None = ME) -> RejectReason | None:
    """Return what a peer makes of the message."""
    try:
        signing.check(message, policy, me)
    except InvalidMessage as error:
        return error.reason
    return signing.verify_batch([message])[0] if policy.signs else None


def flips(data: bytes, step: int = 1) -> list[bytes]:
    return [data[:i] + bytes((data[i] ^ (1 << i % 8),)) + data[i + 1 :] for i in range(0, len(data), step)]


# ---- what is right


def test_signed_messages_are_accepted(identity: Identity) -> None:
    message = signing.sign(identity, "topic", b"data" * 300, 7)
    assert checked(received(message)) is None
    assert checked(message) is None
    assert (message.author, message.seqno) == (identity.peer_id.to_bytes(), bytes(7) + b"\x07")
    inlined = identity.public_key.key_type in INLINED
    assert message.key == (None if inlined else identity.public_key.encode())
    assert make_message("topic", message.data, author=message.author, seqno=message.seqno, signature=message.signature,
                        key=message.key).encoded == message.encoded  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_messages_that_go_signed_are_accepted(vector: dict[str, str]) -> None:
    encoded = bytes.fromhex(vector["message"])
    (message,) = decode_rpc(b"\x12" + encode_uint64(len(encoded)) + encoded).messages
    assert checked(message) is None
    assert message.author is not None
    assert str(signing.author_of(message.author)) == vector["peer"]
    assert (message.topic, message.data) == ("vectors", f"hello from {vector['name']}".encode())
    assert message.encoded == encoded


def test_a_key_is_welcome_where_the_peer_id_has_it_already() -> None:
    identity = IDENTITIES[KeyType.ED25519]
    message = changed(signing.sign(identity, "topic", b"data", 7), key=identity.public_key.encode())
    assert checked(message) is None


def test_anonymous_messages_are_accepted_under_strict_no_sign() -> None:
    message = received(signing.make_anonymous("topic", b"data"))
    assert checked(message, NO_SIGN) is None
    assert message.encoded == b"\x12\x04data\x22\x05topic"


def test_unknown_fields_and_odd_order_do_not_break_the_signature(identity: Identity) -> None:
    message = signing.sign(identity, "topic", b"data", 7)
    odd = message.encoded[message.signed_size :] + b"\x38\x01" + message.encoded[: message.signed_size]
    (decoded,) = decode_rpc(b"\x12" + encode_uint64(len(odd)) + odd).messages
    assert checked(decoded) is None
    assert decoded.encoded == message.encoded


def test_the_presence_of_an_empty_field_is_signed() -> None:
    # go signs what it writes: without data there is no `12 00` either.
    identity = IDENTITIES[KeyType.ED25519]
    signed = signing.sign(identity, "topic", b"", 7)
    assert checked(received(signed)) is None
    without = signed.encoded.replace(b"\x12\x00\x1a\x08", b"\x1a\x08")
    (decoded,) = decode_rpc(b"\x12" + encode_uint64(len(without)) + without).messages
    assert (decoded.data, checked(decoded)) == (b"", RejectReason.INVALID_SIGNATURE)


# ---- what is wrong


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"signature": None}, RejectReason.MISSING_SIGNATURE),
        ({"author": None}, RejectReason.MALFORMED_AUTHOR),
        ({"author": b""}, RejectReason.MALFORMED_AUTHOR),
        ({"author": b"\x12\x20short"}, RejectReason.MALFORMED_AUTHOR),
        ({"author": bytes(5000)}, RejectReason.MALFORMED_AUTHOR),
        ({"seqno": None}, RejectReason.MALFORMED_SEQNO),
        ({"seqno": b""}, RejectReason.MALFORMED_SEQNO),
        ({"seqno": bytes(7)}, RejectReason.MALFORMED_SEQNO),
        ({"seqno": bytes(9)}, RejectReason.MALFORMED_SEQNO),
        ({"seqno": bytes(8)}, RejectReason.INVALID_SIGNATURE),
        ({"signature": b""}, RejectReason.INVALID_SIGNATURE),
        ({"signature": bytes(64)}, RejectReason.INVALID_SIGNATURE),
        ({"signature": bytes(5000)}, RejectReason.INVALID_SIGNATURE),
        ({"key": b""}, RejectReason.MALFORMED_KEY),
        ({"key": b"\x08\x01\x12\x20short"}, RejectReason.MALFORMED_KEY),
        ({"key": b"\x08\x07\x12\x01x"}, RejectReason.MALFORMED_KEY),
        ({"key": bytes(70_000)}, RejectReason.MALFORMED_KEY),
    ],
)
def test_fields_that_are_missing_or_malformed(
    identity: Identity, fields: dict[str, bytes | None], reason: RejectReason
) -> None:
    assert checked(changed(signing.sign(identity, "topic", b"data", 7), **fields)) is reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"signature": b""}, RejectReason.UNEXPECTED_SIGNATURE),
        ({"key": b""}, RejectReason.UNEXPECTED_SIGNATURE),
        ({"author": b""}, RejectReason.UNEXPECTED_AUTHOR),
        ({"seqno": b""}, RejectReason.UNEXPECTED_SEQNO),
    ],
)
def test_an_anonymous_message_has_no_trace_of_an_author(fields: dict[str, bytes], reason: RejectReason) -> None:
    assert checked(received(make_message("topic", b"data", **fields)), NO_SIGN) is reason


def test_signed_messages_are_unexpected_under_strict_no_sign(identity: Identity) -> None:
    assert checked(signing.sign(identity, "topic", b"data", 7), NO_SIGN) is RejectReason.UNEXPECTED_SIGNATURE


def test_anonymous_messages_lack_a_signature() -> None:
    assert checked(signing.make_anonymous("topic", b"data")) is RejectReason.MISSING_SIGNATURE
    assert signing.verify_batch([signing.make_anonymous("topic", b"data")]) == [RejectReason.MISSING_SIGNATURE]


@pytest.mark.parametrize("forger", KeyType, ids=lambda key_type: f"by {key_type.name.lower()}")
def test_a_message_in_the_name_of_another_peer_is_refused(identity: Identity, forger: KeyType) -> None:
    # GHSA-c3gv-825q-fvmp: signed by the forger, who sends his own key along.
    other = OTHERS[forger]
    author, seqno, key = identity.peer_id.to_bytes(), bytes(8), other.public_key.encode()
    signed = make_message("topic", b"data", author=author, seqno=seqno).encoded
    signature = other.sign(signing.PREFIX + signed)
    forged = make_message("topic", b"data", author=author, seqno=seqno, signature=signature, key=key)
    assert checked(received(forged)) is RejectReason.FORGED_AUTHOR
    inlined = identity.public_key.key_type in INLINED
    expected = RejectReason.INVALID_SIGNATURE if inlined else RejectReason.MALFORMED_KEY
    assert checked(changed(forged, key=None)) is expected


def test_each_byte_of_a_message_counts(identity: Identity) -> None:
    message = signing.sign(identity, "topic", b"some data", 7)
    assert message.signature is not None
    assert message.seqno is not None
    assert message.author is not None
    bad = [make_message("topic", data, **fields_of(message)) for data in flips(b"some data")]
    bad += [changed(message, signature=signature) for signature in flips(message.signature)]
    bad += [changed(message, seqno=seqno) for seqno in flips(message.seqno)]
    bad += [changed(message, author=author) for author in flips(message.author)]
    bad += [changed(message, key=key) for key in flips(message.key or b"", step=5)]
    bad += [make_message("topik", b"some data", **fields_of(message))]
    assert None not in [checked(message) for message in bad]


def fields_of(message: Message) -> dict[str, bytes | None]:
    return {"author": message.author, "seqno": message.seqno, "signature": message.signature, "key": message.key}


def test_cut_and_padded_signatures(identity: Identity) -> None:
    message = signing.sign(identity, "topic", b"data", 7)
    assert message.signature is not None
    good = message.signature
    for bad in (*(good[:cut] for cut in range(0, len(good), 3)), good + b"\0", b"\0" + good, good * 2):
        assert checked(changed(message, signature=bad)) is RejectReason.INVALID_SIGNATURE


def test_a_signature_for_something_else_does_not_count(identity: Identity) -> None:
    message = signing.sign(identity, "topic", b"data", 7)
    signed = message.encoded[: message.signed_size]
    for other in (signed, b"libp2p-peer-record" + signed, signing.PREFIX + message.encoded):
        assert checked(changed(message, signature=identity.sign(other))) is RejectReason.INVALID_SIGNATURE


def test_our_own_messages_do_not_come_from_others(identity: Identity) -> None:
    message = signing.sign(identity, "topic", b"data", 7)
    assert checked(message, me=identity.peer_id) is RejectReason.SELF_ORIGIN
    assert checked(message, me=None) is None


def _rsa_der(bits: int) -> bytes:
    """Return the PKIX DER of an RSA key with a modulus of `bits`, which is not even a product of primes."""

    def tlv(tag: int, content: bytes) -> bytes:
        size = len(content)
        if size < 0x80:
            return bytes((tag, size)) + content
        length = size.to_bytes((size.bit_length() + 7) // 8, "big")
        return bytes((tag, 0x80 | len(length))) + length + content

    modulus = b"\0" + (1 << bits - 1 | 1).to_bytes(bits // 8, "big")
    key = tlv(0x30, tlv(0x02, modulus) + tlv(0x02, b"\x01\x00\x01"))
    algorithm = tlv(0x30, tlv(0x06, bytes.fromhex("2a864886f70d010101")) + tlv(0x05, b""))
    return tlv(0x30, algorithm + tlv(0x03, b"\0" + key))


@pytest.mark.parametrize("bits", [1024, 2040, 8200, 16_384, 30_000])
def test_rsa_keys_outside_the_limits_are_not_verified_with(bits: int) -> None:
    # CVE-2023-39533: a huge key makes each verification take seconds.
    key = encode_key(KeyType.RSA, _rsa_der(bits))
    message = changed(signing.sign(IDENTITIES[KeyType.RSA], "topic", b"data", 7), key=key)
    assert checked(message) is RejectReason.MALFORMED_KEY


def test_rsa_keys_within_the_limits_reach_the_next_check() -> None:
    key = encode_key(KeyType.RSA, _rsa_der(4096))
    message = changed(signing.sign(IDENTITIES[KeyType.RSA], "topic", b"data", 7), key=key)
    assert checked(message) is RejectReason.FORGED_AUTHOR


# ---- many at once


def test_a_batch_gives_a_result_for_each_message() -> None:
    good = [received(signing.sign(identity, "topic", b"data", 7)) for identity in IDENTITIES.values()]
    bad = [changed(message, signature=b"no signature") for message in good]
    unsigned = [signing.make_anonymous("topic", b"data")]
    malformed = [make_message("topic", b"data", author=b"?", seqno=bytes(8), signature=b"")]
    reasons = signing.verify_batch([*good, *bad, *unsigned, *malformed])
    assert reasons[:8] == [None] * 4 + [RejectReason.INVALID_SIGNATURE] * 4
    assert reasons[8:] == [RejectReason.MISSING_SIGNATURE, RejectReason.MALFORMED_AUTHOR]
    assert signing.verify_batch([]) == []


def test_whatever_a_library_says_of_a_key_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Surprised:
        def verify(self, message: bytes, signature: bytes) -> None:
            raise ValueError("not the numbers of a key")

    message = signing.sign(IDENTITIES[KeyType.ED25519], "topic", b"data", 7)
    monkeypatch.setattr(signing, "_key_of", lambda author, key: Surprised())
    assert signing.verify_batch([message, message]) == [RejectReason.INVALID_SIGNATURE] * 2


def test_keys_are_parsed_once_and_not_kept_without_bound() -> None:
    keys = signing._key_of
    keys.cache_clear()
    message = signing.sign(IDENTITIES[KeyType.RSA], "topic", b"data", 7)
    for _ in range(3):
        assert checked(received(message)) is None
    assert keys.cache_info().misses == 1
    for number in range(signing._AUTHORS + 10):
        author = b"\x00\x24\x08\x01\x12\x20" + number.to_bytes(32, "big")
        signing.check(make_message("t", b"", author=author, seqno=bytes(8), signature=b""), SIGN)
    assert keys.cache_info().currsize == signing._AUTHORS


@pytest.mark.parametrize(
    "bad", [lambda m: changed(m, key=bytes(3000)), lambda m: changed(m, author=bytes(3000))], ids=["key", "author"]
)
def test_what_is_refused_is_not_kept(bad: Callable[[Message], Message]) -> None:
    message = bad(signing.sign(IDENTITIES[KeyType.ED25519], "topic", b"data", 7))
    before = signing._key_of.cache_info().currsize, signing._peer_id.cache_info().currsize
    assert checked(message) is not None
    assert (signing._key_of.cache_info().currsize, signing._peer_id.cache_info().currsize) <= (before[0], before[1] + 1)


@pytest.mark.parametrize("seqno", [-1, 1 << 64])
def test_sequence_numbers_have_64_bits(seqno: int) -> None:
    with pytest.raises(OverflowError):
        signing.sign(IDENTITIES[KeyType.ED25519], "topic", b"data", seqno)


def test_the_author_is_a_peer_id_or_an_error(identity: Identity) -> None:
    assert signing.author_of(identity.peer_id.to_bytes()) == identity.peer_id
    with pytest.raises(InvalidMessage, match="malformed_author"):
        signing.author_of(b"no peer id")
