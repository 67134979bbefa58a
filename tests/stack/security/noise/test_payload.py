"""The payload of a handshake: its golden bytes, what is ignored in it, and which muxer it agrees on."""

from random import Random

import pytest

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.security.noise.wire import MAX_EARLY_MUXERS, Payload, agree_on_muxer

YAMUX, MPLEX = "/yamux/1.0.0", "/mplex/6.7.0"


def field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


GOLDEN = field(1, b"key") + field(2, b"signature") + field(4, field(2, YAMUX.encode()) + field(2, MPLEX.encode()))


def test_golden_bytes() -> None:
    payload = Payload(b"key", b"signature", (YAMUX, MPLEX))
    assert payload.encode() == GOLDEN
    assert Payload.decode(GOLDEN) == payload


def test_without_muxers_there_are_no_extensions() -> None:
    assert Payload(b"key", b"signature").encode() == field(1, b"key") + field(2, b"signature")
    assert Payload.decode(field(1, b"key")) == Payload(b"key", b"")


def test_the_retired_data_field_and_unknown_ones_are_ignored() -> None:
    extra = field(3, b"early data") + field(9, b"?") + field(4, field(1, b"certificate hash") + field(9, b"?"))
    assert Payload.decode(extra + GOLDEN) == Payload(b"key", b"signature", (YAMUX, MPLEX))


def test_fields_in_any_order() -> None:
    assert Payload.decode(field(2, b"signature") + field(1, b"key")) == Payload(b"key", b"signature")


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\x0f", b"\x80" * 11, field(4, b"\x12\x7f")],
    ids=["tag", "truncated", "4 GiB", "endless varint", "truncated extension"],
)
def test_what_is_no_protobuf_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not a valid protobuf"):
        Payload.decode(data)


def test_a_muxer_whose_name_is_no_text_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="not UTF-8"):
        Payload.decode(field(1, b"key") + field(4, field(2, YAMUX.encode()) + field(2, b"\xff\xfe")))


def test_random_bytes_decode_or_are_refused() -> None:
    random = Random(5)
    refused = 0
    for _ in range(2000):
        changed = bytearray(GOLDEN)
        for _ in range(random.randrange(1, 4)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        try:
            Payload.decode(bytes(changed))
        except RemoteProtocolError:
            refused += 1
    assert 0 < refused < 2000


@pytest.mark.parametrize(("count", "kept"), [(MAX_EARLY_MUXERS, True), (MAX_EARLY_MUXERS + 1, False)])
def test_more_than_a_hundred_muxers_are_ignored(count: int, kept: bool) -> None:
    names = tuple(f"/muxer/{number}" for number in range(count))
    assert Payload.decode(Payload(b"key", b"", names).encode()).muxers == (names if kept else ())


@pytest.mark.parametrize(
    ("initiator", "responder", "agreed"),
    [
        ((YAMUX,), (YAMUX,), YAMUX),
        ((MPLEX, YAMUX), (YAMUX, MPLEX), MPLEX),
        ((YAMUX, MPLEX), (MPLEX,), MPLEX),
        ((), (YAMUX,), None),
        ((YAMUX,), (), None),
        ((), (), None),
    ],
)
def test_the_initiator_s_preference_decides(
    initiator: tuple[str, ...], responder: tuple[str, ...], agreed: str | None
) -> None:
    assert agree_on_muxer(initiator, responder) == agreed


def test_lists_without_overlap_end_the_handshake() -> None:
    with pytest.raises(RemoteProtocolError, match=f"no muxer in common: {YAMUX} and {MPLEX}"):
        agree_on_muxer((YAMUX,), (MPLEX,))
