"""A peer that writes what no honest one would gets an error or is not listened to, and never much of our memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from peerstack.protocols.pubsub.wire import (
    IHave,
    PeerInfo,
    Prune,
    Rpc,
    RpcLimits,
    Subscription,
    decode_rpc,
    encode_control,
    encode_subscriptions,
    make_message,
)
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.wire.varint import encode_uint64

MIB = 1 << 20
LIMITS = RpcLimits()


def field(number: int, content: bytes) -> bytes:
    return encode_uint64(number << 3 | 2) + encode_uint64(len(content)) + content


def peak_of(work: Callable[[], object]) -> int:
    """Return the bytes allocated at once while `work` ran."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def filled(entry: bytes, size: int = MIB) -> bytes:
    return entry * (size // len(entry))


def control(entry: bytes, size: int = MIB) -> bytes:
    return field(3, filled(entry, size))


TINY = {
    "subscriptions": filled(field(1, b"")),
    "controls": filled(field(3, b"")),
    "partials": filled(field(10, b"")),
    "unknown": filled(field(11, b"")),
    "ihave": control(field(1, b"")),
    "iwant": control(field(2, b"")),
    "graft": control(field(3, b"")),
    "prune": control(field(4, b"")),
    "idontwant": control(field(5, b"")),
    "extensions": control(field(6, b"")),
    "unknown control": control(field(7, b"")),
    "idontwant ids": field(3, field(5, filled(field(1, b"")))),
    "iwant ids": field(3, field(2, filled(field(1, b"")))),
    "ihave ids": field(3, field(1, filled(field(2, b"")))),
    "ihave topics": field(3, field(1, filled(field(1, b"")))),
    "suggested peers": field(3, field(4, filled(field(2, b"")))),
    "prune topics": field(3, field(4, filled(field(1, b"")))),
    "test extensions": filled(encode_uint64(6492434 << 3 | 2) + b"\0"),
    "ihave entries": control(field(1, field(1, b"t") + field(2, b"i"))),
    "idontwant entries": control(field(5, field(1, b""))),
    "grafts": control(field(3, field(1, b"t"))),
    "prunes": control(field(4, field(1, b"t") + field(2, field(1, b"p")))),
    "named subscriptions": filled(field(1, field(2, b"t"))),
}


@pytest.mark.parametrize("data", TINY.values(), ids=TINY)
def test_a_mebibyte_of_tiny_entries_makes_few_objects_and_is_not_read_to_its_end(data: bytes) -> None:
    def decode() -> None:
        with pytest.raises(RemoteProtocolError, match="entries beyond the limits"):
            decode_rpc(data)

    # 5000 entries with a topic and a list each take 1.2 MiB; half a million would take a hundred.
    assert peak_of(decode) < 2 * MIB


def test_a_mebibyte_inside_one_subscription_is_not_read() -> None:
    assert decode_rpc(field(1, filled(MALFORMED["group"]))).ignored == 1


def test_a_mebibyte_of_empty_messages_is_an_error_at_the_first() -> None:
    data = filled(field(2, b""))

    def decode() -> None:
        with pytest.raises(RemoteProtocolError, match="no topic"):
            decode_rpc(data)

    assert peak_of(decode) < MIB // 4


def test_too_many_messages_are_an_error() -> None:
    entry = make_message("", b"").entry
    assert len(decode_rpc(entry * LIMITS.max_messages).messages) == LIMITS.max_messages
    with pytest.raises(RemoteProtocolError, match="more than 8192 messages"):
        decode_rpc(entry * (LIMITS.max_messages + 1))


def test_partial_messages_count_as_messages() -> None:
    assert decode_rpc(field(10, b"") * LIMITS.max_messages).partial == LIMITS.max_messages
    with pytest.raises(RemoteProtocolError, match="messages"):
        decode_rpc(field(10, b"") * LIMITS.max_messages + make_message("t", b"").entry)


def test_a_large_message_is_held_three_times_at_most() -> None:
    message = make_message("t", bytes(MIB), author=b"a").entry
    assert peak_of(lambda: decode_rpc(message)) < 2.1 * MIB  # as it came, and its data
    disordered = field(2, field(4, b"t") + field(2, bytes(MIB)))
    assert peak_of(lambda: decode_rpc(disordered)) < 3.1 * MIB + MIB  # and made canonical, from parts


SMALL = RpcLimits(
    max_topic=8, max_subscriptions=3, max_ids=3, max_id=8, max_grafts=3, max_prunes=3, max_peers=3, max_peer=32
)
MANY = [bytes((index,)) for index in range(5)]
TOPICS = [str(index) for index in range(5)]


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (encode_subscriptions(Subscription(True, t) for t in TOPICS), lambda rpc: [s.topic for s in rpc.subscriptions]),
        (encode_control(iwant=MANY), lambda rpc: [str(i[0]) for i in rpc.iwant]),
        (encode_control(idontwant=MANY), lambda rpc: [str(i[0]) for i in rpc.idontwant]),
        (encode_control(ihave=[IHave("t", MANY)]), lambda rpc: [str(i[0]) for have in rpc.ihave for i in have.ids]),
        (encode_control(ihave=[IHave("t", [i]) for i in MANY]), lambda rpc: [str(h.ids[0][0]) for h in rpc.ihave]),
        (encode_control(graft=TOPICS), lambda rpc: rpc.graft),
        (encode_control(prune=[Prune(t) for t in TOPICS]), lambda rpc: [p.topic for p in rpc.prune]),
        (
            encode_control(prune=[Prune("t", [PeerInfo(i) for i in some]) for some in (MANY[:2], MANY[2:])]),
            lambda rpc: [str(info.peer[0]) for p in rpc.prune for info in p.peers],
        ),
    ],
    ids=["subscriptions", "iwant", "idontwant", "ihave", "ihaves", "graft", "prune", "peers"],
)  # fmt: skip
def test_entries_beyond_a_limit_are_skipped_and_counted(data: list[bytes], kept: Callable[[Rpc], list[str]]) -> None:
    rpc = decode_rpc(b"".join(data), SMALL)
    assert kept(rpc) == TOPICS[:3]
    assert rpc.ignored >= 2


