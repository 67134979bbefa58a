"""What a swarm does not dial, and how its report says why: gater, limits, caps, ourselves, names."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import ConnectionInfo
from peerstack.stack.addressing.resolve import Resolver
from peerstack.stack.errors import DialError, LocalProtocolError, ResolveError
from peerstack.stack.events import ConnectionOpened
from peerstack.stack.identity import PeerId
from peerstack.stack.limits import Limits
from peerstack.stack.report import Outcome, StageName
from peerstack.stack.swarm import SwarmConfig

from .parts import (
    LOWEST,
    ONE,
    OTHER_PEER,
    PEER,
    TWO,
    FakeConnection,
    ScriptedTransport,
    answers,
    at,
    failed_dial,
    in_use,
    info,
    refused,
    running,
    stays_silent,
    tcp,
)

Clock = trio.testing.MockClock


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
        takes = "it takes QuicTransport(identity) in native_transports=, of the extra `quic`"
        [note] = caught.value.report.notes
        assert note.startswith(f"{quic} is left out: no transport of this host can dial it; {takes} (pip install")
        assert caught.value.report.attempts == []


@pytest.mark.parametrize("many", ["/ip4/224.0.0.1/tcp/1", "/ip6/ff02::1/tcp/1", "/ip4/255.255.255.255/tcp/1"])
async def test_an_address_of_many_hosts_is_left_out(many: str, autojump_clock: Clock) -> None:
    group = Multiaddr(many)
    transport = ScriptedTransport({group: answers(), ONE: answers()})
    async with running(transport) as (swarm, _):
        with pytest.raises(DialError, match=r"is left out: .* a connection is with one"):
            await swarm.dial(PEER, [group])
        _, report = await swarm.dial(PEER, [group, ONE])
        assert [address for _, address in transport.dialed] == [ONE]
        assert len(report.notes) == 1


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
        assert report.notes == [f"{ONE} is left out: our connection gater refuses address {ONE}"]


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
        assert stage.error == "the peer has our own key: it is this host itself, or another one with a copy of it"
        assert str(stage.advice).startswith("if it is another host, give each one a key of its own")
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
        connection, report = await swarm.dial(PEER, [Multiaddr("/dns4/here/tcp/4001")])
        assert connection.dialed == Multiaddr("/dns4/here/tcp/4001")  # what it stands for may change
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
    """A list of names from a peer must not make us query a victim's name server."""
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
