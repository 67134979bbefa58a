"""How streams begin: ids, SYN and ACK on the first frames, and every limit on how many there may be."""

import pytest

from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError
from peerstack.stack.muxing.core import (
    DataReceived,
    StreamAcknowledged,
    StreamClosed,
    StreamFinished,
    StreamOpened,
    StreamWasReset,
)
from peerstack.stack.muxing.yamux import Config, GoAwayCode
from peerstack.stack.muxing.yamux.wire import ACK, DATA, FIN, MAX_STREAM_ID, RST, SYN, WINDOW_UPDATE

from .cores import Pair, Side, frame


def test_the_client_s_ids_are_odd_and_the_server_s_even() -> None:
    pair = Pair()
    assert [pair.client.open() for _ in range(3)] == [1, 3, 5]
    assert [pair.server.open() for _ in range(3)] == [2, 4, 6]


def test_opening_sends_nothing_and_the_first_frame_carries_syn() -> None:
    side = Side(client=True)
    stream_id = side.open()
    assert side.frames() == []
    side.send(stream_id, b"abc")
    side.send(stream_id, b"de")
    assert side.frames() == [(DATA, SYN, 1, 3), (DATA, 0, 1, 2)]


def test_a_stream_without_data_begins_with_its_end() -> None:
    side = Side(client=True)
    side.core.send_eof(side.open())
    assert side.frames() == [(DATA, SYN | FIN, 1, 0)]


def test_data_may_come_with_the_first_frame_up_to_a_whole_window() -> None:
    pair = Pair()
    stream_id = pair.client.open()
    data = bytes(262144)
    assert pair.client.send_all(stream_id, data) == len(data)
    pair.drive()
    assert pair.server.events[0] == StreamOpened(stream_id)
    assert pair.server.data_of(stream_id) == data


@pytest.mark.parametrize("first", ["data", "credit", "end"])
def test_ack_rides_on_the_first_frame_of_the_acceptor(first: str) -> None:
    side = Side(client=False)
    side.receive(frame(DATA, SYN, 1, body=bytes(200_000)))
    assert side.frames() == []
    if first == "data":
        side.send(1, b"x")
    elif first == "credit":
        side.consume(1, 200_000)
    else:
        side.core.send_eof(1)
    side.core.send_eof(1)
    headers = side.frames()
    assert headers[0][1] & ACK
    assert not any(header[1] & ACK for header in headers[1:])


@pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE])
def test_an_acknowledgement_is_noted_once(kind: int) -> None:
    side = Side(client=True)
    side.send(side.open(), b"x")
    assert side.receive(frame(kind, ACK, 1)) == [StreamAcknowledged(1)]
    assert side.receive(frame(kind, ACK, 1)) == []


@pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE])
def test_a_peer_may_open_with_either_frame(kind: int) -> None:
    side = Side(client=False)
    assert side.receive(frame(kind, SYN, 1)) == [StreamOpened(1)]
    assert side.core.stream_count == 1


def test_a_window_update_with_syn_grants_a_larger_window() -> None:
    side = Side(client=False)
    side.receive(frame(WINDOW_UPDATE, SYN, 1, 1000))
    assert side.core.send_credit(1) == 262144 + 1000


def test_open_send_and_end_in_one_frame() -> None:
    side = Side(client=False)
    events = side.receive(frame(DATA, SYN | FIN, 1, body=b"abc"))
    assert events == [StreamOpened(1), DataReceived(1, b"abc"), StreamFinished(1)]


def test_ids_need_not_arrive_in_order() -> None:
    # Ids are given when a stream is opened, and sent with its first bytes.
    side = Side(client=False)
    assert side.receive(frame(DATA, SYN, 5), frame(DATA, SYN, 1)) == [StreamOpened(5), StreamOpened(1)]


# ---- limits on our own streams


def test_only_a_few_streams_before_the_first_answer() -> None:
    side = Side(client=True, config=Config(early_streams=8))
    streams = [side.open() for _ in range(8)]
    assert not side.core.can_open
    with pytest.raises(LocalProtocolError, match="no more streams"):
        side.open()
    side.send(streams[0], b"x")
    side.receive(frame(WINDOW_UPDATE, ACK, 1))
    assert side.core.can_open
    assert [side.open() for _ in range(20)][-1] == 1 + 2 * 27


def test_a_stream_the_peer_opens_is_an_answer_too() -> None:
    side = Side(client=True, config=Config(early_streams=1))
    side.open()
    assert not side.core.can_open
    side.receive(frame(DATA, SYN, 2))
    assert side.core.can_open


def test_frames_for_streams_that_do_not_exist_are_no_answer() -> None:
    side = Side(client=True, config=Config(early_streams=1))
    side.open()
    side.receive(frame(WINDOW_UPDATE, 0, 2), frame(DATA, ACK, 77))
    assert not side.core.can_open


def test_unacknowledged_streams_are_counted() -> None:
    side = Side(client=True, config=Config(ack_backlog=3))
    streams = [side.open() for _ in range(3)]
    side.receive(frame(DATA, SYN, 2))
    assert not side.core.can_open
    side.receive(frame(WINDOW_UPDATE, ACK, streams[1]))
    assert side.core.can_open
    side.open()
    assert not side.core.can_open
    side.receive(frame(WINDOW_UPDATE, RST, streams[0]))
    assert side.core.can_open