def test_the_5001st_id_is_the_one_that_is_skipped() -> None:
    ids = [index.to_bytes(4, "big") for index in range(LIMITS.max_ids + 1)]
    rpc = decode_rpc(b"".join(encode_control(iwant=ids)))
    assert (rpc.iwant, rpc.ignored) == (ids[:-1], 1)


def test_ids_peers_and_subscriptions_that_are_too_long_are_skipped() -> None:
    ids = [b"x" * 9, b"x" * 8]
    peers = [PeerInfo(b"p", bytes(40)), PeerInfo(b"q")]
    parts = encode_control(iwant=ids, idontwant=ids, ihave=[IHave("t", ids)], prune=[Prune("t", peers)])
    parts += encode_subscriptions(Subscription(True, "t" * size) for size in (9, 2000, 8))
    rpc = decode_rpc(b"".join(parts), SMALL)
    assert rpc.iwant == rpc.idontwant == rpc.ihave[0].ids == ids[1:]
    assert rpc.prune == [Prune("t", [PeerInfo(b"q")])]
    assert rpc.subscriptions == [Subscription(True, "t" * 8)]
    assert rpc.ignored == 6


def test_entries_that_name_nothing_are_skipped() -> None:
    nameless = (
        field(1, field(2, b"id"))
        + field(3, b"\x10\x01")
        + field(4, b"\x18\x05")
        + field(4, field(1, b"t") + field(2, field(2, b"r")))
    )
    rpc = decode_rpc(field(3, nameless) + field(1, b"\x08\x01"))
    assert (rpc.ihave, rpc.graft, rpc.subscriptions, rpc.prune) == ([], [], [], [Prune("t")])
    assert rpc.ignored == 5


def test_too_many_skipped_entries_are_an_error() -> None:
    limits = RpcLimits(max_ids=1, max_ignored=10)
    assert decode_rpc(encode_control(iwant=[b""] * 11)[0], limits).ignored == 10
    with pytest.raises(RemoteProtocolError, match="more than 10 entries"):
        decode_rpc(encode_control(iwant=[b""] * 12)[0], limits)


def test_extensions_are_taken_from_the_first_entry_only() -> None:
    rpc = decode_rpc(field(3, field(6, b"") + field(6, b"\x50\x01")))
    assert rpc.extensions is not None
    assert not rpc.extensions.partial_messages
    assert rpc.ignored == 1


TOPIC_ENTRIES: dict[str, Callable[[bytes], bytes]] = {
    "message": lambda topic: field(2, field(4, topic)),
    "unordered message": lambda topic: field(2, field(5, b"") + field(4, topic)),
    "graft": lambda topic: field(3, field(3, field(1, topic))),
    "prune": lambda topic: field(3, field(4, field(1, topic))),
    "ihave": lambda topic: field(3, field(1, field(1, topic) + field(2, b"id"))),
}


