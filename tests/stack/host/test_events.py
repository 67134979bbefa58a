"""Events of a host: for observers that come and go, and for tasks that iterate over them."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import EventsMissed, PeerConnected, PeerDisconnected
from peerstack.stack.errors import InvalidInput
from peerstack.stack.events import AddressesChanged, ConnectionClosed, ConnectionOpened, ReachabilityChanged
from peerstack.stack.host import EventHub, Reachability
from peerstack.stack.testing import RecordingObserver

from .pair import PEER, Pair

ADDRESS, OTHER = Multiaddr("/ip4/203.0.113.1/tcp/1"), Multiaddr("/ip4/203.0.113.1/tcp/2")


@pytest.fixture
def pair() -> Pair:
    return Pair()


async def test_the_first_connection_to_a_peer_and_the_end_of_the_last_one_are_told_once(
    pair: Pair, autojump_clock: trio.testing.MockClock
) -> None:
    observer = RecordingObserver()
    async with pair.open() as (alice, bob):
        alice.observe(observer)
        await alice.connect(*bob.addresses)
        await bob.listen("/memory/8")
        await alice.swarm.dial(None, [Multiaddr("/memory/8")])
        await alice.disconnect(bob.peer_id)
    kinds = (ConnectionOpened, PeerConnected, ConnectionClosed, PeerDisconnected)
    told = [event for event in observer.events if isinstance(event, kinds)]
    assert [type(event) for event in told] == [
        ConnectionOpened,
        PeerConnected,
        ConnectionOpened,
        ConnectionClosed,
        ConnectionClosed,
        PeerDisconnected,
    ]
    assert (told[1], told[-1]) == (PeerConnected(bob.peer_id), PeerDisconnected(bob.peer_id))


async def test_an_observer_may_leave_and_the_others_stay() -> None:
    staying, leaving = RecordingObserver(), RecordingObserver()
    hub = EventHub([staying, leaving])
    hub.remove(leaving)
    hub.remove(leaving)
    hub.notify(PeerConnected(PEER))
    assert (len(staying.events), leaving.events) == (1, [])


async def test_an_observer_may_leave_while_it_is_told(pair: Pair, autojump_clock: trio.testing.MockClock) -> None:
    async with pair.open() as (alice, bob):

        class Once(RecordingObserver):
            def notify(self, event: object) -> None:
                super().notify(event)  # type: ignore[arg-type]
                alice.unobserve(self)

        once = Once()
        alice.observe(once)
        await alice.connect(*bob.addresses)
        assert len(once.events) == 1


async def test_a_task_iterates_over_the_kinds_it_asked_for() -> None:
    hub = EventHub()
    with hub.subscribe(PeerConnected) as events:
        hub.notify(AddressesChanged(()))
        hub.notify(PeerConnected(PEER))
        assert await anext(events) == PeerConnected(PEER)
        with trio.testing.assert_checkpoints():
            hub.notify(PeerConnected(PEER))
            await anext(events)
    assert hub.observers == ()


async def test_a_slow_reader_is_told_how_many_events_it_missed() -> None:
    hub = EventHub()
    with hub.subscribe(buffer=2) as events:
        for port in range(5):
            hub.notify(AddressesChanged((Multiaddr(f"/ip4/203.0.113.1/tcp/{port}"),)))
        assert await anext(events) == EventsMissed(3)
        assert await anext(events) == AddressesChanged((Multiaddr("/ip4/203.0.113.1/tcp/3"),))
        hub.notify(AddressesChanged(()))
        await anext(events)
        assert await anext(events) == AddressesChanged(())
        assert events.missed == 3


async def test_a_cancelled_reader_loses_nothing() -> None:
    hub = EventHub()
    with hub.subscribe() as events:
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        hub.notify(PeerConnected(PEER))
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert await anext(events) == PeerConnected(PEER)


async def test_the_iteration_ends_with_the_host(pair: Pair, autojump_clock: trio.testing.MockClock) -> None:
    async with pair.open() as (alice, bob):
        events = alice.events.subscribe(PeerConnected, PeerDisconnected)
        await alice.connect(*bob.addresses)
    assert [event async for event in events] == [PeerConnected(bob.peer_id), PeerDisconnected(bob.peer_id)]
    assert [event async for event in alice.events.subscribe()] == []


async def test_a_wrong_subscription_is_refused() -> None:
    hub = EventHub()
    with pytest.raises(InvalidInput, match="at least one event, not 0"):
        hub.subscribe(buffer=0)
    with pytest.raises(TypeError, match="a class such as PeerConnected, not str"):
        hub.subscribe("PeerConnected")  # type: ignore[call-overload]
    assert hub.observers == ()


async def test_each_source_reports_reachability_and_the_whole_is_told_when_it_changes(pair: Pair) -> None:
    observer = RecordingObserver()
    async with pair.open() as (alice, _):
        alice.observe(observer)
        alice.report_reachability({ADDRESS: Reachability.UNREACHABLE, OTHER: Reachability.UNKNOWN}, source="a")
        alice.report_reachability({ADDRESS: Reachability.REACHABLE}, source="b")
        alice.report_reachability({ADDRESS: Reachability.REACHABLE}, source="b")
        assert alice.reachability == {ADDRESS: Reachability.REACHABLE, OTHER: Reachability.UNKNOWN}
        alice.report_reachability({}, source="a")
        alice.report_reachability({}, source="b")
        assert alice.reachability == {}
    assert observer.of(ReachabilityChanged) == [
        ReachabilityChanged((), (ADDRESS,), (OTHER,)),
        ReachabilityChanged((ADDRESS,), (), (OTHER,)),
        ReachabilityChanged((ADDRESS,), (), ()),
        ReachabilityChanged((), (), ()),
    ]


async def test_each_source_announces_and_takes_back_its_own_addresses(pair: Pair) -> None:
    async with pair.open() as (alice, _):
        before = alice.announced_addresses
        changes: list[None] = []
        alice.on_changed.add(lambda: changes.append(None), name="test")
        alice.announce(ADDRESS)
        alice.announce([ADDRESS, OTHER], source="mapper")
        alice.announce([ADDRESS, OTHER], source="mapper")
        assert alice.announced_addresses == [*before, ADDRESS, OTHER]
        alice.announce([], source="mapper")
        alice.announce([], source="mapper")
        assert alice.announced_addresses == [*before, ADDRESS]
        alice.announce([])
        assert alice.announced_addresses == before
        assert len(changes) == 4
