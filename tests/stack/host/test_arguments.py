"""Wrong arguments are refused at the call, in one line that says what was given; what is clear is taken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial, wraps
from random import Random
from typing import Any

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host, ping
from peerstack.protocols import identify, perf
from peerstack.protocols.ping import pings
from peerstack.stack.abc import Stream, StreamListener
from peerstack.stack.errors import DialError, InvalidAddress, InvalidInput
from peerstack.stack.events import AddressesChanged, ConnectionOpened
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.testing import RecordingObserver, seeded_identity
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .pair import ECHO, Pair, echo

Clock = trio.testing.MockClock
OTHER = seeded_identity(Random(1)).peer_id
NAT = "/ip4/203.0.113.1/tcp/4001"


@pytest.fixture
def pair() -> Pair:
    return Pair()


async def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call what may be async or an async context manager."""
    result = function(*arguments, **named)
    if isinstance(result, Awaitable):
        return await result
    if hasattr(result, "__aenter__"):
        async with result as entered:
            return entered
    return result


def one_line(error: BaseException) -> bool:
    return bool(str(error)) and "\n" not in str(error)


# ---- peers

CALLS: dict[str, Callable[[Host, Any], Any]] = {
    "open_stream": lambda host, peer: host.open_stream(peer, ECHO),
    "connections": lambda host, peer: host.connections(peer),
    "disconnect": lambda host, peer: host.disconnect(peer),
    "tag": lambda host, peer: host.tag(peer, "useful", 1),
    "untag": lambda host, peer: host.untag(peer, "useful"),
    "protect": lambda host, peer: host.protect(peer, "friend"),
    "unprotect": lambda host, peer: host.unprotect(peer, "friend"),
    "add_addresses": lambda host, peer: host.add_addresses(peer, [NAT]),
    "ping": lambda host, peer: ping(host, peer),
    "pings": lambda host, peer: pings(host, peer),
    "perf": lambda host, peer: perf.measure(host, peer, upload=1, download=1),
}


@pytest.mark.parametrize("name", CALLS)
async def test_what_is_no_peer_is_refused(name: str, pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, _):
        wrongs = [5, OTHER.to_bytes(), [OTHER], PeerId, Identity.generate(), object()]
        for wrong in [*wrongs, None] if name != "connections" else wrongs:
            with pytest.raises(TypeError, match="a peer is a PeerId, the text of one, or an address") as caught:
                await call(CALLS[name], alice, wrong)
            assert one_line(caught.value)
        for text in ("", "nonsense", "QmNonsense", NAT, "/memory/7"):
            with pytest.raises(InvalidInput) as refused:
                await call(CALLS[name], alice, text)
            assert one_line(refused.value)


