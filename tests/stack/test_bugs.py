"""What is said of a failure, whose fault it is, and how often one bug is told."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from peerstack.stack.bugs import LINES_AT_ONCE, LINES_PER_SECOND, MAX_BUGS, BugReporter
from peerstack.stack.errors import ConnectionLost, RemoteProtocolError, describe, is_expected

Clock = trio.testing.MockClock


def bug(kind: type[Exception] = KeyError) -> Exception:
    try:
        raise kind("a bug")
    except kind as error:
        return error


EXPECTED = [
    (RemoteProtocolError("garbage"), "the peer broke the protocol: garbage"),
    (ConnectionLost("the connection was cut"), "the connection was cut"),
    (OSError(24, "Too many open files"), "[Errno 24] Too many open files"),
    (trio.BrokenResourceError(), "BrokenResourceError"),
    (ExceptionGroup("both", [ConnectionLost("one"), ExceptionGroup("more", [trio.TooSlowError("two")])]), "one; two"),
]


@pytest.mark.parametrize(("error", "reason"), EXPECTED, ids=lambda value: type(value).__name__)
async def test_what_peers_and_the_network_do_is_no_news(
    error: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert is_expected(error)
    assert BugReporter(raise_bugs=True).reason(error, "something") == reason
    assert caplog.messages == []


async def test_a_bug_is_told_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = bug()
    assert BugReporter().reason(error, "the handshake") == describe(error)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "the handshake failed by a bug")
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_one_bug_among_what_is_expected_is_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    assert not is_expected(ExceptionGroup("both", [ConnectionLost("one"), bug()]))
    assert not is_expected(bug())


async def test_in_tests_a_bug_is_let_out() -> None:
    error = bug()
    with pytest.raises(KeyError) as caught:
        BugReporter(raise_bugs=True).reason(error, "something")
    assert caught.value is error


async def test_a_bug_that_a_peer_can_set_off_does_not_flood_the_log(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = BugReporter()
    for _ in range(1000):
        reporter.reason(bug(), "the handshake")
    assert len(caplog.messages) == LINES_AT_ONCE
    reporter.reason(bug(ValueError), "another")
    assert len(caplog.messages) == LINES_AT_ONCE + 1, "another kind has lines of its own"
    await trio.sleep(1 / LINES_PER_SECOND)
    reporter.reason(bug(), "the handshake")
    assert caplog.messages[-1].endswith(f"(and {1000 - LINES_AT_ONCE} times more since the last such line)")


async def test_what_is_remembered_of_bugs_is_bounded(autojump_clock: Clock) -> None:
    reporter = BugReporter()
    for number in range(2 * MAX_BUGS):
        kind = type(f"Bug{number}", (Exception,), {})
        for _ in range(LINES_AT_ONCE + 1):
            reporter.reason(kind("a bug"), "something")
    assert len(reporter._lines) <= MAX_BUGS
    assert len(reporter._left_out) <= MAX_BUGS
