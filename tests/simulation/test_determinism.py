"""The same seed gives the same run, byte for byte, in this process and in others."""

import os
import subprocess
import sys
from contextlib import suppress
from random import Random

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr
from trio._core import _run as trio_run

from peerstack.stack.testing import LinkConditions, SimulatedNetwork, deterministic, run_deterministic, seed_scheduler


async def gossip(seed: int) -> tuple[str, str, list[str]]:
    """Let ten nodes chat at random over bad links and through a partition; return the hashes and the trace."""
    conditions = LinkConditions(latency=0.02, jitter=0.05, bandwidth=50_000, loss=0.1)
    names = [f"node{number}" for number in range(10)]
    async with SimulatedNetwork(seed, conditions) as network, trio.open_nursery() as nursery:
        listeners = {name: await network.node(name).listen(Multiaddr("/memory/0")) for name in names}

        async def serve(name: str) -> None:
            while True:
                raw = await listeners[name].accept()
                nursery.start_soon(echo, raw.stream)

        async def echo(stream: trio.abc.Stream) -> None:
            async with stream:
                async for data in stream:
                    await stream.send_all(data)

        async def chat(name: str) -> None:
            for _ in range(5):
                other = network.random.choice([one for one in names if one != name])
                raw = await network.node(name).dial(listeners[other].address)
                async with raw.stream:
                    await raw.stream.send_all(network.random.randbytes(network.random.randrange(1, 5000)))
                    await raw.stream.receive_some()

        for name in names:
            nursery.start_soon(serve, name)
        async with trio.open_nursery() as chats:
            for name in names:
                chats.start_soon(chat, name)
            await trio.sleep(0.3)
            network.partition(names[:4], names[4:])
            await trio.sleep(2)
            network.heal()
        nursery.cancel_scope.cancel()
    trace = [event.line() for event in network.trace.events]
    return network.trace_hash(), network.trace_hash(contents=False), trace


def test_the_same_seed_gives_the_same_trace() -> None:
    first, again = (run_deterministic(gossip, 42, seed=42) for _ in range(2))
    assert first[2] == again[2]
    assert first == again
    assert len(first[2]) > 200


def test_another_seed_gives_another_trace() -> None:
    assert run_deterministic(gossip, 42, seed=42)[:2] != run_deterministic(gossip, 43, seed=43)[:2]


def test_the_scheduler_alone_makes_a_difference() -> None:
    """Else a seeded scheduler would prove nothing."""
    assert len({run_deterministic(gossip, 42, seed=seed)[0] for seed in range(5)}) > 1


def test_the_hash_without_contents_covers_all_but_the_bytes() -> None:
    async def send(data: bytes) -> tuple[str, str]:
        async with SimulatedNetwork(1) as network:
            listener = await network.node("bob").listen(Multiaddr("/memory/1"))
            raw = await network.node("alice").dial(listener.address)
            await raw.stream.send_all(data)
            await trio.testing.wait_all_tasks_blocked()
            return network.trace_hash(), network.trace_hash(contents=False)

    one, other, longer = (run_deterministic(send, data, seed=1) for data in (b"one", b"two", b"three"))
    assert one[0] != other[0]
    assert one[1] == other[1] != longer[1]


@pytest.mark.slow
def test_other_processes_with_other_hash_seeds_agree() -> None:
    code = (
        "import runpy, sys; from peerstack.stack.testing import run_deterministic;"
        f"gossip = runpy.run_path({__file__!r})['gossip'];"
        "print(run_deterministic(gossip, 7, seed=7)[0])"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }
    assert hashes == {run_deterministic(gossip, 7, seed=7)[0] + "\n"}


def test_trio_still_has_the_names_that_seeding_needs() -> None:
    names = vars(trio_run)
    assert isinstance(names[deterministic._RANDOM], Random)
    assert isinstance(names[deterministic._DETERMINISTIC], bool)


def test_seeding_is_undone_afterwards() -> None:
    names = vars(trio_run)
    before = names["_r"].getstate(), names["_ALLOW_DETERMINISTIC_SCHEDULING"]
    with suppress(KeyError), seed_scheduler(1):
        assert names["_ALLOW_DETERMINISTIC_SCHEDULING"] is True
        assert names["_r"].random() == Random(1).random()
        raise KeyError
    assert (names["_r"].getstate(), names["_ALLOW_DETERMINISTIC_SCHEDULING"]) == before


def test_seeding_works_where_trio_always_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(trio_run), "_ALLOW_DETERMINISTIC_SCHEDULING")
    with seed_scheduler(1):
        assert "_ALLOW_DETERMINISTIC_SCHEDULING" not in vars(trio_run)
    assert "_ALLOW_DETERMINISTIC_SCHEDULING" not in vars(trio_run)
