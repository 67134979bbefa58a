"""The dial report: stages with times and outcomes, advice that fits, whose limit it was, and its JSON form."""

from __future__ import annotations

import errno
import json
from contextlib import suppress

import pytest
import trio
import trio.testing

from peerstack.stack.errors import (
    ConnectionLost,
    ForeignProtocol,
    LimitExceeded,
    LocalProtocolError,
    NegotiationError,
    PeerIdMismatch,
    Refused,
    RemoteProtocolError,
    ResolveError,
    SameIdentity,
)
from peerstack.stack.identity import Identity
from peerstack.stack.report import Attempt, DialReport, Outcome, Stage, StageName

Clock = trio.testing.MockClock
ADDRESS = "/ip4/203.0.113.1/tcp/4001"


def failed_stage(name: StageName, error: Exception, address: str = ADDRESS) -> Stage:
    attempt = Attempt(address, 0)
    with pytest.raises(type(error)), attempt.stage(name):
        raise error
    assert attempt.outcome is Outcome.FAILED
    assert attempt.failure is attempt.stages[0]
    return attempt.stages[0]


async def test_a_stage_records_its_times_from_the_beginning_of_the_dial(autojump_clock: Clock) -> None:
    await trio.sleep(7)
    report = DialReport("peer")
    await trio.sleep(1)
    attempt = report.attempt(ADDRESS)
    with attempt.stage(StageName.CONNECT, expected="a port") as stage:
        assert stage.outcome is Outcome.RUNNING
        await trio.sleep(0.5)
    assert (stage.started, stage.ended, stage.outcome, stage.expected) == (1, 1.5, Outcome.OK, "a port")
    assert attempt.failure is None


async def test_a_cancelled_stage_says_so(autojump_clock: Clock) -> None:
    attempt = Attempt(ADDRESS, trio.current_time())
    with trio.move_on_after(2), attempt.stage(StageName.CONNECT):
        await trio.sleep_forever()
    stage = attempt.failure
    assert stage is not None
    assert (stage.outcome, attempt.outcome, stage.ended, stage.error) == (
        Outcome.CANCELLED,
        Outcome.CANCELLED,
        2,
        None,
    )


PEER, OTHER = Identity.generate().peer_id, Identity.generate().peer_id
CONNECT, NEGOTIATION, SECURITY = StageName.CONNECT, StageName.SECURITY_NEGOTIATION, StageName.SECURITY


@pytest.mark.parametrize(
    ("name", "error", "advice"),
    [
        (StageName.RESOLVE, ResolveError("no such name"), "check the name, and that DNS works from here"),
        (CONNECT, ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "nothing listens there"),
        (CONNECT, trio.TooSlowError("no answer within 5 s"), "a firewall may drop the packets"),
        (CONNECT, OSError(errno.EHOSTUNREACH, "No route to host"), "check the address and the route to it"),
        (CONNECT, OSError(errno.EMFILE, "Too many open files"), "raise the limit (ulimit -n)"),
        (CONNECT, ConnectionLost("gone"), "another address of the peer may help"),
        (NEGOTIATION, trio.TooSlowError("no answer"), "the port accepts but stays silent: is it a libp2p port?"),
        (NEGOTIATION, NegotiationError("none"), "both sides need a security protocol in common"),
        (NEGOTIATION, RemoteProtocolError("HTTP/1.1"), "or in a private network?"),
        (SECURITY, trio.TooSlowError("no answer"), "the peer fell silent half-way"),
        (SECURITY, ConnectionLost("gone"), "the peer gave up or broke the handshake: its own log says why"),
        (SECURITY, PeerIdMismatch(PEER, OTHER), "has changed its key, or is another peer"),
        (SECURITY, Refused("our gater"), "change the gater this host was opened with"),
        (SECURITY, LocalProtocolError("ourselves"), "check the address: the peer did nothing wrong"),
        (SECURITY, LimitExceeded("peer", "connections", 8), "raise the limit in Limits(...)"),
        (StageName.MUXER_NEGOTIATION, NegotiationError("none"), "both sides need a stream muxer in common"),
        (StageName.MUXER_NEGOTIATION, trio.TooSlowError("no answer"), "the peer fell silent half-way"),
    ],
)
async def test_the_advice_fits(name: StageName, error: Exception, advice: str) -> None:
    stage = failed_stage(name, error)
    assert advice in str(stage.advice)
    assert stage.error == str(error)


