"""Bursts to peers whose queues are short go out slowly; to all others as fast as they take them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import Pacing, PubsubConfig
from peerstack.protocols.pubsub.streams.pacing import Pace, is_stock

from .parts import open_nodes, open_topics

Clock = trio.testing.MockClock


@pytest.mark.parametrize(
    ("agent", "stock"),
    [
        ("kubo/0.32.1/", True),
        ("github.com/libp2p/go-libp2p", True),
        ("github.com/someone/program@v1.2.3", True),
        ("rust-libp2p/0.45.0", True),
        ("js-libp2p/2.0.0 node/v22", True),
        ("helia/5.0.0 node/22.1.0", True),
        ("peerstack/0.1.0", False),
        ("peerstack-interop", False),
        ("Lighthouse/v5.3.0-d6ba8c3/x86_64-linux", False),
        ("py-libp2p/0.2.0", True),
        ("", False),
    ],
)
def test_stock_implementations_are_known_by_their_agent(agent: str, stock: bool) -> None:
    assert is_stock(agent) is stock


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    pace = Pace(Pacing(rate=100, burst=10), 0.0)
    assert pace.allowed(0.0) == 10
    pace.spend(10)
    assert pace.allowed(0.0) == 0
    assert pace.pause(1000) == pytest.approx(0.05)  # five at a time
    assert pace.pause(1) == pytest.approx(0.01)
    assert pace.allowed(0.05) == 5
    assert pace.allowed(100.0) == 10


@pytest.mark.parametrize("options", [{"rate": 0}, {"rate": -1}, {"rate": float("nan")}, {"burst": 0}])
def test_a_pace_that_is_none_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Pacing(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("agent", "least", "most"), [("kubo/0.32.1/", 1.9, 2.1), ("peerstack", 0.0, 0.1)])
async def test_a_burst_of_a_thousand(autojump_clock: Clock, agent: str, least: float, most: float) -> None:
    async with open_nodes(2) as (alice, bob):
        alice.host.peerstore.set_agent(bob.peer_id, agent)
        alice.pubsub._peers._set_pace(alice.pubsub._peers.streams[bob.peer_id])
        async with open_topics([alice, bob]) as (at_alice, at_bob):
            began = trio.current_time()
            arrived: list[float] = []

            async def publish() -> None:
                for number in range(1000):
                    await at_alice.publish(b"%d" % number)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(publish)
                for number in range(1000):
                    assert int((await at_bob.receive()).data) == number
                    arrived.append(trio.current_time() - began)
            assert least <= arrived[-1] <= most
            if least:
                assert sum(moment < 0.001 for moment in arrived) <= 16


async def test_pacing_may_hold_for_everyone_and_publishing_waits_for_it(autojump_clock: Clock) -> None:
    config = PubsubConfig(pacing=Pacing(rate=10, burst=1, every_peer=True))
    async with open_nodes(2, config) as nodes, open_topics(nodes) as (at_alice, at_bob):
        began = trio.current_time()
        receipts = [await at_alice.publish(b"%d" % number) for number in range(31)]
        for receipt in receipts:
            await receipt.wait_sent()
        assert trio.current_time() - began == pytest.approx(3.0, abs=0.2)
        assert len([await at_bob.receive() for _ in range(31)]) == 31


async def test_what_a_host_has_received_is_acknowledged(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, _):
        receipt = await at_alice.publish(b"hello")
        assert not receipt.acknowledged
        assert await receipt.wait_acknowledged() == (bob.peer_id,)
        assert receipt.sent == receipt.acknowledged == (bob.peer_id,)
        assert await alice.pubsub.acknowledged(bob.peer_id)
        assert not await alice.pubsub.acknowledged(alice.peer_id)


async def test_many_receipts_that_wait_share_one_question(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, _):
        (connection,) = alice.host.connections(bob.peer_id)
        asked, ask = 0, connection.wait_acknowledged

        async def count() -> None:
            nonlocal asked
            asked += 1
            await ask()

        monkeypatch.setattr(connection, "wait_acknowledged", count)
        monkeypatch.setattr(alice.pubsub._peers.streams[bob.peer_id]._acknowledge, "_question", count)
        receipts = [await at_alice.publish(b"%d" % number) for number in range(100)]
        await receipts[-1].wait_sent()
        async with trio.open_nursery() as nursery:
            for receipt in receipts:
                nursery.start_soon(receipt.wait_acknowledged)
        assert all(receipt.acknowledged == (bob.peer_id,) for receipt in receipts)
        assert 1 <= asked <= 2


@pytest.mark.parametrize("closer", ["alice", "bob"])
@pytest.mark.parametrize("after", [0.0, 1.0, 5.0, 30.0, 59.0])
async def test_what_is_not_known_to_have_arrived_is_uncertain_by_either_close(
    autojump_clock: Clock, closer: str, after: float
) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, _):
        known, unknown = [await at_alice.publish(data) for data in (b"known", b"unknown")]
        await unknown.wait_sent()
        await alice.pubsub.acknowledged(bob.peer_id)
        assert await known.wait_acknowledged() == (bob.peer_id,)
        await trio.sleep(after)
        one, other = (alice, bob) if closer == "alice" else (bob, alice)
        await one.host.disconnect(other.peer_id)
        await trio.sleep(1)
        assert (known.acknowledged, known.uncertain) == ((bob.peer_id,), ())
        assert (unknown.sent, unknown.uncertain) == ((), (bob.peer_id,))


async def test_what_a_lost_peer_never_received_is_not_acknowledged(autojump_clock: Clock) -> None:
    async with open_nodes(2) as (alice, bob), open_topics([alice, bob]) as (at_alice, _):
        (connection,) = bob.host.connections(alice.peer_id)
        receipt = await at_alice.publish(b"hello")
        await receipt.wait_sent()
        await connection._channel.aclose()  # type: ignore[attr-defined] # without a word
        assert await receipt.wait_acknowledged() == ()
        await trio.sleep(1)
        assert receipt.uncertain == (bob.peer_id,)
