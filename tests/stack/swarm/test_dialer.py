"""Dials of a swarm: found, merged, cancelled, failed, and explained in their reports."""

from __future__ import annotations

import errno

import pytest
import trio
import trio.testing

from peerstack.stack.abc import MuxedConnection
from peerstack.stack.errors import DialError, LocalProtocolError, PeerIdMismatch, RemoteProtocolError
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, DialFailed
from peerstack.stack.report import Attempt, Outcome, StageName
from peerstack.stack.testing import seed_scheduler

from .parts import (
    ONE,
    OTHER_PEER,
    PEER,
    THREE,
    TWO,
    FakeConnection,
    ScriptedTransport,
    answers,
    failed_dial,
    fails,
    in_use,
    info,
    refused,
    running,
    stays_silent,
)

Clock = trio.testing.MockClock


# ---- one dial


async def test_the_connection_and_its_report_come_back(autojump_clock: Clock) -> None:
    async with running(ScriptedTransport({ONE: answers(after=2)})) as (swarm, observer):
        connection, report = await swarm.dial(PEER, [ONE])
        assert connection.remote_peer == PEER
        assert swarm.peers == [PEER]
        (attempt,) = report.attempts
        assert (attempt.address, attempt.outcome) == (str(ONE), Outcome.OK)
        assert observer.of(ConnectionOpened) == [ConnectionOpened(connection.muxed.info)]


async def test_an_open_connection_is_used_again(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers()})
    async with running(transport) as (swarm, _):
        first, _report = await swarm.dial(PEER, [ONE])
        again, report = await swarm.dial(PEER, [ONE, TWO])
        assert again is first
        assert report.notes == ["already connected"]
        assert len(transport.dialed) == 1


async def test_the_losers_of_the_race_are_cancelled_and_say_so(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: stays_silent, TWO: answers(after=1)})
    async with running(transport) as (swarm, _):
        _, report = await swarm.dial(PEER, [ONE, TWO])
        assert transport.dialed == [(0, ONE), (0.25, TWO)]
        assert transport.cancelled == [ONE]
        assert [attempt.outcome for attempt in report.attempts] == [Outcome.CANCELLED, Outcome.OK]
        assert in_use(swarm)["system"] == {"outbound connections": 1, "connections": 1}


@pytest.mark.parametrize("seed", range(10))
async def test_a_late_winner_is_closed_before_it_had_a_turn(seed: int, autojump_clock: Clock) -> None:
    """Both are in the table by then; the one that came too late must leave it without ending the swarm."""
    connections: list[FakeConnection] = []

    async def answer_whatever_happens(attempt: Attempt) -> MuxedConnection:
        with attempt.stage(StageName.CONNECT), trio.CancelScope(shield=True):
            await trio.sleep_until(5)
        connections.append(FakeConnection())
        return connections[-1]

    transport = ScriptedTransport({ONE: answer_whatever_happens, TWO: answer_whatever_happens})
    with seed_scheduler(seed):
        async with running(transport) as (swarm, observer):
            connection, _ = await swarm.dial(PEER, [ONE, TWO])
            await trio.testing.wait_all_tasks_blocked()
            (other,) = [each for each in connections if each is not connection.muxed]
            assert (connection.muxed.closed, other.closed) == (False, True)
            assert swarm.connections(PEER) == [connection]
            assert in_use(swarm)["system"] == {"outbound connections": 1, "connections": 1}
            assert [event.reason for event in observer.of(ConnectionClosed)] == [None]


async def test_an_earlier_failure_refuses_no_later_dial(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: refused()})
    async with running(transport) as (swarm, observer):
        for _ in range(5):
            await failed_dial(swarm, PEER, ONE)
        assert len(transport.dialed) == 5
        transport.scripts[ONE] = answers()
        connection, report = await swarm.dial(PEER, [ONE])
        assert connection.remote_peer == PEER
        assert len(report.attempts) == 1
        assert len(observer.of(DialFailed)) == 5


async def test_a_dial_that_is_cancelled_leaves_nothing(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: stays_silent, TWO: stays_silent})
    async with running(transport) as (swarm, _):
        with trio.move_on_after(1):
            await swarm.dial(PEER, [ONE, TWO])
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(map(str, transport.cancelled)) == sorted(map(str, [ONE, TWO]))
        assert in_use(swarm) == {"system": {}, "transient": {}}


async def test_the_end_of_the_swarm_ends_dials_and_says_why(autojump_clock: Clock) -> None:
    async with running(ScriptedTransport({ONE: stays_silent})) as (swarm, _), trio.open_nursery() as nursery:

        async def dial() -> None:
            report = await failed_dial(swarm, PEER, ONE)
            assert report.notes == ["the host was closed meanwhile"]

        nursery.start_soon(dial)
        await trio.testing.wait_all_tasks_blocked()
        await swarm.aclose()
    with pytest.raises(LocalProtocolError, match="not running"):
        await swarm.dial(PEER, [ONE])


# ---- several at once


async def test_two_who_want_one_peer_share_one_dial(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers(after=2)})
    found = []
    async with running(transport) as (swarm, _), trio.open_nursery() as nursery:

        async def dial() -> None:
            found.append(await swarm.dial(PEER, [ONE]))

        nursery.start_soon(dial)
        await trio.sleep(1)
        nursery.start_soon(dial)
        await trio.sleep(2)
        assert len(transport.dialed) == 1
        assert found[0][0] is found[1][0]


