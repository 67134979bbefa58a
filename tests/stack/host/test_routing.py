"""Hosts that find the addresses of a peer by asking routers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.addressing import parse_address
from peerstack.stack.errors import DialError, InvalidInput, RoutingError, SameIdentity
from peerstack.stack.events import DialFailed
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.report import Attempt, Outcome
from peerstack.stack.testing import MemoryRouting
from peerstack.transports.memory import MemoryTransport

from .pair import ECHO, Pair

Clock = trio.testing.MockClock


@pytest.fixture
def pair() -> Pair:
    return Pair()


class Scripted:
    """A router that does as it is told."""

    def __init__(self, search: Callable[[PeerId], Any], name: str = "scripted") -> None:
        self.name = name
        self._search = search

    def find_peer(self, peer: PeerId) -> AsyncGenerator[Sequence[Multiaddr], None]:
        answers: AsyncGenerator[Sequence[Multiaddr], None] = self._search(peer)
        return answers


def told(record: Attempt) -> tuple[str, Outcome, str | None, str | None]:
    (stage,) = record.stages
    assert stage.name == "routing"
    return record.address, stage.outcome, stage.found, stage.error


async def test_a_peer_is_found_and_dialed(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        router, other = MemoryRouting("dht"), MemoryRouting("mdns")
        router.add(bob.peer_id, "/memory/7")
        for each in (router, other):
            alice.add_router(each)
        peer, report = await alice.connect_with_report(bob.peer_id)
        assert peer == bob.peer_id
        assert [told(record) for record in report.routings] == [
            ("router dht", Outcome.OK, "/memory/7", None),
            ("router mdns", Outcome.OK, "no address", None),
        ]
        (attempt,) = report.attempts
        assert (attempt.address, attempt.outcome) == ("/memory/7", Outcome.OK)
        assert attempt.stages[-1].name == "identify"
        assert pair.observer.of(DialFailed) == []


async def test_open_stream_finds_the_peer_too(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (_, bob):
        router = MemoryRouting()
        router.add(bob.peer_id, "/memory/7")
        async with open_host(transports=[MemoryTransport(pair.network)], routers=[router]) as carol:
            async with await carol.open_stream(bob.peer_id, ECHO) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"


async def test_routers_are_left_alone_while_a_known_address_answers(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        router = MemoryRouting()
        alice.add_router(router)
        await alice.connect(*bob.addresses)
        await alice.connect(bob.peer_id)
        assert router.asked == []


async def test_routers_are_asked_when_no_known_address_answers(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        router = MemoryRouting()
        router.add(bob.peer_id, "/memory/99", "/memory/7")
        alice.add_router(router)
        alice.add_addresses(bob.peer_id, "/memory/99")
        _, report = await alice.connect_with_report(bob.peer_id)
        assert [(item.address, item.outcome) for item in report.attempts] == [
            ("/memory/99", Outcome.FAILED),  # once
            ("/memory/7", Outcome.OK),
        ]


async def test_the_first_answer_is_dialed_and_the_other_searches_are_left(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        quick, slow = MemoryRouting("quick", delay=1), MemoryRouting("slow", delay=20)
        for router in (slow, quick):
            router.add(bob.peer_id, "/memory/7")
            alice.add_router(router)
        began = trio.current_time()
        _, report = await alice.connect_with_report(bob.peer_id)
        assert trio.current_time() - began < 2
        assert (quick.searching, slow.searching) == (0, 0)
        assert [told(record)[:3] for record in report.routings] == [
            ("router slow", Outcome.CANCELLED, "no address"),
            ("router quick", Outcome.OK, "/memory/7"),
        ]


async def test_an_answer_is_dialed_while_another_one_that_came_first_stays_silent(
    pair: Pair, autojump_clock: Clock
) -> None:
    async with pair.open() as (alice, bob):
        pair.network.bind(parse_address("/memory/66"))  # accepts, and never says a word
        bad, good = MemoryRouting("bad"), MemoryRouting("good", delay=1)
        bad.add(bob.peer_id, "/memory/66")
        good.add(bob.peer_id, "/memory/7")
        for router in (bad, good):
            alice.add_router(router)
        began = trio.current_time()
        await alice.connect(bob.peer_id)
        assert trio.current_time() - began < 2


async def test_nothing_is_found(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, _):
        unknown = Identity.generate().peer_id
        alice.add_router(MemoryRouting("dht"))
        with pytest.raises(DialError, match="no address of it is known or found by router dht") as caught:
            await alice.connect(unknown)
        assert [told(record)[1] for record in caught.value.report.routings] == [Outcome.OK]
        (event,) = pair.observer.of(DialFailed)
        assert event.report is caught.value.report


async def test_a_router_that_fails_costs_its_answer_only(
    pair: Pair, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def cannot_ask(peer: PeerId) -> AsyncGenerator[Sequence[Multiaddr], None]:
        raise RoutingError("no node is connected")
        yield []

    async def bug(peer: PeerId) -> AsyncGenerator[Sequence[Multiaddr], None]:
        raise ZeroDivisionError("oops")
        yield []

    async def strange(peer: PeerId) -> AsyncGenerator[Any, None]:
        yield 7

    async with pair.open() as (_, bob), open_host(transports=[MemoryTransport(pair.network)]) as carol:
        good = MemoryRouting("good", delay=1)
        good.add(bob.peer_id, "/memory/7")
        scripts = {"cannot": cannot_ask, "bug": bug, "strange": strange, "list": lambda peer: []}
        for name, script in scripts.items():
            carol.add_router(Scripted(script, name))
        carol.add_router(good)
        _, report = await carol.connect_with_report(bob.peer_id)
        cannot, bugged, odd, listed, _ = report.routings
        assert told(cannot) == ("router cannot", Outcome.FAILED, "no address", "no node is connected")
        assert told(bugged)[3] == "a bug: ZeroDivisionError: oops"
        assert "a bug: TypeError" in str(told(odd)[3])
        assert told(listed)[1] is Outcome.FAILED
        assert "router bug" in caplog.text


async def test_a_search_without_end_has_its_time_and_is_closed(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        slow = MemoryRouting("slow", delay=1000)
        slow.add(bob.peer_id, "/memory/7")
        alice.add_router(slow)
        began = trio.current_time()
        with pytest.raises(DialError, match="router slow: routing: the search was not over after 30 s"):
            await alice.connect(bob.peer_id)
        assert trio.current_time() - began == 30
        assert slow.searching == 0


async def test_answers_without_end_are_cut(pair: Pair, autojump_clock: Clock) -> None:
    async def flood(peer: PeerId) -> AsyncGenerator[Sequence[Multiaddr], None]:
        number = 1000
        while True:
            await trio.lowlevel.checkpoint()
            yield [parse_address(f"/memory/{number}"), parse_address(f"/memory/{number + 1}")]
            number += 2

    async with pair.open() as (alice, bob):
        alice.add_router(Scripted(flood))
        with pytest.raises(DialError) as caught:
            await alice.connect(bob.peer_id)
        assert len(caught.value.report.attempts) == 25


async def test_a_search_is_cancelled_with_its_caller(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        slow = MemoryRouting("slow", delay=20)
        slow.add(bob.peer_id, "/memory/7")
        alice.add_router(slow)
        with trio.move_on_after(1) as scope:
            await alice.connect(bob.peer_id)
        assert scope.cancelled_caught
        assert slow.searching == 0


async def test_a_router_that_was_removed_is_not_asked(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, bob):
        router = MemoryRouting()
        alice.add_router(router)
        alice.remove_router(router)
        alice.remove_router(router)
        with pytest.raises(DialError):
            await alice.connect(bob.peer_id)
        assert router.asked == []


async def test_routers_are_not_asked_for_our_own_addresses(pair: Pair, autojump_clock: Clock) -> None:
    async with pair.open() as (alice, _):
        router = MemoryRouting()
        alice.add_router(router)
        with pytest.raises(SameIdentity):
            await alice.connect(alice.peer_id)
        assert router.asked == []


async def test_what_is_no_router_is_refused(pair: Pair, autojump_clock: Clock) -> None:
    class Nameless:
        def find_peer(self, peer: PeerId) -> None: ...

    async with pair.open() as (alice, _):
        for wrong in (object(), MemoryRouting, Nameless()):
            with pytest.raises(TypeError, match="a router"):
                alice.add_router(wrong)  # type: ignore[arg-type]
    with pytest.raises((TypeError, InvalidInput)):
        async with open_host(routers=MemoryRouting()):  # type: ignore[arg-type]
            pass
