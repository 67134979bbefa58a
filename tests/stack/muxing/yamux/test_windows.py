"""Flow control: what may be sent, when credit comes back, how windows grow, and on whose budget."""

import pytest

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.limits import WindowBudget
from peerstack.stack.muxing.core import DataReceived, WindowOpened
from peerstack.stack.muxing.yamux import Config, GoAwayCode
from peerstack.stack.muxing.yamux.core import MAX_DATA_FRAME
from peerstack.stack.muxing.yamux.wire import ACK, DATA, FIN, INITIAL_WINDOW, MAX_CREDIT, PING, RST, SYN, WINDOW_UPDATE

from .cores import MiB, Pair, Side, frame, parse

HALF = INITIAL_WINDOW // 2


def established(config: Config | None = None) -> Side:
    """Return a server with stream 1, its ACK sent."""
    side = Side(client=False, config=config)
    side.receive(frame(DATA, SYN, 1))
    side.send(1, b"!")
    side.sent()
    return side


def test_a_sender_stops_when_its_window_is_empty() -> None:
    side = Side(client=True)
    stream_id = side.open()
    assert side.send_all(stream_id, bytes(INITIAL_WINDOW + 100)) == INITIAL_WINDOW
    assert side.core.send_credit(stream_id) == 0
    assert side.send(stream_id, b"x") == 0
    assert side.receive(frame(WINDOW_UPDATE, ACK, stream_id, 5))[-1] == WindowOpened(stream_id)
    assert side.send(stream_id, b"abcdefg") == 5


def test_a_window_that_was_not_empty_does_not_open() -> None:
    side = established()
    assert side.receive(frame(WINDOW_UPDATE, 0, 1, 5)) == []
    assert side.core.send_credit(1) == INITIAL_WINDOW - 1 + 5


def test_large_sends_are_split() -> None:
    side = established()
    side.receive(frame(WINDOW_UPDATE, 0, 1, 16 * MiB))
    assert side.send(1, bytes(MiB)) == MAX_DATA_FRAME
    assert side.frames() == [(DATA, 0, 1, MAX_DATA_FRAME)]


def test_what_is_sent_is_not_copied() -> None:
    side = established()
    data = memoryview(b"abc")
    side.core.send_data(1, data, side.now)
    assert side.core.data_to_send()[-1] is data


@pytest.mark.parametrize("length", [INITIAL_WINDOW + 1, 2**31, 2**32 - 1])
def test_data_beyond_the_window_ends_the_session_before_it_is_read(length: int) -> None:
    side = established()
    with pytest.raises(RemoteProtocolError, match=f"{length} bytes for stream 1, whose window is 262144") as caught:
        side.receive(frame(DATA, 0, 1, length))
    assert caught.value.code == GoAwayCode.PROTOCOL_ERROR
    assert side.core.buffered == 0


def test_a_whole_window_may_come_and_not_a_byte_more() -> None:
    side = established()
    side.receive(frame(DATA, 0, 1, body=bytes(INITIAL_WINDOW)))
    assert side.core.buffered == INITIAL_WINDOW
    with pytest.raises(RemoteProtocolError, match="window is 0"):
        side.receive(frame(DATA, 0, 1, body=b"x"))


def test_credit_comes_back_when_half_the_window_was_read() -> None:
    side = established()
    side.receive(frame(DATA, 0, 1, body=bytes(INITIAL_WINDOW)))
    side.consume(1, HALF - 1)
    assert side.frames() == []
    side.consume(1, 1)
    assert side.frames() == [(WINDOW_UPDATE, 0, 1, HALF)]
    assert side.core.buffered == HALF
    side.receive(frame(DATA, 0, 1, body=bytes(HALF)))
    with pytest.raises(RemoteProtocolError, match="window is 0"):
        side.receive(frame(DATA, 0, 1, body=b"x"))


