"""A peer that was asked for is dialed again when it is lost, ever more patiently, and both ends of it are event."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice, pairwise

import pytest
import trio
from multiaddr import Multiaddr
from trio.testing import MockClock

from peerstack import DialError, Host, Identity, open_host
from peerstack.cli.events import OutputEvent, PeerBack, PeerLost
from peerstack.cli.output import Output
from peerstack.cli.redial import LONGEST_WAIT, STEADY, Redialer, waits
from peerstack.cli.render import describe
from peerstack.cli.shapes import plain_lines
from peerstack.stack.events import DialFailed, Event
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

ADDRESS = Multiaddr("/memory/7")
PEER = "12D3KooWabcdefgh"


class Net:
    """Hosts in one process, and a peer that comes and goes at one address."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.events: list[tuple[float, OutputEvent]] = []
        self.more = trio.Event()
        self.dials: list[float] = []

    def notify(self, event: Event) -> None:
        """Keep when a dial came to nothing."""
        if isinstance(event, DialFailed):
            self.dials.append(trio.current_time())

    @asynccontextmanager
    async def peer(self, identity: Identity | None = None) -> AsyncIterator[Host]:
        """Listen at the address."""
        transports = [MemoryTransport(self.network)]
        async with open_host(listen=[ADDRESS], transports=transports, identity=identity) as host:
            yield host

    @asynccontextmanager
    async def host(self) -> AsyncIterator[Host]:
        async with open_host(transports=[MemoryTransport(self.network)], observers=[self]) as host:
            yield host

    async def emit(self, event: OutputEvent) -> None:
        self.events.append((trio.current_time(), event))
        self.more.set()

    async def wait_events(self, count: int) -> None:
        while len(self.events) < count:
            await self.more.wait()
            self.more = trio.Event()