@pytest.mark.parametrize("entry", TOPIC_ENTRIES.values(), ids=TOPIC_ENTRIES)
def test_topics_have_a_limited_length(entry: Callable[[bytes], bytes]) -> None:
    decode_rpc(entry(b"t" * 1024))
    for size in (1025, 5000):
        with pytest.raises(RemoteProtocolError):
            decode_rpc(entry(b"t" * size))


@pytest.mark.parametrize(
    "entry", [*TOPIC_ENTRIES.values(), lambda t: field(1, field(2, t))], ids=[*TOPIC_ENTRIES, "subscription"]
)
@pytest.mark.parametrize("topic", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"t\xf0\x9f"])
def test_topics_are_utf8(entry: Callable[[bytes], bytes], topic: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="UTF-8"):
        decode_rpc(entry(topic))


# What to put where: alone, in a message, in each kind of entry.
PLACES: dict[str, Callable[[bytes], bytes]] = {
    "rpc": lambda bad: bad,
    "message": lambda bad: field(2, field(4, b"t") + bad),
    "subscription": lambda bad: field(1, field(2, b"t") + bad),
    "control": lambda bad: field(3, bad),
    "ihave": lambda bad: field(3, field(1, field(1, b"t") + bad)),
    "iwant": lambda bad: field(3, field(2, bad)),
    "graft": lambda bad: field(3, field(3, bad)),
    "prune": lambda bad: field(3, field(4, bad)),
    "idontwant": lambda bad: field(3, field(5, bad)),
    "extensions": lambda bad: field(3, field(6, bad)),
    "suggested peer": lambda bad: field(3, field(4, field(2, bad))),
}
MALFORMED = {
    "group": b"\x0b\x0c",
    "end of a group": b"\x0c",
    "group of an unknown field": b"\xa3\x06\xa4\x06",
    "wire type 6": b"\x0e",
    "wire type 7": b"\x0f\x00",
    "field 0": b"\x02\x00",
    "tag over 32 bits": b"\x8a\x80\x80\x80\x80\x01\x00",
    "overlong tag": b"\x8a" + b"\x80" * 9 + b"\x00\x00",
    "overlong length": b"\x0a" + b"\x81" * 10 + b"\x00",
    "overlong varint": b"\x08" + b"\xff" * 10 + b"\x01",
    "varint over 64 bits": b"\x08" + b"\xff" * 9 + b"\x02",
    "length beyond the end": b"\x0a\x05abcd",
    "length 2**31": b"\x0a\x80\x80\x80\x80\x08",
    "length 2**63-1": b"\x0a" + b"\xff" * 8 + b"\x7f",
    "length 2**64-1": b"\x0a" + b"\xff" * 9 + b"\x01",
    "tag alone": b"\x0a",
    "half a tag": b"\xa2",
    "half a length": b"\x0a\x80",
    "half a fixed32": b"\x0d\x00\x00\x00",
    "half a fixed64": b"\x09" + bytes(7),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED)
def test_malformed_fields_are_an_error_everywhere(place: Callable[[bytes], bytes], bad: bytes) -> None:
    data = place(bad)

    def decode() -> None:
        with pytest.raises(RemoteProtocolError):
            decode_rpc(data)

    assert peak_of(decode) < MIB // 4


def test_every_truncation_is_an_error_or_an_rpc_of_whole_fields() -> None:
    message = make_message("t", b"d" * 200, author=b"a" * 38, seqno=bytes(8), signature=b"s" * 64, key=b"k" * 150).entry
    prune = [Prune("p", [PeerInfo(b"x", b"y")], 300)]
    entries = encode_control(ihave=[IHave("t", [b"i" * 20, b"j" * 200])], iwant=[b"w"], graft=["g"], prune=prune)
    fields = [*encode_subscriptions([Subscription(True, "t")]), message, *entries]
    data = b"".join(fields)
    whole = {sum(map(len, fields[:count])) for count in range(len(fields) + 1)}
    for size in range(len(data)):
        if size in whole:
            decode_rpc(data[:size])
            continue
        with pytest.raises(RemoteProtocolError):
            decode_rpc(data[:size])


def test_every_truncation_inside_a_field_is_an_error() -> None:
    inside = make_message("t", b"d" * 200, author=b"a" * 38, seqno=bytes(8), signature=b"s" * 64).encoded
    boundaries = set()
    for size in range(len(inside)):
        try:
            decode_rpc(field(2, inside[:size]))
        except RemoteProtocolError:
            continue
        boundaries.add(size)
    assert boundaries == {len(inside), len(inside) - 66} - {len(inside)}  # only once the topic is there


def test_a_message_of_thousands_of_fields_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError, match="64 fields"):
        decode_rpc(field(2, field(4, b"t") + field(7, b"") * 64))
