"""Peers that break the rules of mplex, or flood within them: typed errors, bounded memory, bounded work."""

from __future__ import annotations

import pytest

from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.muxing.core import DataReceived, StreamClosed, StreamOpened, StreamWasReset
from peerstack.stack.muxing.mplex import Config
from peerstack.stack.muxing.mplex.core import key_of
from peerstack.stack.muxing.mplex.wire import MAX_MESSAGE, encode_header

from .cores import (
    CLOSE_INITIATOR,
    MESSAGE_INITIATOR,
    MESSAGE_RECEIVER,
    NEW,
    RESET_INITIATOR,
    RESET_RECEIVER,
    Side,
    data_of,
    frame,
)

KEY = key_of(0, ours=False)


@pytest.mark.parametrize("flag", range(7))
def test_an_oversized_message_is_refused_by_its_length(flag: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{MAX_MESSAGE + 1} bytes is over the limit of {MAX_MESSAGE}"):
        Side().receive(encode_header(0, flag, MAX_MESSAGE + 1))


def test_the_largest_message_is_taken() -> None:
    side = Side()
    events = side.receive(frame(0, NEW), frame(0, MESSAGE_INITIATOR, bytes(MAX_MESSAGE)))
    assert len(data_of(events, KEY)) == MAX_MESSAGE


def test_the_flag_that_means_nothing() -> None:
    with pytest.raises(RemoteProtocolError, match="mplex flag 7 is unknown"):
        Side().receive(b"\x07\x00")


@pytest.mark.parametrize("data", [b"\xff" * 10, b"\x80\x00\x00", b"\x00\x80\x00", b"\x00" + b"\xff" * 9])
def test_numbers_that_are_no_varints(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="varint"):
        Side().receive(data)


def test_a_stream_that_is_open_cannot_be_opened_again() -> None:
    side = Side()
    side.receive(frame(0, NEW))
    with pytest.raises(RemoteProtocolError, match="stream 0 is open already"):
        side.receive(frame(0, NEW))


def test_an_id_may_come_again_when_its_stream_is_gone() -> None:
    side = Side()
    side.receive(frame(0, NEW), frame(0, RESET_INITIATOR))
    assert side.receive(frame(0, NEW)) == [StreamOpened(KEY)]


@pytest.mark.parametrize("flag", range(1, 7))
def test_what_is_for_unknown_streams_is_ignored(flag: int) -> None:
    side = Side()
    assert side.receive(frame(5, flag, b"whatever")) == []
    assert side.frames() == []
    assert side.receive(frame(0, NEW), frame(0, MESSAGE_INITIATOR, b"in step")) == [
        StreamOpened(KEY),
        DataReceived(KEY, b"in step"),
    ]


def test_a_stream_of_ours_that_we_have_not_told_of_is_unknown() -> None:
    side = Side()
    key = side.open()
    assert side.receive(frame(0, MESSAGE_RECEIVER, b"a guess"), frame(0, RESET_RECEIVER)) == []
    assert side.core.send_credit(key)


def test_what_comes_behind_a_close_is_ignored() -> None:
    side = Side()
    side.receive(frame(0, NEW), frame(0, CLOSE_INITIATOR))
    assert side.receive(frame(0, MESSAGE_INITIATOR, b"one more thing"), frame(0, CLOSE_INITIATOR)) == []


def test_more_streams_than_allowed_are_reset() -> None:
    side = Side(Config(max_inbound_streams=2))
    events = side.receive(*(frame(number, NEW) for number in range(4)))
    assert [event for event in events if isinstance(event, StreamOpened)] == [
        StreamOpened(key_of(number, ours=False)) for number in (0, 1)
    ]
    assert side.frames() == [(2, RESET_RECEIVER, b""), (3, RESET_RECEIVER, b"")]
    assert side.core.stream_count == 2


def test_a_flood_of_new_streams() -> None:
    side = Side(Config(opens_per_second=100))
    for number in range(100):
        side.receive(frame(number, NEW), frame(number, RESET_INITIATOR))
    side.now += 1
    for number in range(100):
        side.receive(frame(number, NEW), frame(number, RESET_INITIATOR))
    with pytest.raises(RemoteProtocolError, match="more than 100 streams opened in a second"):
        side.receive(frame(0, NEW))


@pytest.mark.parametrize(
    "idle",
    [
        frame(0, MESSAGE_INITIATOR),
        frame(9, MESSAGE_INITIATOR, b"x"),
        frame(9, RESET_RECEIVER),
        frame(1, CLOSE_INITIATOR),
        frame(1, MESSAGE_INITIATOR, b"x"),
    ],
    ids=["empty", "unknown", "unknown reset", "closed again", "after the close"],
)
def test_a_flood_of_nothing(idle: bytes) -> None:
    side = Side(Config(idle_frames_per_second=100))
    side.receive(frame(0, NEW), frame(1, NEW), frame(1, CLOSE_INITIATOR))
    side.receive(idle * 100)
    with pytest.raises(RemoteProtocolError, match="more than 100 frames without content in a second"):
        side.receive(idle)


# ---- no flow control


def test_a_stream_that_is_not_read_stalls_the_connection_and_is_then_reset() -> None:
    side = Side(Config(max_stream_buffer=1000, stall_timeout=5))
    side.receive(frame(0, NEW), frame(0, MESSAGE_INITIATOR, bytes(999)))
    assert not side.core.saturated
    side.receive(frame(0, MESSAGE_INITIATOR, b"x"))
    assert side.core.saturated
    assert side.core.next_deadline() == side.now + 5
    side.now += 4.9
    assert side.core.handle_deadline(side.now) == []
    side.now += 0.1
    lost = StreamWasReset(KEY, StreamCode.RESOURCE_LIMIT, remote=False)
    assert side.core.handle_deadline(side.now) == [lost, StreamClosed(KEY)]
    assert side.frames() == [(0, RESET_RECEIVER, b"")]
    assert not side.core.saturated
    assert side.core.buffered == 0


@pytest.mark.parametrize("way", ["consumed", "closed", "reset", "reset by the peer"])
def test_the_wire_goes_on_when_the_stream_is_read_or_gone(way: str) -> None:
    side = Side(Config(max_stream_buffer=1000))
    side.receive(frame(0, NEW), frame(0, MESSAGE_INITIATOR, bytes(1000)))
    assert side.core.saturated
    match way:
        case "consumed":
            side.core.consumed(KEY, 1, side.now)
        case "closed":
            side.core.close(KEY, side.now)
        case "reset":
            side.core.reset(KEY)
        case _:
            side.receive(frame(0, RESET_INITIATOR))
    assert not side.core.saturated
    assert side.core.handle_deadline(side.now + 10) == []


def test_all_streams_together_are_bounded() -> None:
    side = Side(Config(max_buffered=2000))
    side.receive(frame(0, NEW), frame(1, NEW), frame(0, MESSAGE_INITIATOR, bytes(1500)))
    one = key_of(1, ours=False)
    events = side.receive(frame(1, MESSAGE_INITIATOR, bytes(501)))
    assert events == [StreamWasReset(one, StreamCode.RESOURCE_LIMIT, remote=False), StreamClosed(one)]
    assert side.core.buffered == 1500
    assert side.receive(frame(0, MESSAGE_INITIATOR, bytes(500)))


def test_a_sender_that_goes_on_after_our_close_is_reset() -> None:
    side = Side(Config(max_stream_buffer=1000))
    side.receive(frame(0, NEW))
    side.core.close(KEY, side.now)
    side.frames()
    assert side.receive(frame(0, MESSAGE_INITIATOR, bytes(1000))) == []
    events = side.receive(frame(0, MESSAGE_INITIATOR, b"x"))
    assert StreamClosed(KEY) in events
    assert side.frames() == [(0, RESET_RECEIVER, b"")]


def test_a_local_reset_amid_a_message_keeps_the_parser_in_step() -> None:
    side = Side()
    side.receive(frame(0, NEW) + frame(0, MESSAGE_INITIATOR, bytes(100))[:50])
    side.core.reset(KEY)
    assert side.receive(bytes(52)) == []
    assert side.receive(frame(1, NEW)) == [StreamOpened(key_of(1, ours=False))]