def test_a_stream_given_up_before_its_acknowledgement_leaves_the_backlog() -> None:
    side = Side(client=True, config=Config(ack_backlog=1))
    stream_id = side.open()
    side.send(stream_id, b"x")
    side.core.reset(stream_id)
    assert side.core.can_open
    assert side.idle()


def test_our_own_streams_are_bounded() -> None:
    side = Side(client=True, config=Config(max_outbound_streams=2))
    first, second = side.open(), side.open()
    side.receive(frame(WINDOW_UPDATE, ACK, first), frame(WINDOW_UPDATE, ACK, second))
    assert not side.core.can_open
    side.core.reset(first)
    assert side.core.can_open


def test_ids_run_out() -> None:
    side = Side(client=True)
    side.core._next_id = MAX_STREAM_ID
    assert side.open() == MAX_STREAM_ID
    with pytest.raises(ConnectionLost, match="stream ids of this connection are used up"):
        side.open()


def test_nothing_is_opened_after_our_go_away() -> None:
    side = Side(client=True)
    side.core.go_away()
    with pytest.raises(LocalProtocolError, match="closing"):
        side.open()


# ---- limits on the peer's streams


def test_streams_beyond_the_limit_are_reset_one_by_one() -> None:
    side = Side(client=False, config=Config(max_inbound_streams=2))
    side.receive(*(frame(DATA, SYN, stream_id) for stream_id in (1, 3)))
    events = side.receive(frame(DATA, SYN, 5, body=b"refused with its data"), frame(DATA, 0, 1, body=b"goes on"))
    assert events == [DataReceived(1, b"goes on")]
    assert side.frames() == [(WINDOW_UPDATE, RST, 5, StreamCode.RESOURCE_LIMIT)]
    assert side.core.stream_count == 2
    side.receive(frame(WINDOW_UPDATE, RST, 1))
    assert side.receive(frame(DATA, SYN, 7)) == [StreamOpened(7)]


def test_our_own_streams_do_not_count_against_the_peer_s() -> None:
    side = Side(client=False, config=Config(max_inbound_streams=1))
    for _ in range(5):
        side.open()
    assert side.receive(frame(DATA, SYN, 1)) == [StreamOpened(1)]


def test_a_stream_that_comes_after_our_go_away_is_reset() -> None:
    side = Side(client=False)
    side.core.go_away()
    side.sent()
    assert side.receive(frame(DATA, SYN, 1, body=b"x")) == []
    assert [header[:3] for header in side.frames()] == [(WINDOW_UPDATE, RST, 1)]
    assert side.idle()


@pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE])
@pytest.mark.parametrize(("client", "stream_id"), [(False, 2), (True, 1), (False, 0), (True, 0)])
def test_ids_that_are_not_the_peer_s_to_open(kind: int, client: bool, stream_id: int) -> None:
    side = Side(client=client)
    with pytest.raises(RemoteProtocolError, match=f"stream {stream_id} is not the peer's to open") as caught:
        side.receive(frame(kind, SYN, stream_id))
    assert caught.value.code == GoAwayCode.PROTOCOL_ERROR
    assert side.core.stream_count == 0


@pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE])
def test_an_id_that_is_open_already(kind: int) -> None:
    side = Side(client=False)
    side.receive(frame(DATA, SYN, 1))
    with pytest.raises(RemoteProtocolError, match="stream 1 is open already"):
        side.receive(frame(kind, SYN, 1))


@pytest.mark.parametrize("length", [262145, 2**32 - 1])
def test_a_first_frame_larger_than_the_window_does_not_even_open_the_stream(length: int) -> None:
    # CVE-2026-32314
    side = Side(client=False)
    with pytest.raises(RemoteProtocolError, match="over its window") as caught:
        side.receive(frame(DATA, SYN, 1, length))
    assert caught.value.code == GoAwayCode.PROTOCOL_ERROR
    assert side.idle()


def test_rapid_reset_ends_the_session() -> None:
    # The stream count never exceeds one (CVE-2023-44487).
    side = Side(client=False, config=Config(opens_per_second=100))
    for number in range(100):
        side.receive(frame(DATA, SYN, 1 + 2 * number), frame(WINDOW_UPDATE, RST, 1 + 2 * number))
    assert side.idle()
    with pytest.raises(RemoteProtocolError, match="more than 100 streams opened in a second"):
        side.receive(frame(DATA, SYN, 201))


def test_streams_opened_at_the_allowed_rate_go_on_for_ever() -> None:
    side = Side(client=False, config=Config(opens_per_second=100))
    for number in range(1000):
        side.now += 0.01
        side.receive(frame(DATA, SYN, 1 + 2 * number), frame(WINDOW_UPDATE, RST, 1 + 2 * number))
    assert side.events.count(StreamWasReset(1, 0, remote=True)) == 1
    assert side.events[-1] == StreamClosed(1 + 2 * 999)
