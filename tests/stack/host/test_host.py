"""What applications do with a host: connect, open streams, serve protocols, say what peers are worth, look at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.abc import ConnectionInfo, MuxedConnection, Stream
from peerstack.stack.errors import (
    DialError,
    InvalidAddress,
    InvalidInput,
    LocalProtocolError,
    NegotiationError,
    StreamReset,
)
from peerstack.stack.events import AddressesChanged, ConnectionClosed, ConnectionOpened, DialFailed, InboundRefused
from peerstack.stack.host import Host
from peerstack.stack.host.host import parse_targets
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.limits import Limits
from peerstack.stack.report import DialReport, Outcome, StageName
from peerstack.stack.swarm import Connection, SwarmConfig
from peerstack.stack.swarm.optimistic import OptimisticStream
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

Clock = trio.testing.MockClock
ECHO = "/echo/1"
PEER = Identity.generate().peer_id


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def wait_for_ever(connection: Connection) -> None:
    await trio.sleep_forever()


class Pair:
    """A dialing and a listening host in memory."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.observer = RecordingObserver()
        """Of both."""

    @asynccontextmanager
    async def open(self, **of_the_listener: object) -> AsyncIterator[tuple[Host, Host]]:
        settings: dict[str, object] = {
            "transports": [MemoryTransport(self.network)],
            "observers": [self.observer],
            "swarm": SwarmConfig(raise_handler_errors=True),
        }
        listening = {**settings, "listen": ["/memory/7"], **of_the_listener}
        async with open_host(**settings) as alice, open_host(**listening) as bob:  # type: ignore[arg-type] # settings
            bob.handle(ECHO, echo)
            yield alice, bob


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
    with pytest.raises(InvalidInput, match="nobody to connect to"):
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


async def test_connect_without_an_id_takes_whoever_is_there(pair: Pair, autojump_clock: Clock) -> None:
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
        alice.swarm.on_connection = wait_for_ever
        _, report = await alice.connect_with_report(*bob.addresses)
        assert trio.current_time() == 5
        (attempt,) = report.attempts
        assert attempt.outcome is Outcome.OK
        stage = attempt.failure
        assert stage is not None
        assert (stage.name, stage.error) == (StageName.IDENTIFY, "no answer within 5 s")
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
    assert (stage.name, report.attempts[0].outcome) == (StageName.IDENTIFY, Outcome.FAILED)
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

        alice.swarm.on_connection = hang_up
        with pytest.raises(DialError, match="right after the handshake"):
            await alice.connect(*bob.addresses)