REFUSED, INVALID = ConnectionRefusedError(errno.ECONNREFUSED, "refused"), OSError(errno.EINVAL, "Invalid argument")
DENIED = PermissionError(errno.EACCES, "Permission denied")
HTTP, TLS = (ForeignProtocol("HTTP/1.1", speaks=what) for what in ("an HTTP server", "TLS"))
WEBSOCKET = f"{ADDRESS}/ws"


@pytest.mark.parametrize(
    ("name", "error", "address", "advice"),
    [
        (CONNECT, REFUSED, "/ip4/0.0.0.0/tcp/1", "0.0.0.0 is for listening: dial /ip4/127.0.0.1/tcp/1 on the same"),
        (CONNECT, trio.TooSlowError("no answer"), "/ip6/::/udp/1/quic-v1", ":: is for listening"),
        (CONNECT, INVALID, "/ip6/fe80::1/tcp/1", "/ip6zone/eth0/ip6/fe80::1/tcp/1"),
        (CONNECT, DENIED, "/ip4/192.0.2.255/udp/1/quic-v1", "is it the address of all hosts of a network (broadcast)?"),
        (CONNECT, DENIED, "/unix/run/app.sock", "the mode of the socket file decides who may connect"),
        (CONNECT, REFUSED, "an address of another transport", "nothing listens there"),
        (CONNECT, RemoteProtocolError("no HTTP"), WEBSOCKET, "dialed without /ws, and one in a private network"),
        (CONNECT, ConnectionLost("closed"), WEBSOCKET, "is it a WebSocket server?"),
        (CONNECT, trio.TooSlowError("no answer"), WEBSOCKET, "or what is there is no WebSocket server"),
        (CONNECT, REFUSED, WEBSOCKET, "nothing listens there"),
        (NEGOTIATION, HTTP, ADDRESS, "it is the port of a web server"),
        (NEGOTIATION, TLS, ADDRESS, "its address ends in /tls/ws"),
        (NEGOTIATION, ForeignProtocol("??"), ADDRESS, "or in a private network?"),
        (SECURITY, SameIdentity("ourselves"), ADDRESS, "give each one a key of its own"),
    ],
)
async def test_the_advice_fits_the_address_and_what_answers(
    name: StageName, error: Exception, address: str, advice: str
) -> None:
    assert advice in str(failed_stage(name, error, address).advice)


async def test_advice_given_where_more_is_known_stays() -> None:
    attempt = Attempt(ADDRESS, 0)
    with suppress(ConnectionLost), attempt.stage(SECURITY) as stage:
        stage.advice = "ask Bob"
        raise ConnectionLost("gone")
    assert attempt.stages[0].advice == "ask Bob"


async def test_an_error_without_words_is_named_by_its_kind() -> None:
    assert failed_stage(CONNECT, trio.TooSlowError()).error == "TooSlowError"


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (LimitExceeded("transient", "outbound connections", 100), "ours: 100 outbound connections in scope transient"),
        (Refused("no"), "ours: the connection gater"),
        (OSError(errno.ENFILE, "File table overflow"), "ours: open files, set by the operating system"),
        (ConnectionLost("gone"), None),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), None),
    ],
)
async def test_whose_limit_it_was(error: Exception, limit: str | None) -> None:
    assert failed_stage(CONNECT, error).limit == limit


async def test_a_wrong_peer_id_names_both() -> None:
    stage = failed_stage(SECURITY, PeerIdMismatch(PEER, OTHER))
    assert (stage.expected, stage.found) == (str(PEER), str(OTHER))


