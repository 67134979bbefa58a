"""How streams and sessions end: FIN, RST, closing without listening, and GO_AWAY."""

import pytest

from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import LocalProtocolError, RemoteProtocolError
from peerstack.stack.muxing.core import (
    DataReceived,
    Event,
    GoAwayReceived,
    StreamClosed,
    StreamFinished,
    StreamOpened,
    StreamWasReset,
)
from peerstack.stack.muxing.yamux import Config, GoAwayCode
from peerstack.stack.muxing.yamux.core import SMALLEST_DISCARD
from peerstack.stack.muxing.yamux.wire import ACK, DATA, FIN, GO_AWAY, INITIAL_WINDOW, PING, RST, SYN, WINDOW_UPDATE

from .cores import Pair, Side, frame

BOTH_KINDS = pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE])


def established(config: Config | None = None) -> Side:
    side = Side(client=False, config=config)
    side.receive(frame(DATA, SYN, 1))
    side.send(1, b"!")
    side.sent()
    return side


def test_our_end_never_rides_on_data() -> None:
    # js-libp2p loses the data of a frame that carries FIN.
    side = established()
    side.send(1, b"abc")
    side.core.send_eof(1)
    assert side.frames() == [(DATA, 0, 1, 3), (DATA, FIN, 1, 0)]


def test_an_end_is_sent_once_and_nothing_after_it() -> None:
    side = established()
    side.core.send_eof(1)
    assert side.core.send_eof(1) == []
    with pytest.raises(LocalProtocolError, match="closed for sending"):
        side.send(1, b"x")
    assert side.frames() == [(DATA, FIN, 1, 0)]


@BOTH_KINDS
def test_the_peer_s_end_in_either_frame(kind: int) -> None:
    side = established()
    assert side.receive(frame(kind, FIN, 1)) == [StreamFinished(1)]
    assert side.receive(frame(kind, FIN, 1)) == []
    assert side.core.stream_count == 1


def test_the_peer_s_end_on_a_frame_with_data_comes_after_the_data() -> None:
    side = established()
    data = frame(DATA, FIN, 1, body=b"abc")
    assert side.receive(data[:13], data[13:]) == [
        DataReceived(1, b"a"),
        DataReceived(1, b"bc"),
        StreamFinished(1),
    ]


def test_credit_on_a_frame_with_fin_counts() -> None:
    side = established()
    side.receive(frame(WINDOW_UPDATE, FIN, 1, 10))
    assert side.core.send_credit(1) == INITIAL_WINDOW - 1 + 10


@pytest.mark.parametrize("first", ["we", "the peer"])
def test_a_stream_is_forgotten_when_both_halves_are_done(first: str) -> None:
    side = established()
    if first == "we":
        assert side.core.send_eof(1) == []
        assert side.receive(frame(DATA, FIN, 1)) == [StreamFinished(1), StreamClosed(1)]
    else:
        assert side.receive(frame(DATA, FIN, 1)) == [StreamFinished(1)]
        assert side.core.send_eof(1) == [StreamClosed(1)]
    assert side.idle()


def test_unread_bytes_do_not_count_once_the_stream_is_gone() -> None:
    side = established()
    side.receive(frame(DATA, FIN, 1, body=bytes(1000)))
    assert side.core.buffered == 1000
    side.core.send_eof(1)
    side.consume(1, 1000)
    assert side.idle()


# ---- resets


@BOTH_KINDS
def test_the_peer_s_reset_in_either_frame(kind: int) -> None:
    side = established()
    side.receive(frame(DATA, 0, 1, body=b"abc"))
    assert side.receive(frame(kind, RST, 1)) == [StreamWasReset(1, 0, remote=True), StreamClosed(1)]
    assert side.idle()
    assert side.frames() == []


@pytest.mark.parametrize("code", [StreamCode.GATED, 0x7FFFFFFF])
def test_the_code_of_a_reset(code: int) -> None:
    side = established()
    assert side.receive(frame(WINDOW_UPDATE, RST, 1, code))[0] == StreamWasReset(1, code, remote=True)


@pytest.mark.parametrize("flags", [0, SYN])
def test_the_body_of_a_data_frame_with_rst_comes_before_the_reset(flags: int) -> None:
    side = established() if not flags else Side(client=False)
    events = side.receive(frame(DATA, RST | flags, 1, body=b"last") + frame(DATA, SYN, 3))
    opened = [StreamOpened(1)] if flags else []
    reset = [StreamWasReset(1, 0, remote=True), StreamClosed(1)]
    assert events == [*opened, DataReceived(1, b"last"), *reset, StreamOpened(3)]
    assert side.core.buffered == 0


