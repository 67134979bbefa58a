"""Frames that break the rules, and floods of frames that break none."""

from collections.abc import Callable

import pytest

from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.muxing.core import StreamClosed, StreamOpened, StreamWasReset
from peerstack.stack.muxing.yamux import Config, GoAwayCode
from peerstack.stack.muxing.yamux.wire import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    INITIAL_WINDOW,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
)

from .cores import Side, frame

FEW = Config(idle_frames_per_second=100)


def established(config: Config | None = None) -> Side:
    side = Side(client=False, config=config)
    side.receive(frame(DATA, SYN, 1))
    side.send(1, b"!")
    side.sent()
    return side


@pytest.mark.parametrize(("version", "kind"), [(1, 0), (255, 3), (0, 4), (0, 255)])
def test_unknown_versions_and_types(version: int, kind: int) -> None:
    side = established()
    with pytest.raises(RemoteProtocolError, match="unknown") as caught:
        side.receive(HEADER.pack(version, kind, 0, 1, 0))
    assert caught.value.code == GoAwayCode.PROTOCOL_ERROR


@pytest.mark.parametrize("kind", [PING, GO_AWAY])
@pytest.mark.parametrize("stream_id", [1, 7])
def test_pings_and_go_aways_of_a_stream(kind: int, stream_id: int) -> None:
    side = established()
    with pytest.raises(RemoteProtocolError, match=f"frame of type {kind} for stream {stream_id}, not for the session"):
        side.receive(frame(kind, SYN, stream_id))


def test_unknown_flags_are_ignored() -> None:
    side = established()
    side.receive(frame(DATA, 0xFFF0, 1, body=b"abc"))
    assert side.data_of(1) == b"abc"


# ---- data for streams that do not exist


def test_data_for_unknown_streams_is_skipped_and_bounded() -> None:
    side = established()
    events = side.receive(frame(DATA, 0, 99, body=bytes(INITIAL_WINDOW)), frame(DATA, SYN, 3))
    assert events == [StreamOpened(3)]
    with pytest.raises(RemoteProtocolError, match="streams that do not exist") as caught:
        side.receive(frame(DATA, 0, 99, 1))
    assert caught.value.code == GoAwayCode.PROTOCOL_ERROR


@pytest.mark.parametrize("length", [INITIAL_WINDOW + 1, 2**32 - 1])
def test_an_endless_frame_for_an_unknown_stream_is_refused_at_its_header(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match="streams that do not exist"):
        established().receive(frame(DATA, 0, 99, length))


def test_what_was_under_way_when_we_reset_is_no_offence() -> None:
    side = Side(client=False)
    for number in range(100):
        stream_id = 1 + 2 * number
        side.receive(frame(DATA, SYN, stream_id))
        side.core.reset(stream_id)
        side.receive(frame(DATA, 0, stream_id, body=bytes(200_000)), frame(DATA, 0, stream_id, body=bytes(62_144)))
    assert side.idle()


def test_streams_refused_with_a_window_of_data_each_are_no_offence() -> None:
    side = Side(client=False, config=Config(max_inbound_streams=1))
    side.receive(frame(DATA, SYN, 1))
    for number in range(1, 50):
        side.receive(frame(DATA, SYN, 1 + 2 * number, body=bytes(INITIAL_WINDOW)))
    assert side.core.stream_count == 1
    assert side.core.buffered == 0


def test_frames_for_unknown_streams_change_nothing() -> None:
    side = established()
    frames = [frame(kind, flags, 99) for kind in (DATA, WINDOW_UPDATE) for flags in (0, ACK, FIN, RST, ACK | FIN)]
    assert side.receive(*frames, frame(WINDOW_UPDATE, 0, 99, 2**32 - 1)) == []
    assert side.frames() == []
    assert side.core.stream_count == 1


# ---- floods


def ping() -> bytes:
    return frame(PING, SYN, 0, 1)


FLOODS: dict[str, Callable[[], bytes]] = {
    "pings": ping,
    "answers to no ping": lambda: frame(PING, ACK, 0, 1),
    "empty data": lambda: frame(DATA, 0, 1),
    "no credit": lambda: frame(WINDOW_UPDATE, 0, 1),
    "data of a stream unknown": lambda: frame(DATA, 0, 99),
    "credit of a stream unknown": lambda: frame(WINDOW_UPDATE, 0, 99, 10),
    "resets of a stream unknown": lambda: frame(WINDOW_UPDATE, RST, 99),
    "acknowledgements in data": lambda: frame(DATA, ACK, 1),
    "acknowledgements in credit": lambda: frame(WINDOW_UPDATE, ACK, 1),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_floods_of_frames_without_content(flood: str) -> None:
    side = established(FEW)
    for _ in range(100):
        side.receive(FLOODS[flood]())
    with pytest.raises(RemoteProtocolError, match="more than 100 frames without content in a second"):
        side.receive(FLOODS[flood]())


@pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE])
def test_a_flood_of_ends_of_the_same_stream(kind: int) -> None:
    side = established(FEW)
    for _ in range(101):
        side.receive(frame(kind, FIN, 1))
    with pytest.raises(RemoteProtocolError, match="without content"):
        side.receive(frame(kind, FIN, 1))


@pytest.mark.parametrize("flood", FLOODS)
def test_the_same_frames_at_a_lower_rate_are_welcome(flood: str) -> None:
    side = established(FEW)
    for _ in range(500):
        side.now += 0.01
        side.receive(FLOODS[flood]())


def test_frames_with_content_are_not_counted() -> None:
    side = established(FEW)
    for number in range(300):
        side.receive(frame(DATA, 0, 1, body=b"x"), frame(WINDOW_UPDATE, 0, 1, 1))
        side.receive(frame(DATA, SYN, 3 + 2 * number), frame(DATA, FIN, 3 + 2 * number))
    assert side.core.stream_count == 301


# ---- memory


def test_a_stream_that_exceeds_what_the_connection_may_buffer_is_reset_alone() -> None:
    side = Side(client=False, config=Config(max_buffered=INITIAL_WINDOW + 1000))
    side.receive(frame(DATA, SYN, 1, body=bytes(INITIAL_WINDOW)))
    side.receive(frame(DATA, SYN, 3, body=bytes(900)))
    events = side.receive(frame(DATA, SYN, 5, body=bytes(101)), frame(DATA, SYN, 7, body=bytes(100)))
    assert events[:3] == [
        StreamOpened(5),
        StreamWasReset(5, StreamCode.RESOURCE_LIMIT, remote=False),
        StreamClosed(5),
    ]
    assert side.data_of(7) == bytes(100)
    assert [header for header in side.frames() if header[2] == 5] == [
        (WINDOW_UPDATE, RST, 5, StreamCode.RESOURCE_LIMIT)
    ]
    side.consume(1, INITIAL_WINDOW)
    side.receive(frame(DATA, 0, 3, body=bytes(101)))
    assert len(side.data_of(3)) == 1001


def test_what_closed_streams_had_buffered_does_not_count_against_the_others() -> None:
    side = Side(client=False, config=Config(max_buffered=INITIAL_WINDOW))
    for number in range(20):
        side.receive(frame(DATA, SYN, 1 + 2 * number, body=bytes(INITIAL_WINDOW - 1)))
        side.core.close(1 + 2 * number, side.now)
    side.receive(frame(DATA, SYN, 101, body=bytes(INITIAL_WINDOW)))
    assert len(side.data_of(101)) == INITIAL_WINDOW