async def test_a_failure_before_any_stage_began(autojump_clock: Clock) -> None:
    await trio.sleep(3)
    attempt = Attempt(ADDRESS, 1)
    attempt.fail(CONNECT, LimitExceeded("transient", "outbound connections", 1))
    stage = attempt.failure
    assert stage is not None
    assert (stage.started, stage.ended, attempt.outcome) == (2, 2, Outcome.FAILED)


# ---- the whole


async def failing_report() -> DialReport:
    report = DialReport("12D3Koo")
    with pytest.raises(ResolveError), report.resolution("/dns4/nowhere/tcp/1").stage(StageName.RESOLVE):
        raise ResolveError("no such name")
    with pytest.raises(ConnectionRefusedError), report.attempt("/one").stage(CONNECT):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    attempt = report.attempt("/two")
    with attempt.stage(CONNECT):
        await trio.sleep(0.25)
    with pytest.raises(RemoteProtocolError), attempt.stage(NEGOTIATION, expected="/noise"):
        raise RemoteProtocolError("garbage")
    report.notes.append("something was left out")
    return report


async def test_json_is_a_documented_contract(autojump_clock: Clock) -> None:
    report = await failing_report()
    assert json.loads(json.dumps(report.to_json())) == {
        "peer": "12D3Koo",
        "routings": [],
        "resolutions": [
            {
                "address": "/dns4/nowhere/tcp/1",
                "outcome": "failed",
                "stages": [
                    {
                        "stage": "resolve",
                        "outcome": "failed",
                        "started_ms": 0,
                        "ended_ms": 0,
                        "error": "no such name",
                        "advice": "check the name, and that DNS works from here",
                    }
                ],
            }
        ],
        "attempts": [
            {
                "address": "/one",
                "outcome": "failed",
                "stages": [
                    {
                        "stage": "transport connect",
                        "outcome": "failed",
                        "started_ms": 0,
                        "ended_ms": 0,
                        "error": "[Errno 111] Connection refused",
                        "advice": "nothing listens there: is the peer running, and is the address right?",
                    }
                ],
            },
            {
                "address": "/two",
                "outcome": "failed",
                "stages": [
                    {"stage": "transport connect", "outcome": "ok", "started_ms": 0, "ended_ms": 250},
                    {
                        "stage": "security negotiation",
                        "outcome": "failed",
                        "started_ms": 250,
                        "ended_ms": 250,
                        "expected": "/noise",
                        "error": "garbage",
                        "advice": "is it a libp2p port? Is the peer full, or in a private network?",
                    },
                ],
            },
        ],
        "notes": ["something was left out"],
    }


async def test_the_summary_tells_the_failure_that_came_furthest(autojump_clock: Clock) -> None:
    report = await failing_report()
    assert report.summary() == "/two: security negotiation: garbage (and 1 more address tried)"
    error = report.error()
    assert str(error) == f"could not dial peer 12D3Koo: {report.summary()}"
    assert error.report is report


async def test_a_name_that_was_looked_up_is_no_address_tried(autojump_clock: Clock) -> None:
    report = DialReport(None)
    with report.resolution("/dns4/localhost/tcp/1").stage(StageName.RESOLVE):
        pass
    with pytest.raises(ConnectionLost), report.attempt("/one").stage(CONNECT):
        raise ConnectionLost("gone")
    assert report.summary() == "/one: transport connect: gone"


async def test_a_failure_tells_more_than_a_cancellation(autojump_clock: Clock) -> None:
    report = DialReport(None)
    cancelled = report.attempt("/silent")
    with cancelled.stage(CONNECT):
        pass
    with trio.move_on_after(1), cancelled.stage(NEGOTIATION):
        await trio.sleep_forever()
    with pytest.raises(ConnectionLost), report.attempt("/one").stage(CONNECT):
        raise ConnectionLost("gone")
    assert report.summary() == "/one: transport connect: gone (and 1 more address tried)"
    assert str(report.error()).startswith("could not dial the address: ")


async def test_without_an_attempt_the_notes_tell() -> None:
    report = DialReport("peer")
    assert report.summary() == "no address of it is known"
    report.notes += ["/one is left out", "/two is left out"]
    assert report.summary() == "/one is left out; /two is left out"
