"""The life of a swarm: listeners, arriving connections, connections that end, and its own end."""

from __future__ import annotations

import gc
import logging

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import ConnectionInfo, MuxedConnection
from peerstack.stack.errors import ConnectionLost, InvalidAddress, LocalProtocolError, RemoteProtocolError
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, InboundRefused, ListenStarted, ListenStopped
from peerstack.stack.identity import PeerId
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.swarm import Connection, ConnectionTable, Swarm, SwarmConfig
from peerstack.stack.testing import RecordingObserver, muxed_pair, seed_scheduler

from .parts import (
    LISTEN,
    LOWEST,
    OTHER_PEER,
    PEER,
    FakeConnection,
    FakeListener,
    ListeningTransport,
    ScriptedTransport,
    answers,
    connection_of,
    in_use,
    inbound,
    info,
    running,
    settle,
    stays_silent,
    tcp,
)

Clock = trio.testing.MockClock


# ---- listening


async def test_a_listener_is_announced_and_taken_back(transport: ListeningTransport) -> None:
    async with running(transport) as (swarm, observer):
        assert await swarm.listen(LISTEN) == (LISTEN,)
        assert swarm.listen_addresses == [LISTEN]
    assert swarm.listen_addresses == []
    assert observer.of(ListenStarted) == [ListenStarted(LISTEN)]
    assert observer.of(ListenStopped) == [ListenStopped(LISTEN, None)]