@asynccontextmanager
async def keeping(net: Net, host: Host, address: Multiaddr = ADDRESS) -> AsyncIterator[Redialer]:
    """Keep a host connected to the peer at the address for the time of the block, with the longest waits."""
    redialer = Redialer(host, chance=lambda: 0.0)
    await redialer.connect(address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(redialer.run, net.emit)
        yield redialer
        nursery.cancel_scope.cancel()


# ---- how long it waits


def test_waits_double_up_to_a_minute() -> None:
    assert list(islice(waits(lambda: 0.0), 9)) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_chance_shortens_waits_by_up_to_a_half() -> None:
    assert list(islice(waits(lambda: 1.0), 8)) == [0.5, 1, 2, 4, 8, 16, 30, 30]
    chances = iter([0.0, 0.5, 1.0])
    assert list(islice(waits(lambda: next(chances)), 3)) == [1, 1.5, 2]


# ---- lost and back


async def test_a_peer_that_restarts_is_lost_and_back(autojump_clock: MockClock) -> None:
    net, identity = Net(), Identity.generate()
    async with net.host() as host:
        async with net.peer(identity):
            redialer = Redialer(host, chance=lambda: 0.0)
            assert await redialer.connect(ADDRESS) == identity.peer_id
        async with trio.open_nursery() as nursery:
            nursery.start_soon(redialer.run, net.emit)
            await net.wait_events(1)
            async with net.peer(identity):
                await net.wait_events(2)
                assert host.peers == [identity.peer_id]
            nursery.cancel_scope.cancel()
    (_, lost), (_, back), *_ = net.events
    assert lost == PeerLost(str(identity.peer_id), str(ADDRESS), None)
    assert back == PeerBack(str(identity.peer_id), str(ADDRESS), 1.0)


async def test_dials_that_fail_are_quiet_and_ever_rarer(autojump_clock: MockClock) -> None:
    net = Net()
    async with net.host() as host:
        async with net.peer():
            redialer = Redialer(host, chance=lambda: 0.0)
            await redialer.connect(ADDRESS)
        lost_at = trio.current_time()
        with trio.move_on_after(400):
            await redialer.run(net.emit)
    assert [type(event) for _, event in net.events] == [PeerLost]
    gaps = [after - before for before, after in pairwise([lost_at, *net.dials])]
    assert gaps == pytest.approx([1, 2, 4, 8, 16, 32, *[60] * (len(gaps) - 6)], abs=0.01)
    assert len(gaps) == 11
    assert gaps[-1] == pytest.approx(LONGEST_WAIT)


async def test_a_peer_that_comes_by_itself_ends_the_waiting(autojump_clock: MockClock) -> None:
    net, identity = Net(), Identity.generate()
    async with net.host() as host:
        async with net.peer(identity):
            redialer = Redialer(host, chance=lambda: 0.0)
            await redialer.connect(ADDRESS)
        (own,) = await host.listen("/memory/0")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(redialer.run, net.emit)
            await net.wait_events(1)
            await trio.sleep(100)  # by now a dial is a minute away
            before = len(net.dials)
            async with open_host(transports=[MemoryTransport(net.network)], identity=identity) as comer:
                await comer.connect(own)
                await net.wait_events(2)
                assert len(net.dials) == before
            nursery.cancel_scope.cancel()
    assert isinstance(net.events[1][1], PeerBack)


async def test_another_peer_at_an_address_that_names_none_is_kept_from_then_on(autojump_clock: MockClock) -> None:
    net, first, second = Net(), Identity.generate(), Identity.generate()
    async with net.host() as host:
        async with net.peer(first):
            redialer = Redialer(host, chance=lambda: 0.0)
            await redialer.connect(ADDRESS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(redialer.run, net.emit)
            async with net.peer(second):
                await net.wait_events(2)
            await net.wait_events(3)
            nursery.cancel_scope.cancel()
    ids = [event.peer_id for _, event in net.events if isinstance(event, PeerLost | PeerBack)]
    assert ids == [str(first.peer_id), str(second.peer_id), str(second.peer_id)]


async def test_another_peer_than_the_address_names_is_never_taken(autojump_clock: MockClock) -> None:
    net, identity = Net(), Identity.generate()
    async with net.host() as host:
        async with net.peer(identity):
            redialer = Redialer(host, chance=lambda: 0.0)
            await redialer.connect(Multiaddr(f"{ADDRESS}/p2p/{identity.peer_id}"))
        async with net.peer():
            with trio.move_on_after(200):
                await redialer.run(net.emit)
    assert [type(event) for _, event in net.events] == [PeerLost]


async def test_a_connection_that_falls_again_and_again_is_dialed_ever_more_rarely(autojump_clock: MockClock) -> None:
    net, identity = Net(), Identity.generate()
    async with net.host() as host, net.peer(identity) as peer, keeping(net, host):
        for turn in range(4):
            await peer.disconnect(host.peer_id)
            await net.wait_events(2 * turn + 2)
    assert [event.seconds for _, event in net.events if isinstance(event, PeerBack)] == pytest.approx([1, 2, 4, 8])


async def test_after_a_steady_connection_the_next_loss_is_a_new_one(autojump_clock: MockClock) -> None:
    net, identity = Net(), Identity.generate()
    async with net.host() as host, net.peer(identity) as peer, keeping(net, host):
        for turn in range(3):
            await trio.sleep(STEADY)
            await peer.disconnect(host.peer_id)
            await net.wait_events(2 * turn + 2)
    assert [event.seconds for _, event in net.events if isinstance(event, PeerBack)] == pytest.approx([1, 1, 1])


async def test_peers_are_kept_each_for_itself(autojump_clock: MockClock) -> None:
    net, steady, other = Net(), Identity.generate(), Multiaddr("/memory/8")
    transports = [MemoryTransport(net.network)]
    async with net.host() as host, open_host(listen=[other], transports=transports, identity=steady):
        redialer = Redialer(host, chance=lambda: 0.0)
        await redialer.connect(other)
        async with net.peer():
            await redialer.connect(ADDRESS)
        with trio.move_on_after(30):
            await redialer.run(net.emit)
        assert host.peers == [steady.peer_id]
    assert [str(event.address) for _, event in net.events if isinstance(event, PeerLost)] == [str(ADDRESS)]


async def test_who_is_not_there_at_first_is_an_error() -> None:
    net = Net()
    async with net.host() as host:
        with pytest.raises(DialError):
            await Redialer(host).connect(ADDRESS)


async def test_a_peer_that_was_asked_for_is_not_trimmed(autojump_clock: MockClock) -> None:
    net, first, second = Net(), Identity.generate(), Identity.generate()
    async with net.host() as host:
        protected = host.swarm.trimmer.is_protected
        async with net.peer(first):
            redialer = Redialer(host, chance=lambda: 0.0)
            await redialer.connect(ADDRESS)
            assert protected(first.peer_id)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(redialer.run, net.emit)
            async with net.peer(second):
                await net.wait_events(2)
                assert (protected(first.peer_id), protected(second.peer_id)) == (False, True)
            nursery.cancel_scope.cancel()


# ---- what people see


def test_people_see_a_line_each() -> None:
    def shown(event: OutputEvent) -> list[str]:
        return [text for shape in describe(event) for text in plain_lines(shape)]

    assert shown(PeerLost(PEER, "/memory/7", "it fell\x1b")) == [
        "! lost …abcdefgh at /memory/7: it fell\\x1b; dialing it until it is back"
    ]
    assert shown(PeerLost(PEER, "/memory/7", None)) == ["! lost …abcdefgh at /memory/7; dialing it until it is back"]
    assert shown(PeerBack(PEER, "/memory/7", 12.34)) == ["* …abcdefgh at /memory/7 is back after 12.3 s"]


class Interrupted(io.StringIO):
    """Calls back once, when something was written for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], None] = lambda: None

    def write(self, text: str) -> int:
        written = super().write(text)
        then, self.then = self.then, lambda: None
        then()
        return written


async def test_what_is_told_while_a_line_is_being_printed_comes_behind_it() -> None:
    out = Interrupted()
    output = Output(json=True, stdout=out, stderr=io.StringIO())
    reasons = ["x" * 5000, "at once", "when ready"]
    first, second, third = (PeerLost(PEER, "/memory/7", reason) for reason in reasons)
    async with trio.open_nursery() as nursery:

        def interrupt() -> None:
            output.emit(second)
            nursery.start_soon(output.emit_when_ready, third)

        out.then = interrupt
        nursery.start_soon(output.emit_when_ready, first)
    assert [json.loads(text)["reason"] for text in out.getvalue().splitlines()] == reasons
