"""RPCs are read and written as the protobuf schema has it; what is sent on is byte for byte what the author wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peerstack.protocols.pubsub import wire
from peerstack.protocols.pubsub.wire import (
    Extensions,
    IHave,
    Message,
    PeerInfo,
    Prune,
    Rpc,
    Subscription,
    decode_rpc,
    encode_control,
    encode_subscriptions,
    frame,
    make_message,
)
from peerstack.stack.wire.varint import encode_uint64

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/pubsub.json").read_text())
FIELDS = {"author": b"\x00\x01a", "seqno": bytes(7) + b"\x09", "signature": b"s" * 64, "key": b"k" * 200}


def field(number: int, content: bytes) -> bytes:
    return encode_uint64(number << 3 | 2) + encode_uint64(len(content)) + content


def decode_message(encoded: bytes) -> Message:
    (message,) = decode_rpc(field(2, encoded)).messages
    return message


def parts(message: Message) -> tuple[object, ...]:
    return message.topic, message.data, message.author, message.seqno, message.signature, message.key


def test_the_rpc_that_go_wrote() -> None:
    rpc = decode_rpc(bytes.fromhex(VECTORS["rpc"]))
    assert rpc.subscriptions == [
        Subscription(True, "news"),
        Subscription(False, "olds"),
        Subscription(True, "parts", requests_partial=True, supports_partial=True),
    ]
    assert [parts(message) for message in rpc.messages] == [
        ("news", b"anonymous", None, None, None, None),
        ("news", b"", b"someone", bytes(7) + b"\x09", b"sig", b"key"),
        ("", b"\x07" * 300, b"someone", None, None, None),
    ]
    assert rpc.ihave == [IHave("news", [b"\xff\xfeid-1", b"id-2"]), IHave("parts", [b"\x80" * 200])]
    assert rpc.iwant == [b"w1", b"w2", b"w3"]
    assert rpc.graft == ["news", "parts"]
    assert rpc.prune == [
        Prune("olds", [PeerInfo(b"peer", b"record"), PeerInfo(b"bare")], 60),
        Prune("ancient", [], (1 << 64) - 1),
        Prune("none"),
    ]
    assert rpc.idontwant == [b"n1", b"n2"]
    assert rpc.extensions == Extensions(partial_messages=True, test_extension=True)
    assert (rpc.test_extension, rpc.partial, rpc.ignored) == (True, 1, 0)


def test_we_write_the_rpc_as_go_does() -> None:
    theirs = decode_rpc(bytes.fromhex(VECTORS["rpc"]))
    control = encode_control(
        ihave=theirs.ihave,
        iwant=theirs.iwant,
        graft=theirs.graft,
        prune=theirs.prune,
        idontwant=theirs.idontwant,
        extensions=theirs.extensions,
    )
    entries = [message.entry for message in theirs.messages]
    fields = [*encode_subscriptions(theirs.subscriptions), *entries, *control, wire.TEST_EXTENSION]
    # go orders fields by number, and writes a message for each IWANT; the fields themselves are in its bytes.
    for part in [*fields[:6], *entries, wire.TEST_EXTENSION]:
        assert part.hex() in VECTORS["rpc"]
    ours = decode_rpc(b"".join(fields))
    assert [message.encoded for message in ours.messages] == [message.encoded for message in theirs.messages]
    ours.messages, ours.partial = theirs.messages, theirs.partial
    assert ours == theirs


@pytest.mark.parametrize("left_out", [(), *((name,) for name in FIELDS), tuple(FIELDS)])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 1024, 16_383, 16_384, 70_000])
def test_messages_come_back_with_each_field_present_or_absent(size: int, left_out: tuple[str, ...]) -> None:
    fields = {name: value for name, value in FIELDS.items() if name not in left_out}
    message = make_message("topic", bytes(size), **fields)
    (decoded,) = decode_rpc(message.entry).messages
    assert parts(decoded) == parts(message)
    assert decoded.encoded == message.encoded
    signed = make_message("topic", bytes(size), author=message.author, seqno=message.seqno).encoded
    assert decoded.encoded[: decoded.signed_size] == message.encoded[: message.signed_size] == signed


def test_absent_is_not_empty() -> None:
    encoded = field(1, b"") + field(3, b"") + field(4, b"t") + field(5, b"") + field(6, b"")
    message = decode_message(encoded)
    assert parts(message) == ("t", b"", b"", b"", b"", b"")
    assert message.encoded == encoded  # without data, as it came: with `12 00` the signature would not fit
    assert parts(decode_message(field(4, b"t"))) == ("t", b"", None, None, None, None)


CANONICAL = field(1, b"a") + field(2, b"data") + field(3, b"n") + field(4, b"t") + field(5, b"s") + field(6, b"k")


@pytest.mark.parametrize(
    "encoded",
    [
        field(6, b"k") + field(4, b"t") + field(5, b"s") + field(2, b"data") + field(1, b"a") + field(3, b"n"),
        field(1, b"first") + CANONICAL,
        CANONICAL + field(6, b"k"),
        field(2, b"") + CANONICAL,
        CANONICAL + field(7, b"unknown"),
        CANONICAL + encode_uint64(7 << 3) + b"\x80\x01",
        CANONICAL + encode_uint64(7 << 3 | 1) + bytes(8),
        CANONICAL + encode_uint64(900 << 3 | 5) + bytes(4),
        b"\x08\x05" + CANONICAL,  # field 1 of another wire type is an unknown field
        b"\x0a\x81\x00a" + CANONICAL[3:],
        b"\x0a\x81\x80\x80\x80\x00a" + CANONICAL[3:],
        b"\x8a\x00\x01a" + CANONICAL[3:],
    ],
    ids=["order", "repeated", "repeated last", "empty first", "unknown", "varint", "fixed64", "fixed32", "type",
         "length", "long length", "tag"],
)  # fmt: skip
def test_other_encodings_are_made_canonical_and_the_last_value_counts(encoded: bytes) -> None:
    message = decode_message(encoded)
    assert parts(message) == ("t", b"data", b"a", b"n", b"s", b"k")
    assert message.encoded == CANONICAL
    assert message.signed_size == len(CANONICAL) - 6


def test_a_repeated_empty_field_at_the_very_end_is_not_taken_for_canonical() -> None:
    message = decode_message(field(2, b"data") + field(4, b"t") + field(2, b""))
    assert message.encoded == field(2, b"") + field(4, b"t")


def test_canonical_messages_are_kept_as_they_came() -> None:
    assert decode_message(CANONICAL).encoded == CANONICAL
    assert decode_message(CANONICAL).signed_size == len(CANONICAL) - 6


def test_the_entry_is_made_once() -> None:
    message = make_message("t", b"x" * 300)
    assert message.entry == field(2, message.encoded)
    assert message.entry is message.entry


def test_control_fields_of_one_rpc_are_merged() -> None:
    fields = encode_control(graft=["a"]) + encode_control(graft=["b"], iwant=[b"1"]) + encode_control(iwant=[b"2"])
    rpc = decode_rpc(b"".join(fields))
    assert (rpc.graft, rpc.iwant) == (["a", "b"], [b"1", b"2"])


def test_unknown_fields_everywhere_are_skipped() -> None:
    unknown = field(90, b"?") + encode_uint64(91 << 3) + b"\x01"
    entry = field(1, b"t") + unknown
    control = b"".join(field(number, entry) for number in (3, 4)) + field(1, entry + field(2, b"id")) + unknown
    rpc = decode_rpc(unknown + field(3, control) + field(1, b"\x08\x01" + field(2, b"t") + unknown) + unknown)
    assert rpc.graft == ["t"]
    assert rpc.prune == [Prune("t")]
    assert rpc.ihave == [IHave("t", [b"id"])]
    assert rpc.subscriptions == [Subscription(True, "t")]


def test_the_topic_of_an_ihave_may_come_last() -> None:
    rpc = decode_rpc(field(3, field(1, field(2, b"id") + field(1, b"t"))))
    assert rpc.ihave == [IHave("t", [b"id"])]


def test_an_empty_rpc_says_nothing() -> None:
    assert decode_rpc(b"") == Rpc()
    assert encode_control() == []
    assert encode_control(ihave=[IHave("t", [])]) == []


def test_frames_are_parts_with_their_size_in_front() -> None:
    assert frame([b"ab", b"c" * 198]) == b"\xc8\x01ab" + b"c" * 198
    assert frame([]) == b"\0"


@pytest.mark.parametrize("max_size", [64, 1000, wire.MAX_CONTROL])
def test_long_control_is_split_without_loss(max_size: int) -> None:
    ids = [index.to_bytes(20, "big") for index in range(3000)]
    ihave = [IHave("one", ids), IHave("two", ids[:5])]
    topics = [f"topic {index}" for index in range(300)]
    fields = encode_control(ihave=ihave, iwant=ids, graft=topics, idontwant=ids[:25], max_size=max_size)
    assert all(len(part) <= max_size for part in fields)
    rpcs = [decode_rpc(part) for part in fields]
    assert [entry for rpc in rpcs for entry in rpc.iwant] == ids
    assert [topic for rpc in rpcs for topic in rpc.graft] == topics
    entries = [entry for rpc in rpcs for entry in rpc.ihave]
    assert [i for entry in entries if entry.topic == "one" for i in entry.ids] == ids
    assert [i for entry in entries if entry.topic == "two" for i in entry.ids] == ids[:5]
    assert [i for rpc in rpcs for i in rpc.idontwant] == ids[:25]
    assert max(len(rpc.idontwant) for rpc in rpcs) <= wire.MAX_IDONTWANT
    assert sum(rpc.ignored for rpc in rpcs) == 0


def test_extensions_come_in_the_first_field() -> None:
    fields = encode_control(graft=["t" * 100] * 10, extensions=Extensions(test_extension=True), max_size=200)
    assert len(fields) > 1
    assert [decode_rpc(part).extensions for part in fields] == [Extensions(test_extension=True)] + [None] * (
        len(fields) - 1
    )


def test_suggested_peers_that_do_not_fit_are_left_out_and_the_backoff_stays() -> None:
    peers = [PeerInfo(bytes((index,)) * 38, bytes(7000)) for index in range(5)]
    (encoded,) = encode_control(prune=[Prune("t", peers, 60)])
    assert len(encoded) <= wire.MAX_CONTROL
    assert decode_rpc(encoded).prune == [Prune("t", peers[:2], 60)]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**63, "80808080808080808001"),
        (2**64 - 1, "f" * 18 + "01"),
    ],
)
def test_varints_have_64_bits(value: int, encoded: str) -> None:
    assert encode_uint64(value).hex() == encoded
    (prune,) = decode_rpc(field(3, field(4, field(1, b"t") + b"\x18" + bytes.fromhex(encoded)))).prune
    assert prune.backoff == value


@pytest.mark.parametrize("value", [-1, 2**64])
def test_other_numbers_are_no_varints(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        encode_uint64(value)