async def test_a_listener_that_breaks_says_why_and_harms_nothing_else(
    transport: ListeningTransport, listener: FakeListener, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(transport) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.arrive(lambda: connection_of(inbound()))
        await settle()
        listener.break_down(OSError(100, "Network is down"))
        await observer.wait_for(ListenStopped)
        assert observer.of(ListenStopped) == [ListenStopped(LISTEN, "[Errno 100] Network is down")]
        assert swarm.peers == [PEER]
        assert f"no longer listening on {LISTEN}" in caplog.text


async def test_an_address_that_no_transport_listens_on(transport: ListeningTransport) -> None:
    async with running(transport) as (swarm, _):
        with pytest.raises(InvalidAddress, match="no transport of this host can listen on"):
            await swarm.listen(tcp(1))


async def test_a_swarm_that_does_not_run_listens_nowhere(transport: ListeningTransport) -> None:
    swarm = Swarm(local_peer=LOWEST, transports=[transport])
    with pytest.raises(LocalProtocolError, match="not running"):
        await swarm.listen(LISTEN)
    assert swarm.listen_addresses == []


# ---- arriving connections


async def test_an_arriving_connection_is_served(transport: ListeningTransport, listener: FakeListener) -> None:
    connection = inbound()
    async with running(transport) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.arrive(lambda: connection_of(connection))
        await observer.wait_for(ConnectionOpened)
        await settle()
        assert connection.has_run
        assert in_use(swarm) == {"system": {"inbound connections": 1, "connections": 1}, "transient": {}}
        statistics = swarm.statistics()
        assert (statistics.peers, statistics.connections, statistics.inbound_connections) == (1, 1, 1)
        connection.fail()
        await observer.wait_for(ConnectionClosed)
        assert observer.of(ConnectionClosed) == [ConnectionClosed(connection.info, None)]
        assert in_use(swarm) == {"system": {}, "transient": {}}


async def test_a_failed_handshake_costs_one_debug_line_and_one_event(
    transport: ListeningTransport, listener: FakeListener, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> MuxedConnection:
        raise RemoteProtocolError("garbage")

    caplog.set_level(logging.DEBUG, "peerstack.stack.swarm")
    async with running(transport) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.arrive(fail)
        await observer.wait_for(InboundRefused)
        reason = "the peer broke the protocol: garbage"
        assert observer.of(InboundRefused) == [InboundRefused(tcp(7), reason)]
        assert caplog.messages == [f"connection from {tcp(7)} refused: {reason}"]


async def test_a_handshake_that_never_ends_is_given_up(
    transport: ListeningTransport, listener: FakeListener, autojump_clock: Clock
) -> None:
    async with running(transport) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.arrive()
        event = await observer.wait_for(InboundRefused)
        assert event.reason == "the peer did not finish the handshake in time"
        assert trio.current_time() == 15
        assert in_use(swarm) == {"system": {}, "transient": {}}


async def test_a_bug_in_a_handshake_costs_that_connection_only(
    transport: ListeningTransport, listener: FakeListener, caplog: pytest.LogCaptureFixture
) -> None:
    async def bug() -> MuxedConnection:
        raise ZeroDivisionError("a bug")

    async with running(transport) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.arrive(bug)
        assert (await observer.wait_for(InboundRefused)).reason == "a bug"
        assert "ZeroDivisionError" in caplog.text
        listener.arrive(lambda: connection_of(inbound()))
        await observer.wait_for(ConnectionOpened)


async def test_a_bug_in_a_connection_costs_that_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    connection = FakeConnection()
    async with running(ScriptedTransport({tcp(1): answers(connection)})) as (swarm, observer):
        await swarm.dial(PEER, [tcp(1)])
        await settle()
        connection.fail(ZeroDivisionError("a bug"))
        assert (await observer.wait_for(ConnectionClosed)).reason == "a bug"
        assert "ZeroDivisionError" in caplog.text


async def test_in_tests_a_bug_ends_the_swarm() -> None:
    connection = FakeConnection()
    config = SwarmConfig(raise_handler_errors=True)

    async def run() -> None:
        async with running(ScriptedTransport({tcp(1): answers(connection)}), config=config) as (swarm, _):
            await swarm.dial(PEER, [tcp(1)])
            connection.fail(ZeroDivisionError("a bug"))
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(ZeroDivisionError)


class Gate:
    def __init__(self, *, address: Multiaddr | None = None, peer: PeerId | None = None) -> None:
        self.address = address
        self.peer = peer

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        return True

    def allow_accept(self, remote_address: Multiaddr) -> bool:
        return remote_address != self.address

    def allow_connection(self, info: ConnectionInfo) -> bool:
        return info.remote_peer != self.peer


async def test_the_gater_refuses_an_address_before_a_byte_is_read(
    transport: ListeningTransport, listener: FakeListener
) -> None:
    async with running(transport, gater=Gate(address=tcp(7))) as (swarm, observer):
        await swarm.listen(LISTEN)
        incoming = listener.arrive()
        event = await observer.wait_for(InboundRefused)
        assert event == InboundRefused(tcp(7), f"our connection gater refuses address {tcp(7)}")
        assert incoming.refused
        assert not incoming.upgrading.is_set()


async def test_the_gater_refuses_an_authenticated_peer(transport: ListeningTransport, listener: FakeListener) -> None:
    connection = inbound()
    async with running(transport, gater=Gate(peer=PEER)) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.arrive(lambda: connection_of(connection))
        event = await observer.wait_for(InboundRefused)
        assert event.reason == f"our connection gater refuses peer {PEER}"
        assert (connection.times_closed, connection.has_run) == (1, False)
        assert observer.of(ConnectionOpened) == []


async def test_our_own_identity_is_no_peer(transport: ListeningTransport, listener: FakeListener) -> None:
    connection = inbound(LOWEST)
    async with running(transport) as (swarm, observer):
        await swarm.listen(LISTEN)
        listener.arrive(lambda: connection_of(connection))
        reason = (await observer.wait_for(InboundRefused)).reason
        assert reason == "the peer has our own key: it is this host itself, or another one with a copy of it"
        assert connection.closed


# ---- connections


async def test_a_lost_connection_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "peerstack.stack.swarm")
    connection = FakeConnection()
    gone: list[PeerId] = []
    async with running(ScriptedTransport({tcp(1): answers(connection)})) as (swarm, observer):
        swarm.on_disconnected.add(gone.append, name="test")
        entry, _ = await swarm.dial(PEER, [tcp(1)])
        connection.fail(ConnectionLost("the connection was cut"))
        await entry.gone.wait()
        assert entry.identified.is_set()
        assert entry.reason == "the connection was cut"
        assert observer.of(ConnectionClosed) == [ConnectionClosed(connection.info, "the connection was cut")]
        assert caplog.messages == [f"connection to {PEER} lost: the connection was cut"]
        assert gone == [PEER]


async def test_a_peer_is_gone_with_its_last_connection_and_only_then() -> None:
    one, two = FakeConnection(), FakeConnection()
    gone: list[PeerId] = []
    async with running(ScriptedTransport({tcp(1): answers(one), tcp(2): answers(two)})) as (swarm, observer):
        swarm.on_disconnected.add(gone.append, name="test")
        await swarm.dial(None, [tcp(1)])
        await swarm.dial(None, [tcp(2)])
        one._over.set()
        two._over.set()
        await observer.wait_for(ConnectionClosed, count=2)
        assert gone == [PEER]


async def test_the_hook_runs_beside_each_connection_and_marks_it_identified() -> None:
    seen: list[Connection] = []
    go_on = trio.Event()

    async def hook(connection: Connection) -> None:
        seen.append(connection)
        await go_on.wait()

    async with running(ScriptedTransport({tcp(1): answers()})) as (swarm, _):
        swarm.on_connection.add(hook, name="test", identifies=True)
        connection, _report = await swarm.dial(PEER, [tcp(1)])
        await settle()
        assert seen == [connection]
        assert not connection.identified.is_set()
        go_on.set()
        await connection.identified.wait()


async def test_disconnect_closes_every_connection_to_a_peer() -> None:
    others = FakeConnection(info(OTHER_PEER))
    transport = ScriptedTransport({tcp(1): answers(), tcp(2): answers(), tcp(3): answers(others)})
    async with running(transport) as (swarm, _):
        for address in (tcp(1), tcp(2), tcp(3)):
            await swarm.dial(None, [address])
        await swarm.disconnect(PEER)
        assert swarm.peers == [OTHER_PEER]
        assert not others.closed
        await swarm.disconnect(PEER)


async def test_a_dial_and_a_disconnect_look_at_no_other_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of peers, a pass over all of them would cost more than the rest."""

    def fail(self: ConnectionTable) -> None:
        raise AssertionError("a pass over all connections")

    async with running(ScriptedTransport({tcp(1): answers()})) as (swarm, _):
        with monkeypatch.context() as patch:
            patch.setattr(ConnectionTable, "__iter__", fail)
            patch.setattr(ConnectionTable, "peers", property(fail))
            await swarm.dial(PEER, [tcp(1)])
            await settle()
            await swarm.disconnect(PEER)
        assert swarm.peers == []


async def test_disconnect_at_once_after_the_dial() -> None:
    """The connection is closed before its task had a turn."""
    async with running(ScriptedTransport({tcp(1): answers()})) as (swarm, observer):
        await swarm.dial(PEER, [tcp(1)])
        await swarm.disconnect(PEER)
        assert swarm.peers == []
        assert [event.reason for event in observer.of(ConnectionClosed)] == [None]


async def test_streams_of_a_muxer_that_does_not_tell_of_their_end_end_with_the_connection() -> None:
    connection = FakeConnection()
    closed: list[str] = []
    async with running(ScriptedTransport({tcp(1): answers(connection)})) as (swarm, _):
        entry, _report = await swarm.dial(PEER, [tcp(1)])
        async with muxed_pair(Yamux(), Yamux()) as (near, _):
            entry.when_closed(await near.connection.open_stream(), lambda: closed.append("closed"))
        connection.fail()
        await entry.gone.wait()
        assert closed == ["closed"]


@pytest.mark.parametrize("seed", range(8))
async def test_the_end_in_the_midst_of_a_handshake(
    seed: int, transport: ListeningTransport, listener: FakeListener
) -> None:
    connection = inbound()
    with seed_scheduler(seed):
        async with running(transport) as (swarm, _):
            await swarm.listen(LISTEN)
            stuck = listener.arrive()
            listener.arrive(lambda: connection_of(connection))
            await stuck.upgrading.wait()
            for _ in range(seed // 2):
                await trio.lowlevel.checkpoint()


async def test_the_end_closes_every_connection_in_good_order() -> None:
    one, two = FakeConnection(), FakeConnection(info(OTHER_PEER))
    async with running(ScriptedTransport({tcp(1): answers(one), tcp(2): answers(two)})) as (swarm, _):
        await swarm.dial(PEER, [tcp(1)])
        await swarm.dial(OTHER_PEER, [tcp(2)])
    assert (one.times_closed, two.times_closed) == (1, 1)


async def test_cancelling_a_swarm_leaves_nothing(transport: ListeningTransport, listener: FakeListener) -> None:
    scripted = ScriptedTransport({tcp(1): answers(), tcp(2): stays_silent})
    observer = RecordingObserver()
    swarm = Swarm(local_peer=LOWEST, transports=[transport, scripted], notify=observer.notify)
    async with trio.open_nursery() as nursery:
        await nursery.start(swarm.run)
        await swarm.listen(LISTEN)
        await swarm.dial(PEER, [tcp(1)])
        listener.arrive()
        nursery.start_soon(swarm.dial, OTHER_PEER, [tcp(2)])
        await settle()
        nursery.cancel_scope.cancel()
    assert in_use(swarm) == {"system": {}, "transient": {}}
    assert (swarm.peers, swarm.listen_addresses) == ([], [])
    gc.collect()
    assert swarm.statistics().limits["scopes"] == {"keyed": 0}
