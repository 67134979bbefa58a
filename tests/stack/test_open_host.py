"""The block of open_host: nothing outlives it, errors leave as themselves, and no peer can hold it up."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr
from multiaddr.protocols import PROTOCOLS

from peerstack import open_host
from peerstack.stack.abc import Channel, ConnectionInfo, MuxedConnection, Stream
from peerstack.stack.background import open_background
from peerstack.stack.errors import DialError, LocalProtocolError
from peerstack.stack.events import (
    ConnectionClosed,
    ConnectionOpened,
    Event,
    ListenStarted,
    ListenStopped,
    PeerIdentified,
    StreamClosed,
    StreamOpened,
)
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport
from peerstack.transports.tcp import TcpTransport

Clock = trio.testing.MockClock
ECHO = "/echo/1"
TCP = "/ip4/127.0.0.1/tcp/0"


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def never_read(stream: Stream) -> None:
    await trio.sleep_forever()


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def nothing_is_left(host: Host) -> bool:
    limits = host.statistics().swarm.limits
    return limits["system"] == limits["transient"] == {} and host.connections() == host.swarm.listen_addresses == []


@asynccontextmanager
async def busy_hosts(network: MemoryNetwork) -> AsyncIterator[tuple[Host, Host]]:
    """Open two hosts in the middle of everything: streams open, a handshake and a dial under way."""
    bobs = open_host(listen=["/memory/7"], transports=[MemoryTransport(network)])
    async with open_host(transports=[MemoryTransport(network)]) as alice, bobs as bob:
        bob.handle(ECHO, echo)
        await alice.connect(*bob.addresses)
        for host, other in ((alice, bob), (alice, bob), (bob, alice)):
            stream = await host.open_stream(other.peer_id, ECHO if other is bob else "/ipfs/ping/1.0.0")
            await stream.send_all(b"hello")
        await trio.lowlevel.checkpoint()  # a cancelled block goes no further
        await network.connect(Multiaddr("/memory/7")).stream.send_all(b"\x13/multi")
        await trio.testing.wait_all_tasks_blocked()
        assert bob.statistics().swarm.limits["transient"]
        yield alice, bob


async def test_nothing_a_peer_says_is_the_first_to_need_a_file(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors, an import fails: that of the codec of a new kind of address, for one."""
    codecs = {f"multiaddr.codecs.{protocol.codec}" for protocol in PROTOCOLS if protocol.codec}
    for name in (*codecs, "encodings.idna"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    async with open_host(transports=[MemoryTransport(MemoryNetwork())]):
        assert {*codecs, "encodings.idna"} <= sys.modules.keys()


# ---- nothing outlives the block


async def test_nothing_outlives_the_block(autojump_clock: Clock) -> None:
    before = tasks()
    async with busy_hosts(MemoryNetwork()) as (alice, bob):
        assert tasks() > before
    assert nothing_is_left(alice)
    assert nothing_is_left(bob)
    assert tasks() == before


async def test_every_beginning_has_its_end_in_the_events(autojump_clock: Clock) -> None:
    observer = RecordingObserver()
    network = MemoryNetwork()
    async with open_host(listen=["/memory/7"], transports=[MemoryTransport(network)], observers=[observer]) as bob:
        bob.handle(ECHO, echo)
        async with open_host(transports=[MemoryTransport(network)], observers=[observer]) as alice:
            await alice.connect(*bob.addresses)
            for _ in range(3):
                await (await alice.open_stream(bob.peer_id, ECHO)).send_all(b"x")
            await trio.testing.wait_all_tasks_blocked()
    assert len(observer.of(ListenStarted)) == len(observer.of(ListenStopped)) == 1
    assert len(observer.of(ConnectionClosed)) == 2
    assert len(observer.of(StreamOpened)) == len(observer.of(StreamClosed)) >= 6


async def test_peers_see_an_orderly_close(autojump_clock: Clock) -> None:
    observer = RecordingObserver()
    network = MemoryNetwork()
    async with open_host(listen=["/memory/7"], transports=[MemoryTransport(network)], observers=[observer]) as bob:
        async with open_host(transports=[MemoryTransport(network)]) as alice:
            await alice.connect(*bob.addresses)
        event = await observer.wait_for(ConnectionClosed)
        assert event.reason is None


async def test_a_closed_host_says_that_it_is(autojump_clock: Clock) -> None:
    async with open_host(transports=[MemoryTransport(MemoryNetwork())]) as host:
        pass
    with pytest.raises(LocalProtocolError, match="not running"):
        await host.connect("/memory/7")
    with pytest.raises(LocalProtocolError, match="not running"):
        await host.listen("/memory/7")


# ---- errors


class UsersError(Exception):
    pass


async def run_busy_hosts(error: BaseException) -> None:
    async with busy_hosts(MemoryNetwork()):
        raise error


@pytest.mark.parametrize(
    "error", [UsersError("mine"), ExceptionGroup("mine", [UsersError()]), KeyboardInterrupt()], ids=str
)
async def test_an_exception_of_the_block_leaves_as_itself(error: BaseException, autojump_clock: Clock) -> None:
    before = tasks()
    with pytest.raises(type(error)) as caught:
        await run_busy_hosts(error)
    assert caught.value is error
    assert tasks() == before


async def test_a_handler_that_meets_the_end_of_the_host_is_no_news(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing takes a moment, in which handlers go on, and may want another peer."""
    network = MemoryNetwork()
    asked = trio.Event()

    async def ask_another(stream: Stream) -> None:
        asked.set()
        with suppress(trio.BrokenResourceError):
            await stream.receive_some()
        await bob.connect(Multiaddr("/memory/9"))

    async with open_host(transports=[MemoryTransport(network)]) as alice:
        async with open_host(listen=["/memory/7"], transports=[MemoryTransport(network)]) as bob:
            bob.handle("/ask/1", ask_another)
            await alice.connect(*bob.addresses)
            await (await alice.open_stream(bob.peer_id, "/ask/1")).send_all(b"x")
            await asked.wait()
    assert caplog.messages == []


async def test_a_dial_error_can_be_caught_round_the_block(autojump_clock: Clock) -> None:
    async def run() -> None:
        async with open_host(transports=[MemoryTransport(MemoryNetwork())]) as host:
            await host.connect("/memory/7")

    with pytest.raises(DialError):
        await run()


class FailsAt:
    """An observer with a bug that shows at one kind of event."""

    def __init__(self, kind: type[Event]) -> None:
        self._kind = kind

    def notify(self, event: Event) -> None:
        if isinstance(event, self._kind):
            raise ZeroDivisionError("a bug in an observer")


@pytest.mark.parametrize(
    "kind",
    [ListenStarted, ConnectionOpened, PeerIdentified, StreamOpened, StreamClosed, ConnectionClosed, ListenStopped],
)
async def test_what_an_observer_raises_ends_the_host_and_leaves_as_itself(
    kind: type[Event], autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever the event comes up: in our own call, in a handler, in the engine of a connection, or at the end."""

    async def run() -> None:
        network = MemoryNetwork()
        bobs = open_host(listen=["/memory/7"], transports=[MemoryTransport(network)], observers=[FailsAt(kind)])
        async with bobs as bob, open_host(transports=[MemoryTransport(network)]) as alice:
            bob.handle(ECHO, echo)
            await alice.connect(*bob.addresses)
            await (await alice.open_stream(bob.peer_id, ECHO)).aclose()
            await alice.disconnect(bob.peer_id)
            await trio.sleep(100)

    before = tasks()
    with pytest.raises(ZeroDivisionError):
        await run()
    assert tasks() == before
    assert f"failed at {kind.__name__}; an observer that fails ends its host" in caplog.text


@pytest.mark.parametrize("kind", [ListenStarted, StreamOpened, ConnectionClosed, ListenStopped])
async def test_an_interrupt_in_an_observer_leaves_as_itself(kind: type[Event], autojump_clock: Clock) -> None:
    interrupt = KeyboardInterrupt()

    class Interrupts:
        def notify(self, event: Event) -> None:
            if isinstance(event, kind):
                raise interrupt

    async def run() -> None:
        network = MemoryNetwork()
        bobs = open_host(listen=["/memory/7"], transports=[MemoryTransport(network)], observers=[Interrupts()])
        async with bobs as bob, open_host(transports=[MemoryTransport(network)]) as alice:
            await alice.connect(*bob.addresses)
            await alice.disconnect(bob.peer_id)
            await trio.sleep(100)

    with pytest.raises(KeyboardInterrupt) as caught:
        await run()
    assert caught.value is interrupt


async def test_an_observer_that_fails_keeps_nothing_from_the_others(autojump_clock: Clock) -> None:
    recorder = RecordingObserver()

    async def run() -> None:
        async with open_host(
            listen=["/memory/7"],
            transports=[MemoryTransport(MemoryNetwork())],
            observers=[FailsAt(ListenStarted), recorder],
        ):
            await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        await run()
    assert [type(event) for event in recorder.events] == [ListenStarted, ListenStopped]


async def test_a_handlers_bug_leaves_as_a_group_when_fixtures_ask_for_it(autojump_clock: Clock) -> None:
    async def buggy(stream: Stream) -> None:
        raise ZeroDivisionError("a bug")

    async def run() -> None:
        network = MemoryNetwork()
        strict = SwarmConfig(raise_handler_errors=True)
        async with open_host(transports=[MemoryTransport(network)]) as alice:
            async with open_host(listen=["/memory/7"], transports=[MemoryTransport(network)], swarm=strict) as bob:
                bob.handle(ECHO, buggy)
                await alice.connect(*bob.addresses)
                await (await alice.open_stream(bob.peer_id, ECHO)).send_all(b"x")
                await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert caught.group_contains(ZeroDivisionError)


async def test_behind_an_error_of_the_block_a_crash_is_not_lost(autojump_clock: Clock) -> None:
    async def crash() -> None:
        raise ZeroDivisionError("the cause")

    async def run() -> None:
        async with open_background() as nursery:
            nursery.start_soon(crash)
            try:
                await trio.sleep_forever()
            finally:
                raise UsersError("the consequence")

    with pytest.raises(UsersError) as caught:
        await run()
    assert isinstance(caught.value.__cause__, BaseExceptionGroup)
    assert caught.value.__cause__.subgroup(ZeroDivisionError) is not None


async def test_a_crash_cancels_a_nursery_in_the_block_and_leaves_without_the_cancellations(
    autojump_clock: Clock,
) -> None:
    """Both the user's nursery and a second host inside wrap the cancellations in groups of their own."""

    async def crash() -> None:
        raise ZeroDivisionError("the cause")

    async def run() -> None:
        async with open_background() as nursery, open_background(), trio.open_nursery() as users:
            users.start_soon(trio.sleep_forever)
            users.start_soon(trio.sleep_forever)
            nursery.start_soon(crash)
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]


async def test_what_else_went_wrong_while_it_was_cancelled_leaves_too(autojump_clock: Clock) -> None:
    async def complain() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise UsersError("on the way out")

    async def crash() -> None:
        raise ZeroDivisionError("the cause")

    async def run() -> None:
        async with open_background() as nursery, trio.open_nursery() as users:
            users.start_soon(complain)
            users.start_soon(trio.sleep_forever)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(crash)
            await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert [type(error) for error in caught.value.exceptions] == [UsersError]
    assert isinstance(caught.value.__cause__, BaseExceptionGroup)
    assert caught.value.__cause__.subgroup(ZeroDivisionError) is not None


async def test_cancelling_the_block(autojump_clock: Clock) -> None:
    before = tasks()
    hosts: list[Host] = []
    with trio.move_on_after(3) as scope:
        async with busy_hosts(MemoryNetwork()) as pair:
            hosts += pair
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert tasks() == before
    assert len(hosts) == 2
    assert all(map(nothing_is_left, hosts))


@pytest.mark.parametrize("steps", range(0, 60, 3))
async def test_cancelling_the_block_at_any_step(steps: int, autojump_clock: Clock) -> None:
    before = tasks()
    hosts: list[Host] = []
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            async with busy_hosts(MemoryNetwork()) as both:
                hosts.extend(both)

        nursery.start_soon(run)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert tasks() == before
    assert all(map(nothing_is_left, hosts))


# ---- peers that stall


class StallingMuxer(Yamux):
    """Makes connections whose close takes for ever."""

    def mux(self, channel: Channel, info: ConnectionInfo) -> MuxedConnection:  # type: ignore[override] # less is told
        connection = super().mux(channel, info)

        async def aclose() -> None:
            await trio.sleep_forever()

        connection.aclose = aclose  # type: ignore[method-assign] # a peer that stalls
        return connection


async def test_closing_takes_two_seconds_at_most(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_host(listen=["/memory/7"], transports=[MemoryTransport(network)]) as bob:
        async with open_host(transports=[MemoryTransport(network)], muxers=[StallingMuxer()]) as alice:
            await alice.connect(*bob.addresses)
            began = trio.current_time()
        assert trio.current_time() - began == 2
        assert nothing_is_left(alice)


async def test_closing_is_bounded_also_when_cancelled(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_host(listen=["/memory/7"], transports=[MemoryTransport(network)]) as bob:
        with trio.move_on_after(10):
            async with open_host(transports=[MemoryTransport(network)], muxers=[StallingMuxer()]) as alice:
                await alice.connect(*bob.addresses)
                await trio.sleep_forever()
        assert trio.current_time() == 12


async def test_a_peer_that_does_not_read_delays_the_end_by_a_moment_only(autojump_clock: Clock) -> None:
    network = MemoryNetwork(capacity=1024)
    async with open_host(listen=["/memory/7"], transports=[MemoryTransport(network)]) as bob:
        bob.handle(ECHO, never_read)
        async with open_host(transports=[MemoryTransport(network)]) as alice, trio.open_nursery() as nursery:
            await alice.connect(*bob.addresses)
            stream = await alice.open_stream(bob.peer_id, ECHO)
            nursery.start_soon(stream.send_all, bytes(10_000_000))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            began = trio.current_time()
        assert trio.current_time() - began <= 2
        assert nothing_is_left(alice)


# ---- what it is made of


async def test_parts_can_be_given(autojump_clock: Clock) -> None:
    identity = Identity.generate()
    transports: Sequence[MemoryTransport] = [MemoryTransport(MemoryNetwork())]
    async with open_host(identity=identity, transports=transports, native_transports=()) as host:
        assert host.peer_id == identity.peer_id
        assert {"/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"} <= set(host.protocols)


async def test_each_host_has_an_identity_of_its_own(autojump_clock: Clock) -> None:
    async with open_host() as one, open_host() as other:
        assert one.peer_id != other.peer_id


async def test_the_default_transport_is_tcp() -> None:
    async with open_host(listen=[TCP]) as bob, open_host(transports=[TcpTransport()]) as alice:
        assert await alice.connect(*bob.addresses) == bob.peer_id