async def test_the_second_goes_on_when_the_first_is_cancelled(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers(after=2)})
    async with running(transport) as (swarm, _), trio.open_nursery() as nursery:

        async def give_up() -> None:
            with trio.move_on_after(1):
                await swarm.dial(PEER, [ONE])

        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        connection, _ = await swarm.dial(PEER, [ONE])
        assert connection.remote_peer == PEER
        assert (len(transport.dialed), transport.cancelled) == (1, [])


async def test_when_the_last_is_cancelled_so_is_the_dial(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: stays_silent})
    async with running(transport) as (swarm, _):
        async with trio.open_nursery() as nursery:
            for patience in (1, 3):
                scope = trio.CancelScope(deadline=patience)

                async def give_up(scope: trio.CancelScope = scope) -> None:
                    with scope:
                        await swarm.dial(PEER, [ONE])

                nursery.start_soon(give_up)
            await trio.sleep(2)
            assert transport.cancelled == []
        await trio.testing.wait_all_tasks_blocked()
        assert transport.cancelled == [ONE]
        assert in_use(swarm) == {"system": {}, "transient": {}}


async def test_a_dial_that_is_being_cancelled_is_not_joined(autojump_clock: Clock) -> None:
    async def slow_to_give_up(attempt: Attempt) -> MuxedConnection:
        try:
            with attempt.stage(StageName.CONNECT):
                await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
        raise AssertionError

    transport = ScriptedTransport({ONE: slow_to_give_up})
    async with running(transport) as (swarm, _):
        with trio.move_on_after(1):
            await swarm.dial(PEER, [ONE])
        transport.scripts[ONE] = answers()
        connection, _ = await swarm.dial(PEER, [ONE])
        assert connection.remote_peer == PEER
        await trio.sleep(10)
        # The end of the old dial must not have taken anything of the new one with it.
        again, _ = await swarm.dial(PEER, [ONE])
        assert again is connection


async def test_who_knows_a_better_address_is_not_bound_by_the_failure_of_the_other(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: refused(after=2), TWO: answers()})
    async with running(transport) as (swarm, _), trio.open_nursery() as nursery:
        nursery.start_soon(failed_dial, swarm, PEER, ONE)
        await trio.sleep(1)
        connection, report = await swarm.dial(PEER, [TWO])
        assert connection.remote_peer == PEER
        assert [attempt.address for attempt in report.attempts] == [str(TWO)]


async def test_both_get_an_error_of_their_own(autojump_clock: Clock) -> None:
    errors: list[DialError] = []
    async with running(ScriptedTransport({ONE: refused(after=1)})) as (swarm, observer):

        async def dial() -> None:
            with pytest.raises(DialError) as caught:
                await swarm.dial(PEER, [ONE])
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial)
            nursery.start_soon(dial)
        assert errors[0] is not errors[1]
        assert errors[0].report is errors[1].report
        assert len(observer.of(DialFailed)) == 2


async def test_dials_of_any_peer_are_not_merged(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers(after=1), TWO: answers(FakeConnection(info(OTHER_PEER)), after=1)})
    async with running(transport) as (swarm, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(swarm.dial, None, [ONE])
            nursery.start_soon(swarm.dial, None, [TWO])
        assert set(swarm.peers) == {PEER, OTHER_PEER}


# ---- what goes wrong at an address


async def test_the_report_tells_each_attempt(autojump_clock: Clock) -> None:
    mismatch = PeerIdMismatch(PEER, OTHER_PEER)
    garbage = RemoteProtocolError("the peer answered garbage")
    transport = ScriptedTransport(
        {
            ONE: refused(),
            TWO: fails(mismatch, stage=StageName.SECURITY),
            THREE: fails(garbage, stage=StageName.SECURITY_NEGOTIATION),
        }
    )
    async with running(transport) as (swarm, observer):
        report = await failed_dial(swarm, PEER, ONE, TWO, THREE)
        stages = {attempt.address: attempt.failure for attempt in report.attempts}
        one, two, three = stages[str(ONE)], stages[str(TWO)], stages[str(THREE)]
        assert one is not None
        assert two is not None
        assert three is not None
        assert one.advice == "nothing listens there: is the peer running, and is the address right?"
        assert (two.expected, two.found) == (str(PEER), str(OTHER_PEER))
        assert three.error == "the peer answered garbage"
        assert observer.of(DialFailed) == [DialFailed(report)]
        # One after the other, each as soon as the one before it had failed.
        assert [when for when, _ in transport.dialed] == [0, 0, 0]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_our_own_lack_of_files_is_told_as_ours(number: int, autojump_clock: Clock) -> None:
    async with running(ScriptedTransport({ONE: fails(OSError(number, "Too many open files"))})) as (swarm, _):
        stage = (await failed_dial(swarm, PEER, ONE)).attempts[0].failure
        assert stage is not None
        assert stage.limit == "ours: open files, set by the operating system"
        assert stage.advice == "raise the limit (ulimit -n), or close connections that are not needed"


async def test_a_transport_that_records_nothing_is_told_all_the_same(autojump_clock: Clock) -> None:
    async def taciturn(attempt: Attempt) -> MuxedConnection:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    async with running(ScriptedTransport({ONE: taciturn})) as (swarm, _):
        report = await failed_dial(swarm, PEER, ONE)
        stage = report.attempts[0].failure
        assert stage is not None
        assert (stage.name, report.attempts[0].outcome) == (StageName.CONNECT, Outcome.FAILED)
        assert "No route to host" in str(stage.error)
        assert stage.advice == "check the address and the route to it"
