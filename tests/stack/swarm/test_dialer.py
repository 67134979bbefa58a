"""Dials of a swarm: merged, cancelled, refused by gater and limits, and explained in their reports."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import ConnectionInfo, MuxedConnection
from peerstack.stack.addressing.resolve import Resolver
from peerstack.stack.errors import DialError, LocalProtocolError, PeerIdMismatch, RemoteProtocolError, ResolveError
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, DialFailed
from peerstack.stack.identity import PeerId
from peerstack.stack.limits import Limits
from peerstack.stack.report import Attempt, DialReport, Outcome, StageName
from peerstack.stack.swarm import Swarm, SwarmConfig
from peerstack.stack.testing import seed_scheduler

from .parts import (
    LOWEST,
    OTHER_PEER,
    PEER,
    FakeConnection,
    ScriptedTransport,
    answers,
    at,
    fails,
    in_use,
    info,
    refused,
    running,
    stays_silent,
    tcp,
)

Clock = trio.testing.MockClock
ONE, TWO, THREE = tcp(1), tcp(2), tcp(3)


async def failed_dial(swarm: Swarm, peer: PeerId | None, *addresses: Multiaddr) -> DialReport:
    with pytest.raises(DialError) as caught:
        await swarm.dial(peer, addresses)
    return caught.value.report


class Gate:
    """A gater that lets through all but what it is told."""

    def __init__(self, *, address: Multiaddr | None = None, peer: PeerId | None = None) -> None:
        self._address = address
        self._peer = peer
        self.asked: list[tuple[PeerId | None, Multiaddr]] = []

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        self.asked.append((peer, address))
        return address != self._address

    def allow_accept(self, remote_address: Multiaddr) -> bool:
        raise AssertionError("nothing arrives here")

    def allow_connection(self, info: ConnectionInfo) -> bool:
        return info.remote_peer != self._peer


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


async def test_dials_of_anybody_are_not_merged(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers(after=1), TWO: answers(FakeConnection(info(OTHER_PEER)), after=1)})
    async with running(transport) as (swarm, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(swarm.dial, None, [ONE])
            nursery.start_soon(swarm.dial, None, [TWO])
        assert set(swarm.peers) == {PEER, OTHER_PEER}


# ---- what is not tried, and why


async def test_no_more_addresses_than_the_cap(autojump_clock: Clock) -> None:
    addresses = [tcp(number) for number in range(1, 100)]
    transport = ScriptedTransport({address: refused() for address in addresses})
    async with running(transport) as (swarm, _):
        report = await failed_dial(swarm, PEER, *addresses, *addresses)
        assert len(transport.dialed) == 25
        assert report.notes == ["only the first 25 of 99 addresses were tried"]


async def test_eight_at_once(autojump_clock: Clock) -> None:
    addresses = [tcp(number) for number in range(1, 21)]
    transport = ScriptedTransport({address: refused(after=3) for address in addresses})
    async with running(transport) as (swarm, _):
        await failed_dial(swarm, PEER, *addresses)
        assert transport.most_at_once == 8
        assert len(transport.dialed) == 20


async def test_an_address_that_names_another_peer_is_left_out(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers(), TWO: answers()})
    wrong = ONE.encapsulate(Multiaddr(f"/p2p/{OTHER_PEER}"))
    right = TWO.encapsulate(Multiaddr(f"/p2p/{PEER}"))
    async with running(transport) as (swarm, _):
        _, report = await swarm.dial(PEER, [wrong, right])
        assert [address for _, address in transport.dialed] == [TWO]
        assert report.notes == [f"{wrong} is left out: it names another peer"]


async def test_an_address_without_a_transport_is_left_out(autojump_clock: Clock) -> None:
    quic = Multiaddr("/ip4/203.0.113.1/udp/4001/quic-v1")
    async with running(ScriptedTransport({})) as (swarm, _):
        with pytest.raises(DialError, match="no transport of this host can dial it") as caught:
            await swarm.dial(PEER, [quic])
        assert caught.value.report.notes == [f"{quic} is left out: no transport of this host can dial it"]
        assert caught.value.report.attempts == []


async def test_without_any_address_the_error_says_so(autojump_clock: Clock) -> None:
    async with running(ScriptedTransport({})) as (swarm, _):
        with pytest.raises(DialError, match=f"could not dial peer {PEER}: no address of it is known"):
            await swarm.dial(PEER, [])


async def test_the_gater_refuses_addresses(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers(), TWO: answers()})
    gate = Gate(address=ONE)
    async with running(transport, gater=gate) as (swarm, _):
        _, report = await swarm.dial(PEER, [ONE, TWO])
        assert gate.asked == [(PEER, ONE), (PEER, TWO)]
        assert [address for _, address in transport.dialed] == [TWO]
        assert report.notes == [f"{ONE} is left out: our connection gater refuses it"]


async def test_the_gater_refuses_an_authenticated_peer(autojump_clock: Clock) -> None:
    connection = FakeConnection()
    async with running(ScriptedTransport({ONE: answers(connection)}), gater=Gate(peer=PEER)) as (swarm, observer):
        report = await failed_dial(swarm, None, ONE)
        stage = report.attempts[0].failure
        assert stage is not None
        assert (stage.name, stage.limit) == (StageName.SECURITY, "ours: the connection gater")
        assert stage.error == f"our connection gater refuses peer {PEER}"
        assert stage.advice == "change the gater this host was opened with, if the peer should be reached"
        assert connection.times_closed == 1
        assert observer.of(ConnectionOpened) == []


async def test_a_dial_to_ourselves_by_id_is_refused_at_once(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers()})
    async with running(transport) as (swarm, _):
        with pytest.raises(LocalProtocolError, match="is this host itself"):
            await swarm.dial(LOWEST, [ONE])
        assert transport.dialed == []


async def test_an_address_that_leads_back_to_ourselves_says_so(autojump_clock: Clock) -> None:
    connection = FakeConnection(info(LOWEST))
    async with running(ScriptedTransport({ONE: answers(connection)})) as (swarm, observer):
        report = await failed_dial(swarm, None, ONE)
        stage = report.attempts[0].failure
        assert stage is not None
        assert stage.error == "the address leads back to this host itself"
        assert stage.advice == "check the address: the peer did nothing wrong"
        assert connection.closed
        assert observer.of(ConnectionOpened) == []


async def test_our_limit_of_dials_is_told_as_ours(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: stays_silent, TWO: answers()})
    async with running(transport, limits=Limits(pending_outbound=1)) as (swarm, _), trio.open_nursery() as nursery:
        nursery.start_soon(swarm.dial, PEER, [ONE])
        await trio.testing.wait_all_tasks_blocked()
        report = await failed_dial(swarm, OTHER_PEER, TWO)
        stage = report.attempts[0].failure
        assert stage is not None
        assert stage.limit == "ours: 1 outbound connections in scope transient"
        assert stage.advice == "raise the limit in Limits(...), or close connections that are not needed"
        assert [address for _, address in transport.dialed] == [ONE]
        nursery.cancel_scope.cancel()


async def test_our_limit_of_connections_to_one_peer_closes_what_was_dialed(autojump_clock: Clock) -> None:
    second = FakeConnection()
    transport = ScriptedTransport({ONE: answers(), TWO: answers(second)})
    async with running(transport, limits=Limits(connections_per_peer=1)) as (swarm, _):
        await swarm.dial(None, [ONE])
        report = await failed_dial(swarm, None, TWO)
        stage = report.attempts[0].failure
        assert stage is not None
        assert stage.limit == f"ours: 1 connections in scope peer {PEER}"
        assert second.times_closed == 1
        assert in_use(swarm)["system"]["connections"] == 1


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
        assert one.advice == "nothing listens on that port: is the peer running, and is the port right?"
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


# ---- names


class Names:
    """A name server; what it does not know takes five seconds."""

    def __init__(self, **hosts: Sequence[str]) -> None:
        self.asked: list[str] = []
        self._hosts = hosts

    async def look_up(self, name: str, protocol: str) -> Sequence[str]:
        self.asked.append(name)
        if name in self._hosts:
            return self._hosts[name]
        await trio.sleep(4)
        raise ResolveError("no such name")


async def test_names_are_resolved_and_told(autojump_clock: Clock) -> None:
    names = Names(here=["203.0.113.1", "203.0.113.2"])
    transport = ScriptedTransport({ONE: refused(), TWO: answers()})
    async with running(transport, resolver=Resolver(lookup_host=names.look_up)) as (swarm, _):
        _, report = await swarm.dial(PEER, [Multiaddr("/dns4/here/tcp/4001")])
        (record,) = report.resolutions
        assert (record.address, record.outcome) == ("/dns4/here/tcp/4001", Outcome.OK)
        assert record.stages[0].found == f"{ONE}, {TWO}"
        assert [address for _, address in transport.dialed] == [ONE, TWO]


async def test_a_name_that_leads_nowhere_is_told(autojump_clock: Clock) -> None:
    async with running(ScriptedTransport({}), resolver=Resolver(lookup_host=Names().look_up)) as (swarm, _):
        report = await failed_dial(swarm, PEER, Multiaddr("/dns4/nowhere/tcp/4001"))
        (record,) = report.resolutions
        stage = record.failure
        assert stage is not None
        assert (stage.name, record.outcome) == (StageName.RESOLVE, Outcome.FAILED)
        assert "no such name" in str(stage.error)
        assert stage.advice == "check the name, and that DNS works from here"
        assert report.attempts == []
        assert "no such name" in report.summary()


async def test_names_are_looked_up_side_by_side(autojump_clock: Clock) -> None:
    names = Names(here=["203.0.113.1"])
    transport = ScriptedTransport({ONE: answers()})
    addresses = [Multiaddr(f"/dns4/{name}/tcp/4001") for name in ("slow1", "slow2", "slow3", "here")]
    async with running(transport, resolver=Resolver(lookup_host=names.look_up)) as (swarm, _):
        await swarm.dial(PEER, addresses)
        assert at(transport.dialed, ONE) == 4


async def test_no_more_names_than_the_cap(autojump_clock: Clock) -> None:
    """A stranger's list of names must not make us look up a victim's name server."""
    names = Names()
    addresses = [Multiaddr(f"/dns4/name{number}/tcp/4001") for number in range(40)]
    config = SwarmConfig(addresses_per_dial=10)
    async with running(ScriptedTransport({}), resolver=Resolver(lookup_host=names.look_up), config=config) as (
        swarm,
        _,
    ):
        report = await failed_dial(swarm, PEER, *addresses)
        assert len(names.asked) == 10
        assert report.notes == ["only the first 10 of 40 names were looked up"]
