"""Frames in whatever pieces they come are one run of bytes, and those that break the rules are refused by name."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as TheirOpcode

from peerstack.transports.websocket.core import FrameReader
from peerstack.transports.websocket.wire import (
    MAX_PAYLOAD,
    MAX_UNAUTHENTICATED,
    CloseCode,
    FrameError,
    Opcode,
    encode_frame,
)

SIDES = pytest.mark.parametrize("masked", [True, False], ids=["from a client", "from a server"])


def theirs(opcode: int, payload: bytes, *, mask: bool, fin: bool = True) -> bytes:
    """Encode a frame by the library, which is the reference here."""
    return Frame(TheirOpcode(opcode), payload, fin).serialize(mask=mask)


def header(first: int, length: int, *, mask: bool) -> bytes:
    """Encode a header alone, which may lie."""
    masked = 0x80 if mask else 0
    if length < 126:
        return bytes([first, masked | length])
    if length < 1 << 16:
        return bytes([first, masked | 126]) + length.to_bytes(2, "big")
    return bytes([first, masked | 127]) + length.to_bytes(8, "big")


def read(reader: FrameReader, *pieces: bytes) -> bytes:
    """Feed pieces as a pipe does: behind what was left of the one before, in one buffer."""
    out = b""
    for piece in pieces:
        data = bytearray(reader.partial + piece)
        size = reader.unframe(memoryview(data), len(data))
        out += data[:size]
    return out


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


@given(
    messages=st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=3), max_size=5),
    places=st.lists(st.integers(0, 10_000), max_size=12),
    masked=st.booleans(),
)
def test_payload_comes_out_as_one_run_of_bytes(messages: list[list[bytes]], places: list[int], masked: bool) -> None:
    wire = b""
    for fragments in messages:
        for index, fragment in enumerate(fragments):
            opcode = Opcode.CONTINUATION if index else Opcode.BINARY
            wire += theirs(opcode, fragment, mask=masked, fin=index == len(fragments) - 1)
            wire += theirs(Opcode.PING, b"in between", mask=masked)
    reader = FrameReader(masked=masked)
    assert read(reader, *cut(wire, places)) == b"".join(map(b"".join, messages))
    assert reader.ping == (b"in between" if messages else None)
    assert not reader.inside


@SIDES
@pytest.mark.parametrize("size", [0, 1, 125, 126, 1000, MAX_PAYLOAD])
def test_our_frames_are_what_the_library_reads(masked: bool, size: int) -> None:
    payload = bytes(range(256)) * 256
    encoded = encode_frame(Opcode.BINARY, payload[:size], mask=masked)
    if not masked:
        assert encoded == theirs(Opcode.BINARY, payload[:size], mask=False)
    assert read(FrameReader(masked=masked), encoded) == payload[:size]
    assert len(encoded) - size <= 8


def test_every_frame_of_a_client_has_another_key() -> None:
    keys = {encode_frame(Opcode.BINARY, bytes(8), mask=True)[2:6] for _ in range(20)}
    assert len(keys) > 1


@SIDES
@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_large_frames_are_not_waited_for(masked: bool, step: int) -> None:
    payload = bytes(range(251)) * 300
    wire = theirs(Opcode.BINARY, payload, mask=masked)
    reader = FrameReader(masked=masked)
    got = read(reader, wire[:20])
    assert got == payload[: len(got)]
    assert got
    for start in range(20, 200, step):
        got += read(reader, wire[start : min(start + step, 200)])
    assert reader.inside
    assert got + read(reader, wire[200:]) == payload
    assert not reader.inside


@SIDES
@pytest.mark.parametrize(
    ("first", "length", "complaint", "code"),
    [
        (0x81, 3, "text where libp2p sends binary", CloseCode.UNSUPPORTED_DATA),
        (0xC2, 3, "reserved bits", CloseCode.PROTOCOL_ERROR),
        (0xA2, 3, "reserved bits", CloseCode.PROTOCOL_ERROR),
        (0x92, 3, "reserved bits", CloseCode.PROTOCOL_ERROR),
        (0x83, 3, "unknown opcode 3", CloseCode.PROTOCOL_ERROR),
        (0x8B, 3, "unknown opcode 11", CloseCode.PROTOCOL_ERROR),
        (0x80, 3, "goes on without having begun", CloseCode.PROTOCOL_ERROR),
        (0x89, 126, "PING frame is fragmented or larger", CloseCode.PROTOCOL_ERROR),
        (0x09, 3, "PING frame is fragmented or larger", CloseCode.PROTOCOL_ERROR),
        (0x08, 2, "CLOSE frame is fragmented or larger", CloseCode.PROTOCOL_ERROR),
        (0x82, MAX_UNAUTHENTICATED + 1, f"a message of {MAX_UNAUTHENTICATED + 1} bytes", CloseCode.TOO_BIG),
        (0x82, (1 << 64) - 1, f"the limit is {MAX_UNAUTHENTICATED}", CloseCode.TOO_BIG),
    ],
)
def test_what_breaks_the_rules_is_refused_by_its_header(
    masked: bool, first: int, length: int, complaint: str, code: CloseCode
) -> None:
    wire = header(first, length, mask=masked) + (b"abcd" if masked else b"")
    with pytest.raises(FrameError, match=f"WebSocket: .*{complaint}") as caught:
        read(FrameReader(masked=masked), wire)
    assert caught.value.close_code is code


@SIDES
def test_a_message_of_the_largest_size_is_taken_and_one_byte_more_is_not(masked: bool) -> None:
    largest = MAX_UNAUTHENTICATED
    half = bytes(largest // 2)
    wire = theirs(Opcode.BINARY, half, mask=masked, fin=False)
    reader = FrameReader(masked=masked)
    assert len(read(reader, wire, theirs(Opcode.CONTINUATION, half, mask=masked))) == largest
    read(reader, wire, theirs(Opcode.CONTINUATION, half, mask=masked, fin=False))
    with pytest.raises(FrameError, match=f"a message of {largest + 1} bytes or more"):
        read(reader, theirs(Opcode.CONTINUATION, b"x", mask=masked))


@SIDES
def test_a_message_inside_another_is_refused(masked: bool) -> None:
    reader = FrameReader(masked=masked)
    read(reader, theirs(Opcode.BINARY, b"x", mask=masked, fin=False))
    with pytest.raises(FrameError, match="begins inside another"):
        read(reader, theirs(Opcode.BINARY, b"y", mask=masked))


@pytest.mark.parametrize(("masked", "complaint"), [(True, "client is not masked"), (False, "server is masked")])
def test_who_must_mask_and_who_must_not(masked: bool, complaint: str) -> None:
    with pytest.raises(FrameError, match=complaint):
        read(FrameReader(masked=masked), theirs(Opcode.BINARY, b"x", mask=not masked))


@SIDES
def test_data_before_a_close_is_delivered_and_what_follows_is_ignored(masked: bool) -> None:
    reader = FrameReader(masked=masked)
    wire = theirs(Opcode.BINARY, b"before", mask=masked) + theirs(Opcode.CLOSE, b"\x03\xe9bye", mask=masked)
    assert read(reader, wire + b"garbage of any kind") == b"before"
    assert reader.close is not None
    assert (reader.close.code, reader.close.reason) == (CloseCode.GOING_AWAY, "bye")


@SIDES
@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8\xff", b"\x00\x00", b"\x03\xed"])
def test_a_malformed_close_is_refused(masked: bool, payload: bytes) -> None:
    with pytest.raises(FrameError, match="malformed Close frame"):
        read(FrameReader(masked=masked), theirs(Opcode.CLOSE, payload, mask=masked))


@SIDES
def test_unsolicited_pongs_are_ignored(masked: bool) -> None:
    reader = FrameReader(masked=masked)
    assert read(reader, theirs(Opcode.PONG, b"x", mask=masked) + theirs(Opcode.BINARY, b"y", mask=masked)) == b"y"
    assert reader.ping is None


@given(data=st.binary(max_size=400), masked=st.booleans())
def test_garbage_ends_in_an_error_or_in_waiting(data: bytes, masked: bool) -> None:
    reader = FrameReader(masked=masked)
    try:
        got = read(reader, data)
    except FrameError:
        return
    assert len(got) <= len(data)
    assert len(reader.partial) < 14 + 125


def test_the_masking_runs_in_c() -> None:
    from websockets import speedups

    from peerstack.transports.websocket import wire

    assert wire.apply_mask is speedups.apply_mask