async def test_a_peer_may_be_given_as_text_or_by_its_address(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        bob.handle(perf.PROTOCOL, partial(perf.serve, config=perf.PerfConfig()), max_streams_per_peer=1)
        for peer in (str(bob.peer_id), bob.peer_id.to_cid(), bob.addresses[0], str(bob.addresses[0])):
            async with await alice.open_stream(peer, ECHO) as stream:
                assert stream.remote_peer == bob.peer_id
            assert await ping(alice, peer) >= 0
            assert (await perf.measure(alice, peer, upload=1, download=1)).download_bytes == 1
            assert len(alice.connections(peer)) == 1
            alice.protect(peer, "friend")
            assert alice.swarm.trimmer.is_protected(bob.peer_id)
            alice.unprotect(peer, "friend")
            assert not alice.swarm.trimmer.is_protected(bob.peer_id)
            alice.tag(peer, "useful", 3)
            assert alice.swarm.trimmer.value(bob.peer_id) == 3
            alice.untag(peer, "useful")
        await alice.disconnect(str(bob.peer_id))
        assert alice.peers == []


async def test_the_address_of_a_peer_is_dialed_for_its_stream(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        async with await alice.open_stream(str(bob.addresses[0]), ECHO) as stream:
            assert stream.remote_peer == bob.peer_id


@pytest.mark.parametrize("wrong", ["5", None, float("nan")])
async def test_a_tag_is_worth_a_number(wrong: Any, pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, _):
        with pytest.raises((TypeError, InvalidInput), match="the value of a tag is a number"):
            alice.tag(OTHER, "useful", wrong)
        with pytest.raises(TypeError, match="the name of a tag is text"):
            alice.protect(OTHER, 5)  # type: ignore[arg-type]  # the mistake under test


async def test_a_list_of_addresses_is_a_target(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        assert await alice.connect(bob.addresses) == bob.peer_id
        assert await alice.connect([str(bob.peer_id), *bob.addresses], bob.peer_id) == bob.peer_id
        empty: list[list[list[str]]] = [[], [[]], [[], []]]
        for targets in empty:
            with pytest.raises(InvalidInput, match="no peer to connect to"):
                await alice.connect(*targets)
        for wrong in (5, None, b"/memory/7", {"a": 1}, Host, [5], [["/memory/7"]]):
            with pytest.raises(TypeError) as caught:
                await alice.connect(wrong)  # type: ignore[arg-type]  # the mistake under test
            assert one_line(caught.value)


@pytest.mark.parametrize("count", [0, -1, 1.5, "3", None])
async def test_pings_are_counted(count: Any, pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        with pytest.raises(InvalidInput, match="count is a whole number of pings"):
            await ping(alice, bob.peer_id, count=count)


async def test_the_functions_of_protocols_name_what_they_take(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        anything: Any = bob.peer_id
        with pytest.raises(TypeError, match="the host that pings: PeerId has no method open_stream"):
            await ping(anything, bob.peer_id)
        with pytest.raises(TypeError, match="the host that measures: PeerId has no method open_stream"):
            await perf.measure(anything, bob.peer_id, upload=1, download=1)
        with pytest.raises(TypeError, match="upload and download are numbers of bytes"):
            await perf.measure(alice, bob.peer_id, upload=1.5, download=1)  # type: ignore[arg-type]
        for function in (identify.identify, identify.serve_push):
            with pytest.raises(TypeError, match="identify takes a stream: Host has no method receive_some"):
                await function(alice)  # type: ignore[arg-type]
        for send in (identify.serve, identify.push):
            with pytest.raises(TypeError, match="identify takes a stream: Host has no method send_all"):
                await send(alice, identify.Identify())  # type: ignore[arg-type]


# ---- announced addresses

NOT_ANNOUNCED = [
    ("/", "empty"),
    ("", "a multiaddr begins with '/'"),
    ("nonsense", "a multiaddr begins with '/'"),
    (f"/p2p/{OTHER}", "is an address of another peer than"),
    (f"{NAT}/p2p/{OTHER}", "is an address of another peer than"),
    ("/ip4/0.0.0.0/tcp/4001", "cannot be dialed"),
    ("/ip6/::/udp/4001/quic-v1", "cannot be dialed"),
    ("/ip6/fe80::1/tcp/4001", "needs the interface it is on"),
    ("/ip4/224.0.0.1/tcp/4001", "of a group of hosts"),
    ("/ip6/ff02::1/udp/4001/quic-v1", "of a group of hosts"),
    ("/ip6zone/eth0/ip6/ff02::1/udp/4001/quic-v1", "of a group of hosts"),
    ("/ip4/255.255.255.255/udp/4001/quic-v1", "of all hosts"),
    ("/ip4/203.0.113.1/tcp/0", "port 0 stands for any free port"),
    ("/ip4/203.0.113.1/udp/0/quic-v1", "port 0 stands for any free port"),
    ("/ip4/203.0.113.1", "names no transport"),
    ("/dns4/example.com/udp/4001", "names no transport"),
    ("/unix/run/app.sock", "never told of paths"),
]


@pytest.mark.parametrize(("text", "problem"), NOT_ANNOUNCED)
async def test_an_address_that_helps_no_peer_is_not_announced(
    text: str, problem: str, pair: Pair, autojump_clock: Clock
) -> None:
    async with pair.open() as (_, bob):
        bob.announce(NAT)
        wrongs: list[Any] = [text, [text], [NAT, text], iter([text])]
        if text.startswith("/") and "unix" not in text:
            wrongs += [Multiaddr(text), [Multiaddr(text)]]
        for wrong in wrongs:
            with pytest.raises(InvalidAddress, match=problem) as caught:
                bob.announce(wrong)
            assert one_line(caught.value)
        assert bob.announced_addresses == [Multiaddr("/memory/7"), Multiaddr(NAT)]


@pytest.mark.parametrize("wrong", [5, None, b"\x04\x01\x02\x03\x04", [5], [None], [b"/memory/1"], [[NAT]], Multiaddr])
async def test_what_is_no_address_is_not_announced(wrong: Any, pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (_, bob):
        with pytest.raises(TypeError, match=r"address(es are a list of text| is text)") as caught:
            bob.announce(wrong)
        assert one_line(caught.value)
        assert bob.announced_addresses == [Multiaddr("/memory/7")]


async def test_no_more_is_announced_than_identify_tells(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (_, bob):
        many = [f"/ip4/203.0.113.1/tcp/{port}" for port in range(1, 32)]
        with pytest.raises(InvalidAddress, match="at most 30 addresses"):
            bob.announce(many)
        bob.announce([*many[:30], *many[:30]])
        assert len(bob.announced_addresses) == 31


async def test_announced_addresses_reach_peers_in_every_form(pair: Pair, autojump_clock: Clock) -> None:
    own = Multiaddr(NAT)
    async with pair.open() as (alice, bob):
        await alice.connect(*bob.addresses)
        forms: list[Any] = [NAT, own, [NAT], (own,), {NAT}, [f"{NAT}/p2p/{bob.peer_id}"], iter([NAT, own])]
        for given in forms:
            bob.announce(given)
            assert bob.announced_addresses == [Multiaddr("/memory/7"), own]
            assert bob.addresses[-1] == Multiaddr(f"{NAT}/p2p/{bob.peer_id}")
            await trio.sleep(2)
            assert set(alice.peerstore.certified_addresses(bob.peer_id)) == {Multiaddr("/memory/7"), own}
            bob.announce([])
            await trio.sleep(2)
            assert alice.peerstore.certified_addresses(bob.peer_id) == (Multiaddr("/memory/7"),)


# ---- other addresses


async def test_one_listens_on_addresses_of_ones_own(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (_, bob):
        assert await bob.listen(f"/memory/8/p2p/{bob.peer_id}") == [Multiaddr(f"/memory/8/p2p/{bob.peer_id}")]
        with pytest.raises(InvalidAddress, match="is an address of another peer than"):
            await bob.listen(f"/memory/9/p2p/{OTHER}")
        for wrong in (5, None, ["/memory/9"], b"", Multiaddr):
            with pytest.raises((TypeError, InvalidAddress)) as caught:
                await bob.listen(wrong)  # type: ignore[arg-type]  # the mistake under test
            assert one_line(caught.value)
        with pytest.raises(InvalidAddress, match="empty"):
            await bob.listen(Multiaddr("/"))


async def test_addresses_of_a_peer_are_its_own(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        with pytest.raises(InvalidAddress, match="is an address of another peer than"):
            alice.add_addresses(bob.peer_id, ["/memory/7", f"/memory/8/p2p/{OTHER}"])
        with pytest.raises(InvalidAddress, match="says who, but not where"):
            alice.add_addresses(bob.peer_id, [f"/p2p/{bob.peer_id}"])
        assert alice.peerstore.addresses(bob.peer_id) == ()
        alice.add_addresses(bob.peer_id, f"/memory/7/p2p/{bob.peer_id}")
        assert alice.peerstore.addresses(bob.peer_id) == (Multiaddr("/memory/7"),)


class LyingListener(StreamListener):
    """A listener that says it is bound to something else than an address."""

    def __init__(self, address: Any) -> None:
        self.addresses = (address,)
        self.closed = False

    async def accept(self) -> Any:
        await trio.sleep_forever()

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("bound", ["/memory/7", None, Multiaddr("/"), Multiaddr(b"\xff\xff\x03")])
async def test_a_transport_cannot_have_nonsense_told_to_peers(bound: Any, autojump_clock: Clock) -> None:
    listener = LyingListener(bound)

    class Lying(MemoryTransport):
        async def listen(self, address: Multiaddr) -> Any:
            return listener

    async with open_host(transports=[Lying(MemoryNetwork())]) as host:
        with pytest.raises((TypeError, InvalidAddress)):
            await host.listen("/memory/7")
        assert listener.closed
        assert host.addresses == []


# ---- protocols


async def served(stream: Stream) -> None:
    await echo(stream)


def decorated(function: Callable[[Stream], Awaitable[None]]) -> Callable[[Stream], Awaitable[None]]:
    @wraps(function)
    def inner(stream: Stream) -> Awaitable[None]:
        return function(stream)

    return inner


class Server:
    async def serve(self, stream: Stream) -> None:
        await echo(stream)

    async def __call__(self, stream: Stream) -> None:
        await echo(stream)


def annotated(stream: Stream) -> Awaitable[None]:
    return echo(stream)


@pytest.mark.parametrize(
    "handler",
    [served, decorated(served), annotated, Server().serve, Server(), partial(served), lambda stream: served(stream)],
)
async def test_whatever_can_be_awaited_is_a_handler(handler: Any, pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        bob.handle("/other/1", handler)
        await alice.connect(bob.addresses)
        async with await alice.open_stream(bob.peer_id, "/other/1") as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"


def plain(stream: Stream) -> None:
    """Serve nothing."""


async def generates(stream: Stream) -> AsyncIterator[bytes]:
    yield b""


def generates_too(stream: Stream) -> Iterator[bytes]:
    yield b""


class Synchronous:
    def serve(self, stream):  # type: ignore[no-untyped-def]  # as many write it
        pass


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (plain, "plain is a plain function"),
        (partial(plain), "plain is a plain function"),
        (Synchronous().serve, "serve is a plain function"),
        (generates, "generates is a generator"),
        (generates_too, "generates_too is a generator"),
        (Server, "not the class Server"),
        (None, "not NoneType"),
        ("echo", "not str"),
        (Synchronous(), "not Synchronous"),
    ],
)
async def test_what_cannot_be_awaited_is_no_handler(
    handler: Any, problem: str, pair: Pair, autojump_clock: Clock
) -> None:
    async with pair.open() as (_, bob):
        with pytest.raises(TypeError, match=f"the handler of /other/1 must be an async function.*{problem}") as caught:
            bob.handle("/other/1", handler)
        assert one_line(caught.value)
        assert "/other/1" not in bob.protocols


@pytest.mark.parametrize("protocol", [5, None, b"/x", "", "x", "/ü", "/a\nb", "/a\x1b[31m", "/" + "x" * 139])
async def test_a_protocol_id_that_peers_refuse_is_not_served(protocol: Any, pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (_, bob):
        for change in (partial(bob.handle, protocol, echo), partial(bob.unhandle, protocol)):
            with pytest.raises((TypeError, InvalidInput), match="protocol id") as caught:
                change()
            assert one_line(caught.value)
        bob.handle("/" + "x" * 138, echo)


async def test_the_longest_protocol_id_works(pair: Pair, autojump_clock: Clock) -> None:
    longest = "/" + "x" * 138
    async with pair.open() as (alice, bob):
        bob.handle(longest, echo)
        await alice.connect(bob.addresses)
        assert (await alice.open_stream(bob.peer_id, ECHO, longest)).protocol == ECHO
        assert (await alice.open_stream(bob.peer_id, "/unknown/1", longest)).protocol == longest


# ---- observers


class Awaiting:
    async def notify(self, event: object) -> None: ...


@pytest.mark.parametrize("wrong", [5, None, print, RecordingObserver, object(), Awaiting()])
async def test_an_observer_has_notify(wrong: Any, pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        with pytest.raises(TypeError, match="an observer: ") as caught:
            alice.observe(wrong)
        assert one_line(caught.value)
        await alice.connect(bob.addresses)
    assert pair.observer.of(ConnectionOpened)
    assert not pair.observer.of(AddressesChanged)
    with pytest.raises(TypeError, match=r"an observer: "):
        async with open_host(observers=[wrong]):
            pass
    with pytest.raises(TypeError, match="observers is a list"):
        async with open_host(observers=RecordingObserver()):  # type: ignore[arg-type]
            pass


async def test_a_dial_without_an_address_still_says_so(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, _):
        with pytest.raises(DialError, match="no address of it is known"):
            await alice.open_stream(str(OTHER), ECHO)
