"""The ledger of the examples: what a cheat tries reaches no other peer, costs only the cheat, and all ledgers agree."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import trio
import trio.testing

from peerstack import Identity, open_host
from peerstack.protocols.pubsub import JsonCodec, Pubsub, PubsubMessage, open_pubsub
from peerstack.protocols.pubsub.api.events import MessageRejected
from peerstack.stack.host import Host
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

Clock = trio.testing.MockClock


def _load_example() -> Any:
    path = Path(__file__).resolve().parents[2] / "examples" / "ledger.py"
    spec = importlib.util.spec_from_file_location("ledger_example", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example = _load_example()
pay = example.Payment.make


class Peer:
    """An honest peer, and all that its reader ever got."""

    def __init__(self, host: Host, ledger: Any) -> None:
        self.host = host
        self.ledger = ledger
        self.identity = host.identity
        self.peer_id = host.peer_id
        self.read: list[Any] = []
        self.events = RecordingObserver()
        host.observe(self.events)

    async def follow(self) -> None:
        message: PubsubMessage[Any]
        async for message in self.ledger.payments:
            self.read.append(message.value)

    async def pay(self, payee: Peer, amount: int, number: int) -> None:
        await self.ledger.payments.publish(pay(self.identity, payee.peer_id, amount, number))

    def score(self, of: Peer | Cheat) -> float:
        score: float = self.ledger.pubsub.score(of.peer_id)
        return score


class Cheat:
    """One key at two places: a host that publishes whatever it likes, and more of them."""

    def __init__(self, identity: Identity, stack: AsyncExitStack, network: MemoryNetwork) -> None:
        self.identity = identity
        self.peer_id = identity.peer_id
        self._stack = stack
        self._network = network

    async def beside(self, *victims: Peer) -> Pubsub:
        """Open one more host with the key of the cheat, connected to these."""
        opened = open_host(identity=self.identity, transports=[MemoryTransport(self._network)])
        host = await self._stack.enter_async_context(opened)
        pubsub = await self._stack.enter_async_context(open_pubsub(host))
        for victim in victims:
            await host.connect(*victim.host.addresses)
        await trio.sleep(1)  # virtual: subscriptions arrive
        return pubsub


async def say(pubsub: Pubsub, payment: Any) -> None:
    receipt = await pubsub.publish(example.PAYMENTS, JsonCodec[Any](example.Payment).encode(payment))
    await receipt.wait_sent()
    assert not receipt.reached_no_peer
    await trio.sleep(1)  # virtual: what follows from it happens


@asynccontextmanager
async def open_line(count: int) -> AsyncIterator[tuple[list[Peer], Cheat]]:
    """Open honest peers, each connected to the next one only, and name a cheat who has an account, too."""
    network = MemoryNetwork()
    async with trio.open_nursery() as readers, AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(open_host(listen=["/memory/0"], transports=[MemoryTransport(network)]))
            for _ in range(count)
        ]
        cheat = Cheat(Identity.generate(), stack, network)
        grants = {str(peer_id): 100 for peer_id in (*(host.peer_id for host in hosts), cheat.peer_id)}
        ledgers = [await stack.enter_async_context(example.open_ledger(host, grants)) for host in hosts]
        peers = [Peer(host, ledger) for host, ledger in zip(hosts, ledgers, strict=True)]
        for host, following in pairwise(hosts):
            await host.connect(*following.addresses)
        for peer in peers:
            readers.start_soon(peer.follow)
        await trio.sleep(3)  # virtual: meshes are built
        yield peers, cheat


def balances(peers: list[Peer], cheat: Cheat) -> list[int]:
    """Return what all ledgers agree on: the balances of the peers, and of the cheat."""
    first, *others = [peer.ledger.balances() for peer in peers]
    assert all(other == first for other in others)
    return [first[str(peer_id)] for peer_id in (*(peer.peer_id for peer in peers), cheat.peer_id)]


def blamed(peers: list[Peer], cheat: Cheat) -> list[object]:
    """Return which messages of honest peers the others rejected, and honest peers that lost their good name."""
    rejected = [event for peer in peers for event in peer.events.of(MessageRejected) if event.peer != cheat.peer_id]
    pairs = [*pairwise(peers), *pairwise(reversed(peers))]
    return [*rejected, *(other.peer_id for peer, other in pairs if peer.score(other) < 0)]


async def test_honest_payments_reach_every_peer_once(autojump_clock: Clock) -> None:
    async with open_line(4) as (peers, cheat):
        first, second, third, fourth = peers
        await first.pay(fourth, 30, number=0)
        await third.pay(second, 100, number=0)
        await trio.sleep(3)
        assert balances(peers, cheat) == [70, 200, 0, 130, 100]
        assert [len(peer.read) for peer in peers] == [1, 2, 1, 2]


async def test_a_payment_waits_for_the_income_it_is_made_from(autojump_clock: Clock) -> None:
    async with open_line(3) as (peers, cheat):
        first, second, third = peers
        await second.pay(third, 150, number=0)
        await trio.sleep(2)
        assert balances(peers, cheat) == [100, 100, 100, 100]
        await first.pay(second, 60, number=0)
        await trio.sleep(2)
        assert balances(peers, cheat) == [40, 10, 250, 100]
        assert blamed(peers, cheat) == []


async def test_invalid_payments_are_rejected_and_cost_their_sender(autojump_clock: Clock) -> None:
    async with open_line(3) as (peers, cheat):
        first, second, third = peers
        pubsub = await cheat.beside(first)
        payment = pay(cheat.identity, first.peer_id, 10, 0)
        for bad in (
            pay(cheat.identity, first.peer_id, -10, 0),
            pay(cheat.identity, first.peer_id, 0, 0),
            pay(cheat.identity, first.peer_id, 10, -1),
            pay(cheat.identity, Identity.generate().peer_id, 10, 0),
            replace(payment, amount=90),  # the signature is for 10
            pay(second.identity, cheat.peer_id, 50, 0),  # the money of another peer
        ):
            await say(pubsub, bad)
            assert first.score(cheat) < 0
        assert [peer.read for peer in peers] == [[], [], []]
        assert balances(peers, cheat) == [100, 100, 100, 100]
        assert blamed(peers, cheat) == []
        await third.pay(first, 1, number=0)  # honest life goes on
        await trio.sleep(2)
        assert balances(peers, cheat) == [101, 100, 99, 100]


async def test_a_second_payment_with_the_same_number_reaches_no_other_peer(autojump_clock: Clock) -> None:
    async with open_line(3) as (peers, cheat):
        first, second, third = peers
        pubsub = await cheat.beside(first, second, third)
        honest, double = pay(cheat.identity, first.peer_id, 80, 0), pay(cheat.identity, third.peer_id, 80, 0)
        await say(pubsub, honest)
        assert [peer.read for peer in peers] == [[honest], [honest], [honest]]
        assert balances(peers, cheat) == [180, 100, 100, 20]
        await say(pubsub, double)
        assert [peer.read for peer in peers] == [[honest], [honest], [honest]]
        assert balances(peers, cheat) == [100, 100, 100, 100]
        assert all(peer.score(cheat) < 0 for peer in peers)
        assert blamed(peers, cheat) == []


async def test_a_cheat_who_tells_each_side_another_story_harms_none_of_those_who_believed_it(
    autojump_clock: Clock,
) -> None:
    async with open_line(4) as (peers, cheat):
        left, right = peers[0], peers[-1]
        at_left, at_right = await cheat.beside(left), await cheat.beside(right)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, at_left, pay(cheat.identity, left.peer_id, 80, 0))
            nursery.start_soon(say, at_right, pay(cheat.identity, right.peer_id, 80, 0))
        await trio.sleep(3)
        assert left.read != right.read  # each side believed its own story for a while
        assert balances(peers, cheat) == [100, 100, 100, 100, 100]
        assert left.score(cheat) < 0
        assert right.score(cheat) < 0
        assert blamed(peers, cheat) == []


async def test_a_false_accusation_is_rejected(autojump_clock: Clock) -> None:
    async with open_line(2) as (peers, cheat):
        pubsub = await cheat.beside(peers[0])
        true = pay(peers[1].identity, cheat.peer_id, 10, 0)
        for other in (true, replace(true, amount=99), pay(peers[1].identity, cheat.peer_id, 10, 1)):
            encoded = JsonCodec[Any](example.Fraud).encode(example.Fraud(true, other))
            assert not (await pubsub.publish(example.FRAUDS, encoded)).reached_no_peer
            await trio.sleep(1)
            assert peers[0].score(cheat) < 0
        assert [peer.ledger.cancelled for peer in peers] == [{}, {}]