def test_no_credit_for_a_stream_that_ended() -> None:
    side = established()
    side.receive(frame(DATA, FIN, 1, body=bytes(INITIAL_WINDOW)))
    side.consume(1, INITIAL_WINDOW)
    assert side.frames() == []
    side.consume(99, 5)


def test_credit_that_would_wrap_ends_the_session() -> None:
    # CVE-2026-31814
    side = established()
    with pytest.raises(RemoteProtocolError, match="grows beyond") as caught:
        side.receive(frame(WINDOW_UPDATE, 0, 1, MAX_CREDIT), frame(WINDOW_UPDATE, 0, 1, MAX_CREDIT))
    assert caught.value.code == GoAwayCode.PROTOCOL_ERROR


def test_the_largest_credit_is_legal() -> None:
    side = established()
    side.receive(frame(WINDOW_UPDATE, 0, 1, MAX_CREDIT - INITIAL_WINDOW + 1))
    assert side.core.send_credit(1) == MAX_CREDIT
    with pytest.raises(RemoteProtocolError, match="grows beyond"):
        side.receive(frame(WINDOW_UPDATE, 0, 1, 1))


@pytest.mark.parametrize("code", [1, 0x1002, MAX_CREDIT])
def test_the_code_of_a_reset_is_never_credit(code: int) -> None:
    side = established()
    side.send_all(1, bytes(INITIAL_WINDOW))
    events = side.receive(frame(WINDOW_UPDATE, RST, 1, code))
    assert WindowOpened(1) not in events
    assert side.core.send_credit(1) == 0
    assert side.idle()


def test_unread_bytes_are_not_granted_twice() -> None:
    side = established()
    side.receive(frame(DATA, 0, 1, body=bytes(INITIAL_WINDOW)))
    side.consume(1, HALF)
    assert side.frames() == [(WINDOW_UPDATE, 0, 1, HALF)]
    for _ in range(10):
        side.consume(1, -HALF)
        side.consume(1, HALF)
    assert side.frames() == []
    assert side.core.buffered == HALF


# ---- data on its way through


def test_a_body_that_fills_its_piece_is_handed_on_as_it_is() -> None:
    side = established()
    side.receive(frame(DATA, 0, 1, 100_000))
    piece = bytes(65_519)
    [event] = side.receive(piece)
    assert isinstance(event, DataReceived)
    assert event.data is piece
    [event] = side.receive(bytes(100_000 - 65_519))
    assert isinstance(event, DataReceived)
    assert len(event.data) == 100_000 - 65_519


def test_frames_cut_at_every_byte() -> None:
    data = frame(DATA, SYN, 1, body=b"abc") + frame(WINDOW_UPDATE, 0, 1, 7) + frame(DATA, FIN, 1, body=b"def")
    for cut in range(len(data) + 1):
        side = Side(client=False)
        side.receive(data[:cut], data[cut:])
        assert side.data_of(1) == b"abcdef"
        assert side.core.send_credit(1) == INITIAL_WINDOW + 7
    side = Side(client=False)
    side.receive(*(data[position : position + 1] for position in range(len(data))))
    assert side.data_of(1) == b"abcdef"


# ---- growth


def busy(config: Config | None = None, *, memory: int = 1024 * MiB) -> tuple[Pair, int]:
    """Return a pair with a round trip of 0.1 s that both know, and a stream."""
    pair = Pair(config, memory=memory)
    for side in pair.client, pair.server:
        stream_id = side.open()
        side.send(stream_id, b"x")
        ping = side.sent()
        other = pair.server if side is pair.client else pair.client
        other.receive(ping)
        pong = other.sent()
        pair.advance(0.1)
        side.receive(pong)
        assert side.core.rtt == pytest.approx(0.1)
    pair.advance(10)
    return pair, pair.open()


def transfer(pair: Pair, stream_id: int, *, every: float) -> int:
    """Send a whole window and read it `every` seconds later; return the window afterwards."""
    sent = pair.client.send_all(stream_id, bytes(pair.client.core.send_credit(stream_id)))
    pair.drive()
    pair.advance(every)
    pair.server.consume(stream_id, sent)
    pair.drive()
    return pair.client.core.send_credit(stream_id)


