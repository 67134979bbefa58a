"""Pings: the round trip they measure, and the silent peer they find."""

import pytest

from peerstack.stack.errors import ConnectionLost
from peerstack.stack.muxing.yamux import Config
from peerstack.stack.muxing.yamux.wire import ACK, DATA, PING, SYN

from .cores import Pair, Side, frame, parse


def pings(side: Side) -> list[tuple[int, int, int, int]]:
    return [header for header in parse(side.sent()) if header[0] == PING]


def test_a_ping_is_answered_with_its_value() -> None:
    side = Side(client=False)
    side.receive(frame(PING, SYN, 0, 0xDEADBEEF))
    assert pings(side) == [(PING, ACK, 0, 0xDEADBEEF)]


def test_the_first_data_goes_with_a_ping_that_measures_the_round_trip() -> None:
    pair = Pair()
    stream_id = pair.client.open()
    assert pair.client.core.rtt is None
    pair.client.send(stream_id, b"a")
    pair.client.send(stream_id, b"b")
    request = pair.client.sent()
    assert [header[0] for header in parse(request)] == [PING, DATA, DATA]
    pair.server.receive(request)
    pair.advance(0.25)
    pair.client.receive(pair.server.sent())
    assert pair.client.core.rtt == 0.25
    pair.client.send(stream_id, b"c")
    assert pings(pair.client) == []


@pytest.mark.parametrize(("flags", "value"), [(ACK, 2), (ACK, 0), (0, 1)])
def test_answers_that_were_not_asked_for_measure_nothing(flags: int, value: int) -> None:
    side = Side(client=True)
    side.receive(frame(PING, ACK, 0, 1))
    side.send(side.open(), b"x")
    side.receive(frame(PING, flags, 0, value))
    assert side.core.rtt is None
    side.receive(frame(PING, ACK, 0, 1))
    assert side.core.rtt == 0.0
    side.now += 5
    side.receive(frame(PING, ACK, 0, 1))
    assert side.core.rtt == 0.0


def test_a_peer_is_pinged_at_every_interval() -> None:
    pair = Pair(Config(keepalive_interval=30, keepalive_timeout=10))
    for value in range(1, 4):
        assert pair.client.core.next_deadline() == pair.client.now + 30
        pair.advance(30)
        pair.client.core.handle_deadline(pair.client.now)
        ping = pair.client.sent()
        assert parse(ping) == [(PING, SYN, 0, value)]
        pair.server.receive(ping)
        pair.client.receive(pair.server.sent())
    assert pair.client.core.rtt == 0.0


def test_a_peer_that_says_nothing_is_given_up() -> None:
    side = Side(client=True, config=Config(keepalive_interval=30, keepalive_timeout=10))
    side.now += 30
    side.core.handle_deadline(side.now)
    assert side.core.next_deadline() == side.now + 10
    side.now += 9.9
    assert side.core.handle_deadline(side.now) == []
    side.now += 0.1
    with pytest.raises(ConnectionLost, match="did not answer a ping and has been silent for 40 s"):
        side.core.handle_deadline(side.now)


def test_a_peer_that_sends_anything_else_is_alive() -> None:
    side = Side(client=True, config=Config(keepalive_interval=30, keepalive_timeout=10))
    side.now += 30
    side.core.handle_deadline(side.now)
    side.now += 5
    side.receive(frame(DATA, SYN, 2))
    side.now += 5
    assert side.core.handle_deadline(side.now) == []
    assert side.core.rtt is None
    assert len(pings(side)) == 1


@pytest.mark.parametrize("timeout", [30, 31, 100])
def test_a_timeout_longer_than_the_interval(timeout: float) -> None:
    side = Side(client=True, config=Config(keepalive_interval=30, keepalive_timeout=timeout))
    for _ in range(2):
        deadline = side.core.next_deadline()
        assert deadline > side.now
        side.now = deadline
        if deadline < 100 + 30 + timeout:
            side.core.handle_deadline(side.now)
    assert side.now == 100 + 30 + timeout
    with pytest.raises(ConnectionLost, match="silent"):
        side.core.handle_deadline(side.now)


def test_the_ping_s_value_wraps() -> None:
    side = Side(client=True)
    side.core._liveness._asked = 2**32 - 1
    side.now += 30
    side.core.handle_deadline(side.now)
    assert pings(side) == [(PING, SYN, 0, 0)]


def test_a_question_is_answered_by_a_ping_sent_after_it() -> None:
    side = Side(client=True)
    number = side.core.ask(side.now)
    (ping,) = pings(side)
    assert side.core.answered_pings < number
    side.receive(frame(PING, ACK, 0, ping[3]))
    assert side.core.answered_pings == number


def test_questions_while_a_ping_is_under_way_share_the_next_one() -> None:
    side = Side(client=True)
    first = side.core.ask(side.now)
    (ping,) = pings(side)
    later = {side.core.ask(side.now) for _ in range(5)}
    assert pings(side) == []
    side.receive(frame(PING, ACK, 0, ping[3]))
    assert side.core.answered_pings == first
    assert later == {first + 1}
    (ping,) = pings(side)
    side.receive(frame(PING, ACK, 0, ping[3]))
    assert side.core.answered_pings == first + 1
    assert pings(side) == []


def test_a_ping_that_a_talkative_peer_never_answers_holds_up_no_question() -> None:
    side = Side(client=True)
    side.core.ask(side.now)
    second = side.core.ask(side.now)
    (lost,) = pings(side)
    side.now += 5
    side.receive(frame(PING, SYN, 0, 7))
    side.core.data_to_send()
    side.now = side.core.next_deadline()
    side.core.handle_deadline(side.now)
    (ping,) = pings(side)
    assert ping[3] != lost[3]
    side.receive(frame(PING, ACK, 0, ping[3]))
    assert side.core.answered_pings == second