def test_a_body_with_rst_for_a_gone_stream_is_skipped() -> None:
    side = established()
    side.core.close(1, side.now)
    side.sent()
    assert side.receive(frame(DATA, RST, 1, body=b"late")) == [StreamWasReset(1, 0, remote=True), StreamClosed(1)]
    assert side.frames() == []
    assert side.idle()


@BOTH_KINDS
def test_an_end_and_a_reset_in_one_frame(kind: int) -> None:
    side = established()
    events = side.receive(frame(kind, FIN | RST, 1))
    assert events == [StreamFinished(1), StreamWasReset(1, 0, remote=True), StreamClosed(1)]


def test_what_came_before_the_peer_broke_the_protocol_counts() -> None:
    side = established()
    events: list[Event] = []
    with pytest.raises(RemoteProtocolError):
        side.core.receive_data(frame(DATA, 0, 1, body=b"abc") + b"\xff" * 12, side.now, events)
    assert events == [DataReceived(1, b"abc")]


def test_our_reset_says_its_code() -> None:
    side = established()
    assert side.core.reset(1, StreamCode.RATE_LIMITED) == [StreamClosed(1)]
    assert side.core.reset(1) == []
    assert side.frames() == [(WINDOW_UPDATE, RST, 1, 0x1003)]
    assert side.idle()


def test_a_stream_that_was_never_announced_is_reset_without_a_frame() -> None:
    side = Side(client=True)
    assert side.core.reset(side.open()) == [StreamClosed(1)]
    assert side.sent() == b""
    assert side.idle()


def test_a_reset_before_the_first_answer_carries_no_ack() -> None:
    side = Side(client=False)
    side.receive(frame(DATA, SYN, 1))
    side.core.reset(1)
    assert side.frames() == [(WINDOW_UPDATE, RST, 1, 0)]


def test_our_reset_in_the_middle_of_a_frame() -> None:
    side = established()
    data = frame(DATA, FIN, 1, body=b"abcdef") + frame(DATA, SYN, 3)
    side.receive(data[:15])
    side.core.reset(1)
    assert side.receive(data[15:]) == [StreamOpened(3)]
    assert side.core.buffered == 0


def test_a_stream_is_not_mixed_up_with_a_later_one_of_the_same_id() -> None:
    side = established()
    side.receive(frame(DATA, FIN, 1, 6)[:12], b"abc")
    side.core.reset(1)
    with pytest.raises(RemoteProtocolError):  # the body goes on as what it was, so this is no header
        side.receive(b"def" + b"junk" * 3)


def test_both_sides_reset_at_once() -> None:
    pair = Pair()
    stream_id = pair.open()
    pair.client.core.reset(stream_id, 1)
    pair.server.core.reset(stream_id, 2)
    pair.drive()
    assert pair.client.idle()
    assert pair.server.idle()


def test_data_after_the_end_resets_the_stream_and_says_so() -> None:
    # The application may be waiting to send: without a word it would wait for ever.
    side = established()
    side.receive(frame(DATA, FIN, 1))
    events = side.receive(frame(DATA, 0, 1, body=b"more") + frame(DATA, SYN, 3))
    assert [type(event) for event in events] == [StreamWasReset, StreamClosed, StreamOpened]
    assert not side.events[-3].remote  # type: ignore[union-attr]
    assert side.frames() == [(WINDOW_UPDATE, RST, 1, 0)]


# ---- closing: our end, and no ear for the peer


def test_closing_ends_our_half_and_waits_for_the_peer_s() -> None:
    side = established()
    assert side.core.close(1, side.now) == []
    assert side.frames() == [(DATA, FIN, 1, 0)]
    assert side.receive(frame(DATA, FIN, 1)) == [StreamClosed(1)]
    assert side.idle()


def test_closing_after_the_peer_s_end_is_the_end() -> None:
    side = established()
    side.receive(frame(DATA, FIN, 1))
    assert side.core.close(1, side.now) == [StreamClosed(1)]
    assert side.core.close(1, side.now) == []


