"""Connecting to a peer: targets, the report with identify at its end, and peers that refuse."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import ConnectionInfo
from peerstack.stack.errors import (
    DialError,
    InvalidAddress,
    InvalidInput,
    LocalProtocolError,
)
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, DialFailed, InboundRefused
from peerstack.stack.host import Host, parse_targets
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.limits import Limits
from peerstack.stack.report import DialReport, Outcome
from peerstack.stack.swarm import Connection

from .pair import ECHO, PEER, Pair, wait_for_ever

Clock = trio.testing.MockClock


@pytest.fixture
def pair() -> Pair:
    return Pair()


# ---- targets


def test_targets_may_be_ids_addresses_or_both() -> None:
    plain, full = Multiaddr("/memory/7"), Multiaddr(f"/memory/7/p2p/{PEER}")
    assert parse_targets([PEER]) == (PEER, [])
    assert parse_targets([str(PEER)]) == (PEER, [])
    assert parse_targets([f"/p2p/{PEER}"]) == (PEER, [])
    assert parse_targets(["/memory/7"]) == (None, [plain])
    assert parse_targets([full, PEER, "/memory/8"]) == (PEER, [plain, Multiaddr("/memory/8")])


def test_unusable_targets_are_told() -> None:
    with pytest.raises(InvalidInput, match="no peer to connect to"):
        parse_targets([])
    with pytest.raises(InvalidAddress, match="these addresses name 2 different peers"):
        parse_targets([PEER, Identity.generate().peer_id])
    with pytest.raises(InvalidInput):
        parse_targets(["nonsense"])


# ---- connect


async def test_connect_and_talk(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        assert await alice.connect(*bob.addresses) == bob.peer_id
        assert alice.peers == [bob.peer_id]
        async with await alice.open_stream(bob.peer_id, ECHO) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"


async def test_connect_without_an_id_takes_the_peer_that_answers(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        assert await alice.connect("/memory/7") == bob.peer_id


async def test_the_report_ends_with_identify(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open(agent="bob/1") as (alice, bob):
        _, report = await alice.connect_with_report(*bob.addresses)
        (attempt,) = report.attempts
        assert [str(stage.name) for stage in attempt.stages] == [
            "transport connect",
            "security negotiation",
            "security handshake",
            "muxer negotiation",
            "identify",
        ]
        assert all(stage.outcome is Outcome.OK for stage in attempt.stages)
        assert attempt.stages[-1].found == "bob/1"


async def test_a_peer_that_does_not_answer_identify_is_connected_all_the_same(
    pair: Pair, autojump_clock: Clock
) -> None:
    async with pair.open() as (alice, bob):
        alice.swarm.on_connection.add(wait_for_ever, name="identify", identifies=True)
        _, report = await alice.connect_with_report(*bob.addresses)
        assert trio.current_time() == 5
        (attempt,) = report.attempts
        assert attempt.outcome is Outcome.OK
        stage = attempt.failure
        assert stage is not None
        assert (stage.name, stage.error) == ("identify", "no answer within 5 s")
        assert stage.advice == "the connection works, but the peer does not answer identify"
        # An open connection is no reason to wait longer.
        await alice.connect(bob.peer_id)
        assert trio.current_time() == 10


class Gate:
    """Refuses every authenticated peer."""

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        return True

    def allow_accept(self, remote_address: Multiaddr) -> bool:
        return True

    def allow_connection(self, info: ConnectionInfo) -> bool:
        return False


async def refusal(pair: Pair, **of_the_listener: object) -> DialReport:
    async with pair.open(**of_the_listener) as (alice, bob):
        with pytest.raises(DialError) as caught:
            await alice.connect(*bob.addresses)
        assert alice.peers == []
        return caught.value.report


async def test_a_peer_whose_gater_refuses_us_is_no_success(pair: Pair, autojump_clock: Clock) -> None:
    report = await refusal(pair, gater=Gate())
    stage = report.attempts[0].failure
    assert stage is not None
    assert (stage.name, report.attempts[0].outcome) == ("identify", Outcome.FAILED)
    assert "right after the handshake" in str(stage.error)
    assert stage.limit == "theirs, most likely: it knew who we are when it hung up"
    assert stage.advice == "the peer's limits or its gater may refuse this host: its own log says why"


async def test_their_limit_of_connections_is_told_as_theirs(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open(limits=Limits(connections_per_peer=1)) as (alice, bob):
        await bob.connect(*(await listening(alice)))
        with pytest.raises(DialError) as caught:
            await alice.swarm.dial(None, [Multiaddr("/memory/8")])
        # A second connection, to a peer that has one already and takes no more.
        connection, report = await alice.swarm.dial(None, [Multiaddr("/memory/7")])
        await connection.gone.wait()
        assert "ConnectionRefusedError" not in str(caught.value)
        assert report.attempts[0].outcome is Outcome.OK
        assert pair.observer.of(InboundRefused)[-1].reason.startswith("our limit of 1 connections in scope 'peer ")


async def listening(host: Host) -> list[Multiaddr]:
    return await host.listen("/memory/0")


async def test_a_peer_that_hangs_up_after_identify_is_found_out_too(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):

        async def hang_up(connection: Connection) -> None:
            await connection.muxed.aclose()

        alice.swarm.on_connection.add(hang_up, name="identify", identifies=True)
        with pytest.raises(DialError, match="right after the handshake"):
            await alice.connect(*bob.addresses)


async def test_a_dying_connection_that_was_used_again_is_told(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        alice.swarm.on_connection.add(wait_for_ever, name="identify", identifies=True)
        await alice.connect(*bob.addresses)
        async with trio.open_nursery() as nursery:

            async def connect_again() -> None:
                with pytest.raises(DialError) as caught:
                    await alice.connect(bob.peer_id)
                (attempt,) = caught.value.report.attempts
                assert [stage.name for stage in attempt.stages] == ["identify"]

            nursery.start_soon(connect_again)
            await trio.testing.wait_all_tasks_blocked()
            await bob.disconnect(alice.peer_id)


async def test_two_who_share_a_dial_both_wait_for_identify(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        async with trio.open_nursery() as nursery:

            async def connect() -> None:
                _, report = await alice.connect_with_report(*bob.addresses)
                assert alice.peerstore.protocols(bob.peer_id)
                names = [stage.name for stage in report.attempts[0].stages]
                assert names.count("identify") == 1

            nursery.start_soon(connect)
            nursery.start_soon(connect)
        assert len(pair.observer.of(ConnectionOpened)) == 2  # one at each end


async def test_no_listener(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, _):
        with pytest.raises(DialError, match="nothing listens on /memory/99") as caught:
            await alice.connect(f"/memory/99/p2p/{PEER}")
        assert pair.observer.of(DialFailed) == [DialFailed(caught.value.report)]


async def test_another_peer_there(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        with pytest.raises(DialError) as caught:
            await alice.connect(f"/memory/7/p2p/{PEER}")
        assert str(PEER) in str(caught.value)
        assert str(bob.peer_id) in str(caught.value)


async def test_ourselves(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        with pytest.raises(LocalProtocolError, match="is this host itself"):
            await alice.connect(alice.peer_id)
        with pytest.raises(DialError, match="it is this host itself, or another one with a copy"):
            await bob.connect("/memory/7")
        assert (bob.peers, bob.connections()) == ([], [])


async def test_known_addresses_are_dialed_too(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        alice.add_addresses(bob.peer_id, ["/memory/7"])
        assert await alice.connect(bob.peer_id) == bob.peer_id


async def test_disconnect(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        await alice.disconnect(bob.peer_id)
        assert (alice.peers, alice.connections()) == ([], [])
        assert next(event.reason for event in pair.observer.of(ConnectionClosed)) is None
        await alice.disconnect(bob.peer_id)
