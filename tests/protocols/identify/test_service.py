"""The identify service learns of every peer, tells every peer, and pushes what changed, once, to whom it concerns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio
from multiaddr import Multiaddr
from trio.testing import MockClock

from peerstack.protocols.identify import (
    PROTOCOL,
    PUSH_PROTOCOL,
    Identify,
    IdentifyConfig,
    IdentifyService,
    identify,
    push,
    serve,
)
from peerstack.stack.abc import MuxedConnection, Stream
from peerstack.stack.errors import NegotiationError, PeerIdMismatch, RemoteProtocolError, StackError
from peerstack.stack.events import AddressesChanged, Event, PeerIdentified
from peerstack.stack.host.peerstore import Peerstore
from peerstack.stack.identity import Identity, PeerId, PeerRecord
from peerstack.stack.limits import MemoryAccount, Resource, Scope
from peerstack.stack.negotiation import negotiate_inbound, negotiate_outbound
from peerstack.stack.swarm.observed import ObservedAddresses

Connect = Callable[..., tuple[MuxedConnection, MuxedConnection]]
Handler = Callable[[Stream], Awaitable[None]]

LISTEN = Multiaddr("/ip4/127.0.0.1/tcp/4001")


class ServiceHost:
    """The little of a host that the service asks for, and a record of what it did."""

    def __init__(self, nursery: trio.Nursery, **options: Any) -> None:
        self.identity = Identity.generate()
        self.peerstore = Peerstore()
        self.listen_addresses: Sequence[Multiaddr] = [LISTEN]
        self.announced_addresses: Sequence[Multiaddr] = [LISTEN]
        self.connections: list[MuxedConnection] = []
        self.events: list[Event] = []
        self.failures: list[Exception] = []
        self.opened: list[str] = []
        self.service = IdentifyService(self, IdentifyConfig(push_delay=0.5), **options)
        self.handlers: dict[str, Handler] = {PROTOCOL: self.service.serve, PUSH_PROTOCOL: self.service.serve_push}
        self.memory = Scope("peer", {Resource.MEMORY: 1 << 20})
        self._nursery = nursery

    @property
    def protocols(self) -> Sequence[str]:
        return list(self.handlers)

    def notify(self, event: Event, /) -> None:
        self.events.append(event)

    def memory_of(self, peer: PeerId, /) -> MemoryAccount:
        return MemoryAccount(self.memory)

    async def open_stream_on(self, connection: MuxedConnection, protocol: str, /) -> Stream:
        self.opened.append(protocol)
        stream = await connection.open_stream()
        await negotiate_outbound(stream, [protocol])
        return stream

    def own(self, connection: MuxedConnection) -> None:
        self.connections.append(connection)
        self.peerstore.connected(connection.remote_peer)
        self._nursery.start_soon(self._accept, connection)

    async def _accept(self, connection: MuxedConnection) -> None:
        while True:
            self._nursery.start_soon(self._serve, await connection.accept_stream())

    async def _serve(self, stream: Stream) -> None:
        try:
            stream.protocol = await negotiate_inbound(stream, self.handlers)
            await self.handlers[stream.protocol](stream)
        except (StackError, trio.BrokenResourceError) as error:
            self.failures.append(error)
            stream.reset()

    def pushes_taken(self) -> int:
        return sum(isinstance(event, PeerIdentified) for event in self.events)


@pytest.fixture
def alice(nursery: trio.Nursery) -> ServiceHost:
    return ServiceHost(nursery)


@pytest.fixture
def bob(nursery: trio.Nursery) -> ServiceHost:
    return ServiceHost(nursery)


@pytest.fixture
def link(connect: Connect) -> Callable[..., tuple[MuxedConnection, MuxedConnection]]:
    def link(one: ServiceHost, other: ServiceHost, **places: str) -> tuple[MuxedConnection, MuxedConnection]:
        ends = connect(one.identity, other.identity, **places)
        one.own(ends[0])
        other.own(ends[1])
        return ends

    return link


@pytest.mark.parametrize("bad", [{"timeout": 0.0}, {"push_burst": 0}])
def test_settings_that_cannot_work_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        IdentifyConfig(**bad)  # type: ignore[arg-type]  # the field is a parameter


async def test_both_sides_learn_of_each_other(alice: ServiceHost, bob: ServiceHost, link: Connect) -> None:
    to_bob, to_alice = link(alice, bob)
    await alice.service.identify_connection(to_bob)
    await bob.service.identify_connection(to_alice)
    for host, other, seen_at in ((alice, bob, "1001"), (bob, alice, "1002")):
        [event] = host.events
        assert isinstance(event, PeerIdentified)
        assert (event.peer, event.agent, event.signed) == (other.identity.peer_id, "peerstack", True)
        assert event.protocols == (PROTOCOL, PUSH_PROTOCOL)
        assert event.addresses == (LISTEN,)
        assert event.observed_address == Multiaddr(f"/ip4/127.0.0.1/tcp/{seen_at}")
        assert host.peerstore.record(other.identity.peer_id) is not None


async def test_a_peer_without_identify_costs_nothing_but_the_knowledge(
    alice: ServiceHost, bob: ServiceHost, link: Connect
) -> None:
    to_bob, _ = link(alice, bob)
    bob.handlers.clear()
    await alice.service.identify_connection(to_bob)
    assert (alice.events, to_bob.closed) == ([], False)
    with pytest.raises(NegotiationError):
        await alice.service.identify(to_bob)


async def test_a_peer_that_shows_another_key_loses_the_connection(
    alice: ServiceHost, bob: ServiceHost, link: Connect
) -> None:
    to_bob, _ = link(alice, bob)
    bob.handlers[PROTOCOL] = partial(serve, ours=Identify(public_key=Identity.generate().public_key.encode()))
    with pytest.raises(PeerIdMismatch):
        await alice.service.identify(to_bob)
    assert to_bob.closed
    assert alice.events == []


async def test_a_push_cannot_change_the_key(alice: ServiceHost, bob: ServiceHost, link: Connect) -> None:
    to_bob, to_alice = link(alice, bob)
    stream = await bob.open_stream_on(to_alice, PUSH_PROTOCOL)
    await push(stream, Identify(public_key=Identity.generate().public_key.encode(), agent="evil"))
    await trio.testing.wait_all_tasks_blocked()
    assert to_bob.closed
    assert alice.peerstore.agent(bob.identity.peer_id) == ""


async def test_a_silent_peer_is_given_up(
    alice: ServiceHost, bob: ServiceHost, link: Connect, autojump_clock: MockClock
) -> None:
    async def silent(stream: Stream) -> None:
        await trio.sleep_forever()

    to_bob, _ = link(alice, bob)
    bob.handlers[PROTOCOL] = silent
    await alice.service.identify_connection(to_bob)
    assert trio.current_time() == 5
    assert alice.events == []


async def test_a_broken_answer_is_the_peers_error(alice: ServiceHost, bob: ServiceHost, link: Connect) -> None:
    async def broken(stream: Stream) -> None:
        await stream.send_all(b"\x01\xff")
        await stream.send_eof()

    to_bob, _ = link(alice, bob)
    bob.handlers[PROTOCOL] = broken
    with pytest.raises(RemoteProtocolError):
        await alice.service.identify(to_bob)
    assert not to_bob.closed


async def test_a_peer_that_never_reads_our_answer_is_reset(
    alice: ServiceHost, bob: ServiceHost, link: Connect, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(stream: Stream, ours: Identify) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("peerstack.protocols.identify.service.send_answer", stuck)
    to_bob, _ = link(alice, bob)
    stream = await alice.open_stream_on(to_bob, PROTOCOL)
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    assert trio.current_time() == 5


async def test_our_record_is_signed_anew_only_when_our_addresses_change(
    alice: ServiceHost, bob: ServiceHost, link: Connect
) -> None:
    to_bob, _ = link(alice, bob)
    seqs = []
    for port in (1, 1, 2, 2, 3):
        bob.announced_addresses = [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")]
        bob.handlers[f"/p/{port}"] = bob.service.serve
        received = await identify(await alice.open_stream_on(to_bob, PROTOCOL))
        assert received.signed_record is not None
        assert f"/p/{port}" in received.protocols
        seqs.append(PeerRecord.open(received.signed_record).seq)
    assert seqs[0] == seqs[1] < seqs[2] == seqs[3] < seqs[4]


async def test_the_sequence_grows_even_if_the_clock_does_not(
    nursery: trio.Nursery, alice: ServiceHost, link: Connect
) -> None:
    bob = ServiceHost(nursery, now_ns=lambda: 7)
    to_bob, _ = link(alice, bob)
    seqs = []
    for port in (1, 2):
        bob.announced_addresses = [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")]
        received = await identify(await alice.open_stream_on(to_bob, PROTOCOL))
        assert received.signed_record is not None
        seqs.append(PeerRecord.open(received.signed_record).seq)
    assert seqs == [7, 8]


async def test_no_more_than_thirty_addresses_are_told(alice: ServiceHost, bob: ServiceHost, link: Connect) -> None:
    to_bob, _ = link(alice, bob)
    bob.announced_addresses = [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}") for port in range(1, 100)]
    received = await identify(await alice.open_stream_on(to_bob, PROTOCOL))
    assert received.listen_addresses == tuple(address.to_bytes() for address in bob.announced_addresses[:30])


# --- pushing


async def test_changes_are_pushed_once_to_those_who_were_told_otherwise(
    nursery: trio.Nursery, alice: ServiceHost, bob: ServiceHost, link: Connect, autojump_clock: MockClock
) -> None:
    to_bob, to_alice = link(alice, bob)
    await alice.service.identify_connection(to_bob)
    await bob.service.identify_connection(to_alice)
    nursery.start_soon(alice.service.run)
    for number in range(5):
        alice.handlers[f"/new/{number}"] = alice.service.serve
        alice.service.changed()
        await trio.sleep(0.05)
    await trio.sleep(10)
    assert bob.pushes_taken() == 2
    assert bob.peerstore.supports(alice.identity.peer_id, "/new/0", "/new/4") == ("/new/0", "/new/4")
    alice.service.changed()
    await trio.sleep(10)
    assert bob.pushes_taken() == 2
    assert not any(isinstance(event, AddressesChanged) for event in alice.events)


async def test_new_addresses_are_told_to_observers_and_peers(
    nursery: trio.Nursery, alice: ServiceHost, bob: ServiceHost, link: Connect, autojump_clock: MockClock
) -> None:
    to_bob, to_alice = link(alice, bob)
    await alice.service.identify_connection(to_bob)
    await bob.service.identify_connection(to_alice)
    nursery.start_soon(alice.service.run)
    await trio.testing.wait_all_tasks_blocked()
    newer = Multiaddr("/ip4/127.0.0.1/tcp/9")
    alice.announced_addresses = [newer]
    alice.service.changed()
    await trio.sleep(10)
    assert AddressesChanged((newer,)) in alice.events
    assert bob.peerstore.addresses(alice.identity.peer_id) == (newer,)


async def test_what_changed_while_the_peer_was_being_identified_reaches_it(
    nursery: trio.Nursery, alice: ServiceHost, bob: ServiceHost, link: Connect, autojump_clock: MockClock
) -> None:
    to_bob, to_alice = link(alice, bob)
    nursery.start_soon(alice.service.run)
    await bob.service.identify_connection(to_alice)
    alice.handlers["/late"] = alice.service.serve
    alice.service.changed()
    await trio.sleep(10)
    assert bob.pushes_taken() == 1
    await alice.service.identify_connection(to_bob)
    await trio.sleep(10)
    assert bob.peerstore.supports(alice.identity.peer_id, "/late") == ("/late",)


async def test_peers_that_never_asked_or_take_no_pushes_are_left_alone(
    nursery: trio.Nursery, alice: ServiceHost, bob: ServiceHost, link: Connect, autojump_clock: MockClock
) -> None:
    to_bob, to_alice = link(alice, bob)
    nursery.start_soon(alice.service.run)
    await alice.service.identify_connection(to_bob)
    alice.handlers["/one"] = alice.service.serve
    alice.service.changed()
    await trio.sleep(10)
    bob.handlers.pop(PUSH_PROTOCOL)
    await alice.service.identify_connection(to_bob)
    await bob.service.identify_connection(to_alice)
    alice.handlers["/two"] = alice.service.serve
    alice.service.changed()
    await trio.sleep(10)
    assert PUSH_PROTOCOL not in alice.opened


async def test_one_peer_that_is_gone_does_not_keep_the_push_from_others(
    nursery: trio.Nursery, alice: ServiceHost, bob: ServiceHost, link: Connect, autojump_clock: MockClock
) -> None:
    carol = ServiceHost(nursery)
    for other in (carol, bob):
        to_other, to_alice = link(alice, other)
        await alice.service.identify_connection(to_other)
        await other.service.identify_connection(to_alice)
    carol.handlers.clear()
    nursery.start_soon(alice.service.run)
    alice.handlers["/new"] = alice.service.serve
    alice.service.changed()
    await trio.sleep(10)
    assert (carol.pushes_taken(), bob.pushes_taken()) == (1, 2)


# --- taking pushes


async def test_a_flood_of_pushes_is_refused(
    alice: ServiceHost, bob: ServiceHost, link: Connect, autojump_clock: MockClock
) -> None:
    _, to_alice = link(alice, bob)

    async def push_agent(agent: str) -> None:
        with suppress(trio.BrokenResourceError):
            stream = await bob.open_stream_on(to_alice, PUSH_PROTOCOL)
            await push(stream, Identify(agent=agent))
        await trio.testing.wait_all_tasks_blocked()

    for number in range(50):
        await push_agent(f"flood {number}")
    assert alice.peerstore.agent(bob.identity.peer_id) == "flood 3"
    await trio.sleep(1)
    await push_agent("later")
    assert alice.peerstore.agent(bob.identity.peer_id) == "later"


async def test_one_peer_has_one_push_at_a_time_and_a_slow_one_is_cut(
    alice: ServiceHost, bob: ServiceHost, link: Connect, autojump_clock: MockClock
) -> None:
    _, to_alice = link(alice, bob)
    slow = await bob.open_stream_on(to_alice, PUSH_PROTOCOL)
    with pytest.raises(trio.BrokenResourceError):
        await (await bob.open_stream_on(to_alice, PUSH_PROTOCOL)).receive_some()
    assert trio.current_time() == 0
    with pytest.raises(trio.BrokenResourceError):
        await slow.receive_some()
    assert trio.current_time() == 5
    await push(await bob.open_stream_on(to_alice, PUSH_PROTOCOL), Identify(agent="third"))
    await trio.testing.wait_all_tasks_blocked()
    assert alice.peerstore.agent(bob.identity.peer_id) == "third"


# --- our address as others see it


async def test_an_address_that_enough_peers_see_is_believed_while_they_are_there(
    nursery: trio.Nursery, link: Connect, autojump_clock: MockClock
) -> None:
    alice = ServiceHost(nursery, observed=ObservedAddresses(quorum=2))
    alice.listen_addresses = [Multiaddr("/ip4/0.0.0.0/tcp/4001")]
    seen = Multiaddr("/ip4/1.2.3.4/tcp/4001")
    nursery.start_soon(alice.service.run)
    for number in range(2):
        bob = ServiceHost(nursery)
        bob.handlers[PROTOCOL] = partial(serve, ours=Identify(observed_address=seen.to_bytes()))
        to_bob, _ = link(alice, bob, one_at="/ip4/10.0.0.5/tcp/4001", other_at=f"/ip4/9.9.9.{number}/tcp/7")
        assert alice.service.observed_addresses == ()
        await alice.service.identify_connection(to_bob)
    assert alice.service.observed_addresses == (seen,)
    alice.announced_addresses = [seen]
    await trio.sleep(1)
    assert AddressesChanged((seen,)) in alice.events
    alice.connections.pop()
    assert len(alice.service.observed_addresses) == 0
