"""How old what is read from a stream may be."""

from __future__ import annotations

import pytest

from peerstack.protocols.pubsub.streams.read_lag import BACKLOG, BACKLOG_BYTES, GAP, ReadLag


def read(lag: ReadLag, began: float, ended: float, *messages: bytes) -> float:
    lag.begin_read(began)
    lag.end_read(ended, messages or [b"message"])
    return lag.sent_after


def test_what_came_after_a_silence_is_new() -> None:
    lag = ReadLag(0.0)
    assert read(lag, 1.0, 300.0) == 300.0
    assert read(lag, 300.0, 300.0) == 300.0


def test_what_was_there_already_may_be_as_old_as_the_last_silence() -> None:
    lag = ReadLag(0.0)
    assert read(lag, 1.0, 10.0) == 10.0
    for now in range(11, 500):
        assert read(lag, float(now), float(now)) == 10.0


def test_a_round_trip_without_anything_is_no_silence() -> None:
    # The peer's queue goes on when it hears that there is room again.
    lag = ReadLag(0.0)
    assert read(lag, 0.0, 0.0) == 0.0
    assert read(lag, 130.0, 130.1) == 0.0


def test_a_reader_that_keeps_up_with_a_steady_stream_is_not_behind() -> None:
    lag, now = ReadLag(0.0), 0.0
    for _ in range(100_000):
        read(lag, now, now := now + 0.01)
        assert now - lag.sent_after < 3


@pytest.mark.parametrize(("size", "pause"), [(10, 0.001), (100_000, 0.05)])
def test_a_reader_that_never_waits_is_no_further_behind_than_its_peer_can_keep(size: int, pause: float) -> None:
    lag, now, message = ReadLag(0.0), 0.0, bytes(size)
    most = pause * min(BACKLOG, BACKLOG_BYTES / size)
    for _ in range(50_000):
        read(lag, now, now, message)
        assert now - lag.sent_after <= 2 * most + pause
        now += pause


def test_nothing_is_unread_while_a_read_waits() -> None:
    lag = ReadLag(0.0)
    assert lag.oldest_unread(100.0) == 0.0
    lag.begin_read(100.0)
    assert lag.oldest_unread(100.0 + GAP / 2) == 0.0
    assert lag.oldest_unread(101.0) == 101.0
    lag.end_read(102.0, [b""])
    assert lag.oldest_unread(500.0) == 102.0