def test_data_after_closing_is_dropped_and_its_sender_may_go_on_up_to_a_limit() -> None:
    # A reset could cost the peer our answer, and without credit it would never come to read it.
    side = established(Config(max_discarded=2 * INITIAL_WINDOW))
    side.core.close(1, side.now)
    side.sent()
    half = bytes(INITIAL_WINDOW // 2)
    for _ in range(4):
        assert side.receive(frame(DATA, 0, 1, body=half)) == []
        assert side.core.buffered == 0
        assert side.frames() == [(WINDOW_UPDATE, 0, 1, len(half))]
    events = side.receive(frame(DATA, 0, 1, body=b"x"))
    assert StreamClosed(1) in events
    assert side.frames() == [(WINDOW_UPDATE, RST, 1, 0)]
    assert side.idle()


def test_small_frames_after_closing_reach_the_limit_sooner() -> None:
    side = established(Config(max_discarded=100 * SMALLEST_DISCARD))
    side.core.close(1, side.now)
    side.sent()
    for _ in range(100):
        assert side.receive(frame(DATA, 0, 1, body=b"x")) == []
    assert StreamClosed(1) in side.receive(frame(DATA, 0, 1, body=b"x"))


def test_closing_when_the_window_is_used_up_opens_it() -> None:
    side = established()
    side.receive(frame(DATA, 0, 1, body=bytes(INITIAL_WINDOW)))
    assert side.core.close(1, side.now) == []
    assert side.frames() == [(DATA, FIN, 1, 0), (WINDOW_UPDATE, 0, 1, INITIAL_WINDOW)]
    assert side.receive(frame(DATA, FIN, 1, body=bytes(INITIAL_WINDOW))) == [StreamClosed(1)]
    assert side.idle()


def test_closing_gives_back_what_was_buffered() -> None:
    side = established()
    side.receive(frame(DATA, 0, 1, body=bytes(100_000)))
    side.core.close(1, side.now)
    assert side.core.buffered == 0
    side.receive(frame(DATA, FIN, 1))
    assert side.idle()


def test_a_peer_that_does_not_end_its_half_is_reset_after_a_while() -> None:
    side = established(Config(close_timeout=5, keepalive_interval=100))
    side.core.close(1, side.now)
    side.sent()
    assert side.core.next_deadline() == side.now + 5
    side.now += 4.9
    assert side.core.handle_deadline(side.now) == []
    side.now += 0.1
    assert side.core.handle_deadline(side.now) == [StreamClosed(1)]
    assert side.frames() == [(WINDOW_UPDATE, RST, 1, StreamCode.GARBAGE_COLLECTED)]
    assert side.idle()


def test_a_half_closed_stream_may_stay_as_long_as_one_side_reads() -> None:
    side = established(Config(close_timeout=5))
    side.core.send_eof(1)
    side.now += 1000
    side.core.handle_deadline(side.now)
    assert side.core.stream_count == 1


def test_a_stream_that_ended_meanwhile_is_left_alone() -> None:
    side = established(Config(close_timeout=5, keepalive_interval=100))
    side.core.close(1, side.now)
    side.receive(frame(DATA, FIN, 1))
    side.sent()
    side.now += 5
    assert side.core.handle_deadline(side.now) == []
    assert side.sent() == b""


# ---- the end of the session


@pytest.mark.parametrize("code", [0, 1, 2, 3, 0x1007, 2**32 - 1])
def test_a_go_away_of_any_code_ends_the_session(code: int) -> None:
    side = established()
    events = side.receive(frame(GO_AWAY, 0, 0, code) + frame(DATA, SYN, 3) + b"\xff" * 50)
    assert events == [GoAwayReceived(code)]
    assert side.receive(b"\xff" * 50) == []


def test_go_away_is_sent_once() -> None:
    side = established()
    side.core.go_away()
    side.core.go_away(RemoteProtocolError("late"))
    assert side.frames() == [(GO_AWAY, 0, 0, GoAwayCode.NORMAL)]


def test_streams_go_on_after_our_go_away() -> None:
    side = established()
    side.core.go_away()
    assert side.core.going_away
    assert side.receive(frame(DATA, 0, 1, body=b"abc")) == [DataReceived(1, b"abc")]
    side.send(1, b"def")
    assert side.frames()[-1] == (DATA, 0, 1, 3)


def test_after_release_nothing_is_left() -> None:
    side = established()
    side.receive(frame(DATA, 0, 1, body=b"abc"))
    side.open()
    side.core.release()
    assert side.idle()
    assert side.core.send_credit(1) == 0
    assert side.receive(frame(PING, SYN, 0, 1), frame(DATA, ACK, 1)) == []
    assert side.sent() == b""