async def test_a_dying_connection_that_was_used_again_is_told(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        alice.swarm.on_connection = wait_for_ever
        await alice.connect(*bob.addresses)
        async with trio.open_nursery() as nursery:

            async def connect_again() -> None:
                with pytest.raises(DialError) as caught:
                    await alice.connect(bob.peer_id)
                (attempt,) = caught.value.report.attempts
                assert [stage.name for stage in attempt.stages] == [StageName.IDENTIFY]

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
                assert names.count(StageName.IDENTIFY) == 1

            nursery.start_soon(connect)
            nursery.start_soon(connect)
        assert len(pair.observer.of(ConnectionOpened)) == 2  # one at each end


async def test_nobody_there(pair: Pair, autojump_clock: Clock) -> None:
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
        with pytest.raises(DialError, match="the address leads back to this host itself"):
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


# ---- streams


async def test_a_stream_to_a_known_peer_dials_it(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        alice.add_addresses(bob.peer_id, bob.addresses)
        async with await alice.open_stream(bob.peer_id, ECHO) as stream:
            assert stream.remote_peer == bob.peer_id
            assert isinstance(stream.connection, MuxedConnection)


async def test_a_stream_for_what_identify_told_of_is_opened_early(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        assert isinstance(await alice.open_stream(bob.peer_id, ECHO), OptimisticStream)
        stream = await alice.open_stream(bob.peer_id, "/unknown/1", ECHO)
        assert not isinstance(stream, OptimisticStream)
        assert stream.protocol == ECHO


async def test_a_protocol_the_peer_does_not_have(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        with pytest.raises(NegotiationError, match="the peer supports none of"):
            await alice.open_stream(bob.peer_id, "/unknown/1")


async def test_a_stream_needs_a_protocol(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        with pytest.raises(InvalidInput, match="at least one protocol"):
            await alice.open_stream(bob.peer_id)


async def test_a_peer_that_hangs_up_before_the_stream(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):

        class Fleeting(Host):
            async def connect_with_report(self, *targets: object) -> tuple[PeerId, DialReport]:
                return bob.peer_id, DialReport(None)

        fleeting = Fleeting(identity=alice.identity, swarm=alice.swarm, peerstore=alice.peerstore, events=alice.events)
        with pytest.raises(DialError, match="hung up at once"):
            await fleeting.open_stream(bob.peer_id, ECHO)


async def test_streams_wake_when_the_peer_leaves(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        stream = await alice.open_stream(bob.peer_id, ECHO)
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        async with trio.open_nursery() as nursery:

            async def expect_broken() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()

            nursery.start_soon(expect_broken)
            await trio.testing.wait_all_tasks_blocked()
            await bob.disconnect(alice.peer_id)


async def test_handlers_wake_when_the_connection_is_lost(pair: Pair, autojump_clock: Clock) -> None:
    woken: list[tuple[str, float]] = []

    async def reading(stream: Stream) -> None:
        try:
            await echo(stream)
        except trio.BrokenResourceError:
            woken.append(("reading", trio.current_time()))
            raise

    async def busy(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            woken.append(("busy", trio.current_time()))
            raise

    async with pair.open() as (alice, bob):
        bob.handle(ECHO, reading)
        bob.handle("/busy/1", busy)
        await alice.connect(*bob.addresses)
        for protocol in (ECHO, "/busy/1"):
            await (await alice.open_stream(bob.peer_id, protocol)).send_all(b"x")
        await trio.testing.wait_all_tasks_blocked()
        (connection,) = bob.swarm.connections(alice.peer_id)
        await alice.disconnect(bob.peer_id)
        await connection.gone.wait()
        lost = trio.current_time()
        await trio.sleep(5)
        # Whoever waits for the peer knows at once; whoever does something else has a second to finish it.
        assert woken == [("reading", lost), ("busy", lost + 1)]
        assert bob.swarm.statistics().limits["system"] == {}


# ---- protocols


@pytest.mark.parametrize("protocol", ["echo/1", "/écho/1", "/" + "x" * 140, ""])
async def test_ids_of_protocols_that_others_would_refuse(protocol: str, pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, _):
        with pytest.raises(InvalidInput, match="must be ASCII, begin with / and have at most 140 characters"):
            alice.handle(protocol, echo)


async def test_a_handler_can_be_replaced_and_taken_back(pair: Pair, autojump_clock: Clock) -> None:
    async def greet(stream: Stream) -> None:
        await stream.send_all(b"welcome")

    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        bob.handle(ECHO, greet)
        stream = await alice.open_stream(bob.peer_id, ECHO)
        assert await stream.receive_some() == b"welcome"
        bob.unhandle(ECHO)
        bob.unhandle(ECHO)
        assert ECHO not in bob.protocols
        late = await alice.open_stream(bob.peer_id, ECHO)  # not yet told that it is gone
        with pytest.raises((NegotiationError, StreamReset)):
            await late.receive_some()


# ---- where we are


async def test_addresses_end_in_our_id(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        assert bob.addresses == [Multiaddr(f"/memory/7/p2p/{bob.peer_id}")]
        assert alice.addresses == []
        assert await bob.listen("/memory/8") == [Multiaddr(f"/memory/8/p2p/{bob.peer_id}")]
        assert len(bob.addresses) == 2


async def test_announced_addresses_are_told_once(pair: Pair, autojump_clock: Clock) -> None:
    external = Multiaddr("/ip4/203.0.113.1/tcp/4001")
    async with pair.open() as (_, bob):
        await trio.testing.wait_all_tasks_blocked()
        bob.announce([external])
        bob.announce([external])
        assert bob.announced_addresses == [Multiaddr("/memory/7"), external]
        await trio.sleep(5)
        assert [event.addresses for event in pair.observer.of(AddressesChanged)] == [(Multiaddr("/memory/7"), external)]
        bob.announce([])
        assert bob.announced_addresses == [Multiaddr("/memory/7")]


async def test_unspecified_addresses_are_listed_out() -> None:
    async with open_host(listen=["/ip4/0.0.0.0/tcp/0"]) as host:
        port = host.swarm.listen_addresses[0].value_for_protocol("tcp")
        assert Multiaddr(f"/ip4/127.0.0.1/tcp/{port}") in host.announced_addresses
        assert not any("0.0.0.0" in str(address) for address in host.addresses)
        more = await host.listen("/ip4/0.0.0.0/tcp/0")
        assert not any("0.0.0.0" in str(address) for address in more)


async def test_what_cannot_be_listened_on(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, _):
        with pytest.raises(InvalidAddress, match="no transport of this host can listen on"):
            await alice.listen("/ip4/127.0.0.1/tcp/0")
        with pytest.raises(OSError, match="in use"):
            await alice.listen("/memory/7")
        with pytest.raises(InvalidAddress):
            await alice.listen("nonsense")


# ---- the rest


async def test_worth_and_protection_reach_the_trimmer(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        alice.tag(bob.peer_id, "useful", 3)
        alice.tag(bob.peer_id, "kind", 4)
        alice.protect(bob.peer_id, "friend")
        assert alice.swarm.trimmer.value(bob.peer_id) == 7
        assert alice.swarm.trimmer.is_protected(bob.peer_id)
        alice.unprotect(bob.peer_id, "friend")
        assert not alice.swarm.trimmer.is_protected(bob.peer_id)


async def test_an_observer_may_come_later(pair: Pair, autojump_clock: Clock) -> None:
    late = RecordingObserver()
    async with pair.open() as (alice, bob):
        alice.observe(late)
        await alice.connect(*bob.addresses)
        assert len(late.of(ConnectionOpened)) == 1


async def test_statistics(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        await trio.testing.wait_all_tasks_blocked()
        async with await alice.open_stream(bob.peer_id, ECHO) as stream:
            await stream.send_all(b"hello")
            await stream.receive_some()
            statistics = bob.statistics()
            assert statistics.peer_id == str(bob.peer_id)
            assert ECHO in statistics.protocols
            swarm = statistics.swarm
            assert (swarm.peers, swarm.connections, swarm.inbound_connections, swarm.streams) == (1, 1, 1, 1)
            assert swarm.limits["system"] == {
                "connections": 1,
                "inbound connections": 1,
                "streams": 1,
                "inbound streams": 1,
            }
