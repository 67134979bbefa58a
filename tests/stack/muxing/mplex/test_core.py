"""The mplex core: its bytes on the wire, two streams with one id, and the halves of a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerstack.stack.errors import LocalProtocolError, RemoteProtocolError
from peerstack.stack.muxing.core import StreamClosed, StreamFinished, StreamOpened, StreamWasReset
from peerstack.stack.muxing.mplex import Config
from peerstack.stack.muxing.mplex.core import key_of

from .cores import (
    CLOSE_INITIATOR,
    CLOSE_RECEIVER,
    MESSAGE_INITIATOR,
    MESSAGE_RECEIVER,
    NEW,
    RESET_INITIATOR,
    RESET_RECEIVER,
    Side,
    data_of,
    frame,
)


def test_the_bytes_on_the_wire() -> None:
    side = Side()
    key = side.open()
    assert side.core.data_to_send() == []
    side.send(key, b"hello")
    side.core.send_eof(key)
    assert b"".join(side.core.data_to_send()) == b"\x00\x00" + b"\x02\x05hello" + b"\x04\x00"


def test_what_the_peer_opened_is_answered_as_its_receiver() -> None:
    side = Side()
    key = key_of(300, ours=False)
    assert side.receive(frame(300, NEW, b"some name")) == [StreamOpened(key)]
    assert data_of(side.receive(frame(300, MESSAGE_INITIATOR, b"question")), key) == b"question"
    side.send(key, b"answer")
    side.core.send_eof(key)
    assert side.frames() == [(300, MESSAGE_RECEIVER, b"answer"), (300, CLOSE_RECEIVER, b"")]


def test_one_id_means_two_streams() -> None:
    side = Side()
    ours = side.open()
    side.send(ours, b"x")
    side.receive(frame(0, NEW))
    theirs = key_of(0, ours=False)
    assert ours != theirs
    events = side.receive(frame(0, MESSAGE_INITIATOR, b"of yours"), frame(0, MESSAGE_RECEIVER, b"of mine"))
    assert (data_of(events, theirs), data_of(events, ours)) == (b"of yours", b"of mine")
    assert side.receive(frame(0, RESET_INITIATOR))[0] == StreamWasReset(theirs, 0, remote=True)
    assert side.core.stream_count == 1
    assert side.receive(frame(0, RESET_RECEIVER))[0] == StreamWasReset(ours, 0, remote=True)
    assert side.core.stream_count == 0


@given(st.integers(0, 2**60 - 1), st.integers(0, 2**60 - 1))
def test_no_two_streams_share_a_key(one: int, other: int) -> None:
    keys = {key_of(number, ours=ours) for number in {one, other} for ours in (True, False)}
    assert len(keys) == 2 * len({one, other})
    assert 0 not in keys


def test_a_stream_is_done_when_both_halves_are() -> None:
    side = Side()
    key = side.open()
    side.send(key, b"x")
    assert side.core.send_eof(key) == []
    with pytest.raises(LocalProtocolError, match="closed for sending"):
        side.send(key, b"y")
    assert side.receive(frame(0, CLOSE_RECEIVER)) == [StreamFinished(key), StreamClosed(key)]
    assert side.core.stream_count == 0


def test_a_stream_that_was_never_announced_is_closed_and_reset_without_a_frame() -> None:
    side = Side()
    for end in (side.core.reset, lambda key: side.core.close(key, side.now)):
        key = side.open()
        assert end(key) == [StreamClosed(key)]
        assert side.frames() == []
    # Its half alone must be told: the peer may have something to say.
    side.core.send_eof(side.open())
    assert side.frames() == [(2, NEW, b""), (2, CLOSE_INITIATOR, b"")]


def test_large_sends_are_split() -> None:
    side = Side(Config(max_message_sent=1000))
    key = side.open()
    assert side.core.send_credit(key) == 1000
    assert side.send(key, bytes(2500)) == 1000
    assert [len(body) for _, _, body in side.frames()] == [0, 1000]


@given(st.lists(st.integers(1, 40), max_size=60))
def test_messages_arrive_in_pieces_of_any_size(sizes: list[int]) -> None:
    side = Side()
    wire = (
        frame(2**50, NEW, b"name") + frame(2**50, MESSAGE_INITIATOR, b"x" * 200) + frame(2**50, CLOSE_INITIATOR, b"?")
    )
    pieces, position = [], 0
    for size in sizes:
        pieces.append(wire[position : position + size])
        position += size
    key = key_of(2**50, ours=False)
    events = side.receive(*pieces, wire[position:])
    assert (events[0], events[-1]) == (StreamOpened(key), StreamFinished(key))
    assert data_of(events, key) == b"x" * 200


def test_what_a_reader_dropped_is_not_counted_as_waiting() -> None:
    side = Side()
    side.receive(frame(0, NEW), frame(0, MESSAGE_INITIATOR, bytes(500)))
    key = key_of(0, ours=False)
    side.core.consumed(key, 100, side.now)
    assert side.core.buffered == 400
    side.core.close(key, side.now)
    assert side.core.buffered == 0
    side.receive(frame(0, MESSAGE_INITIATOR, bytes(500)))
    assert side.core.buffered == 0
    side.core.reset(key)
    assert side.core.buffered == 0


def test_a_peer_that_does_not_end_its_half_is_reset() -> None:
    side = Side(Config(close_timeout=60))
    side.receive(frame(0, NEW))
    key = key_of(0, ours=False)
    side.core.close(key, side.now)
    assert side.core.next_deadline() == side.now + 60
    assert side.core.handle_deadline(side.now + 59) == []
    side.frames()
    assert side.core.handle_deadline(side.now + 60) == [StreamClosed(key)]
    assert side.frames() == [(0, RESET_RECEIVER, b"")]


def test_no_more_streams_than_allowed_and_none_when_leaving() -> None:
    side = Side(Config(max_outbound_streams=2))
    keys = [side.open(), side.open()]
    assert not side.core.can_open
    with pytest.raises(LocalProtocolError, match="no more streams"):
        side.open()
    side.core.reset(keys[0])
    side.open()
    side.core.go_away()
    with pytest.raises(LocalProtocolError, match="closing"):
        side.open()


@given(st.binary(max_size=400), st.integers(0, 400))
def test_no_bytes_crash_a_core(data: bytes, cut: int) -> None:
    side = Side()
    side.send(side.open(), b"x")
    try:
        side.receive(data[:cut], data[cut:])
    except RemoteProtocolError:
        return
    assert side.core.stream_count <= 1 + len(data)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_message_sent": 0},
        {"max_message_sent": 2**20 + 1},
        {"max_stream_buffer": 0},
        {"max_inbound_streams": 0},
        {"opens_per_second": 0},
        {"stall_timeout": 0},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        Config(**settings)