def test_a_window_doubles_when_updates_come_within_four_round_trips() -> None:
    pair, stream_id = busy()
    windows = [transfer(pair, stream_id, every=0.39) for _ in range(9)]
    # The first update is late: the stream was idle before.
    sizes = [INITIAL_WINDOW * 2**doublings for doublings in range(7)]
    assert windows[-1] == 16 * MiB
    assert sorted(set(windows)) == [size for size in sizes if size in windows]
    assert pair.server.budget.used == 16 * MiB - INITIAL_WINDOW


@pytest.mark.parametrize("every", [0.41, 5.0])
def test_a_window_stays_when_updates_are_slow(every: float) -> None:
    pair, stream_id = busy()
    assert {transfer(pair, stream_id, every=every) for _ in range(5)} == {INITIAL_WINDOW}
    assert pair.server.budget.used == 0


def test_a_window_stays_while_no_round_trip_was_measured() -> None:
    side = established()
    side.sent()
    for _ in range(5):
        side.receive(frame(DATA, 0, 1, body=bytes(INITIAL_WINDOW)))
        side.consume(1, INITIAL_WINDOW)
        assert side.frames() == [(WINDOW_UPDATE, 0, 1, INITIAL_WINDOW)]


def test_a_window_stops_at_its_limit_even_if_that_is_no_power_of_two() -> None:
    pair, stream_id = busy(Config(max_window=600_000))
    assert [transfer(pair, stream_id, every=0.01) for _ in range(5)][-1] == 600_000


def test_growth_takes_from_the_budget_and_the_end_of_the_stream_gives_back() -> None:
    pair, stream_id = busy(memory=INITIAL_WINDOW)
    assert [transfer(pair, stream_id, every=0.01) for _ in range(5)][-1] == 2 * INITIAL_WINDOW
    assert pair.server.budget.used == INITIAL_WINDOW
    other = pair.open()
    assert [transfer(pair, other, every=0.01) for _ in range(5)][-1] == INITIAL_WINDOW
    pair.client.core.reset(stream_id)
    pair.drive()
    assert pair.server.budget.used == 0
    assert [transfer(pair, other, every=0.01) for _ in range(5)][-1] == 2 * INITIAL_WINDOW


def test_connections_share_the_memory_of_their_host() -> None:
    host = WindowBudget(INITIAL_WINDOW)
    pairs = [busy(), busy()]
    for pair, _ in pairs:
        pair.server.core._budget = pair.server.budget = WindowBudget(8 * MiB, host)
    grown = [[transfer(pair, stream_id, every=0.01) for _ in range(5)][-1] for pair, stream_id in pairs]
    assert grown == [2 * INITIAL_WINDOW, INITIAL_WINDOW]
    assert host.used == INITIAL_WINDOW
    pairs[0][0].server.core.release()
    assert host.used == 0


def test_the_end_of_the_session_gives_everything_back() -> None:
    pair, stream_id = busy()
    transfer(pair, stream_id, every=0.01)
    transfer(pair, stream_id, every=0.01)
    assert pair.server.budget.used > 0
    pair.server.core.release()
    assert pair.server.idle()


def test_who_only_receives_measures_the_round_trip_too_so_that_its_windows_can_grow() -> None:
    side = Side(client=False)
    side.receive(frame(DATA, SYN, 1, body=bytes(INITIAL_WINDOW)))
    side.consume(1, HALF)
    pings = [header for header in parse(side.sent()) if header[0] == PING]
    assert [flags for _, flags, _, _ in pings] == [SYN]
    side.now += 0.1
    side.receive(frame(PING, ACK, 0, pings[0][3]))
    assert side.core.rtt == pytest.approx(0.1)
    side.consume(1, HALF)
    assert side.frames() == [(WINDOW_UPDATE, 0, 1, HALF + INITIAL_WINDOW)]
