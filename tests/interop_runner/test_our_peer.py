"""Our own program of the contract: the whole matrix against itself, the benchmarks, and what it answers to nonsense."""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from interop.matrix import KEY_TYPES, Direction, Outcome, run_pair
from interop.peer import CommandFailed, Peer
from interop.pubsub_matrix import run_pubsub
from interop.pubsub_rows import ROWS, STRICT
from interop.run import OURS, program
from interop.transport_matrix import COMBINATIONS, run_transports

ARGV = program(OURS).argv

pytestmark = pytest.mark.slow


@asynccontextmanager
async def two_peers() -> AsyncIterator[tuple[Peer, Peer]]:
    async with Peer("listener", ARGV, key_type="ed25519") as listener:
        async with Peer("dialer", ARGV, key_type="ed25519") as dialer:
            await dialer.call("connect", address=listener.address)
            yield dialer, listener


def run(*arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ARGV, *arguments], input=lines, capture_output=True, text=True, timeout=60, check=False)


def answers(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("key_type", KEY_TYPES)
async def test_every_row_holds_with_itself(key_type: str) -> None:
    ours = program(OURS)
    # Both sides are the same program, so that one direction says it all; both are run once.
    directions = tuple(Direction) if key_type == "ed25519" else (Direction.OURS_DIALS,)
    cells, versions = await run_pair(ours, ours, [key_type], directions=directions)
    assert [cell for cell in cells if cell.outcome is not Outcome.OK] == []
    assert versions[OURS].startswith("peerstack ")


async def test_every_row_holds_with_itself_over_other_transports() -> None:
    ours = program(OURS)
    chosen = [layers for layers in COMBINATIONS if layers.security != "noise" or layers.private]
    cells, _ = await run_transports(ours, [ours], combinations=chosen, directions=[Direction.OURS_DIALS])
    assert [cell for cell in cells if cell.outcome is not Outcome.OK] == []


async def test_every_publish_subscribe_row_holds_with_itself() -> None:
    ours = program(OURS)
    cells, _ = await run_pubsub(ours, [ours], ["ed25519"], both_ways=False, at_once=3)
    assert [cell for cell in cells if cell.outcome is not Outcome.OK] == []
    assert {cell.place.row for cell in cells} == set(ROWS)
    assert len(cells) == len(ROWS)


async def test_publishing_to_no_peer_is_no_error_and_nonsense_is() -> None:
    async with Peer("alone", ARGV, key_type="ed25519", options=STRICT) as peer:
        answer = await peer.call("publish", topic="t", count=3, bytes=10)
        assert (answer["published"], answer["failed"], answer["first_error"]) == (3, 0, None)
        answer = await peer.call("publish", topic="", count=2, bytes=10)
        assert (answer["published"], answer["failed"]) == (0, 2)
        with pytest.raises(CommandFailed, match="below 0"):
            await peer.call("publish", topic="t", start=-1)


async def test_topics_are_refused_where_publish_subscribe_is_off() -> None:
    async with Peer("off", ARGV, key_type="ed25519") as peer:
        with pytest.raises(CommandFailed, match="started without --pubsub"):
            await peer.call("subscribe", topic="t")


async def test_benchmarks_of_one_connection() -> None:
    async with two_peers() as (dialer, listener):
        peer = listener.peer_id
        moved = await dialer.call("perf", peer=peer, upload=3_000_000, download=0, chunk=262_144)
        assert moved["upload_seconds"] > 0
        moved = await dialer.call("perf", peer=peer, upload=0, download=3_000_000, chunk=262_144)
        assert moved["download_seconds"] > 0
        assert (await dialer.call("bench_streams", peer=peer, count=50, concurrency=7))["seconds"] > 0
        assert (await dialer.call("streams", peer=peer, count=1000, bytes=10))["completed"] == 1000


async def test_benchmarks_of_many_connections() -> None:
    async with two_peers() as (dialer, listener):
        address = listener.address
        assert (await dialer.call("bench_dial", address=address, count=5, concurrency=1))["seconds"] > 0
        assert (await dialer.call("bench_dial", address=address, count=10, concurrency=3))["seconds"] > 0
        assert (await dialer.call("idle_connections", address=address, count=20))["open"] == 20


async def test_who_is_not_connected_cannot_be_asked() -> None:
    async with two_peers() as (dialer, listener):
        await dialer.call("disconnect", peer=listener.peer_id)
        with pytest.raises(CommandFailed, match="not connected"):
            await dialer.call("identify", peer=listener.peer_id)


def test_nonsense_is_answered_by_errors_and_the_end_of_input_ends_it() -> None:
    lines = [
        "no JSON",
        "[]",
        '{"op":"ping"}',
        '{"id":1,"op":"fly"}',
        '{"id":2,"op":"ping","peer":7}',
        '{"id":3,"op":"ping"}',
    ]
    done = run(lines="\n".join(lines))
    hello, *replies = answers(done)
    assert (done.returncode, hello["event"], hello["implementation"]) == (0, "listening", "peerstack")
    assert all(reply["ok"] is False and "\n" not in reply["error"] for reply in replies)
    assert {reply["id"] for reply in replies} <= {None, 1, 2, 3}


def test_exit_is_answered_and_obeyed() -> None:
    done = run(lines='{"id":9,"op":"exit"}\n{"id":10,"op":"exit"}\n')
    assert (done.returncode, answers(done)[1:]) == (0, [{"id": 9, "ok": True}])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--key-type", "dsa"),
        ("--listen", "/ip4/127.0.0.1/udp/0"),
        ("--listen", "/ip4/127.0.0.1/tcp/0/tls/ws"),
        ("--security", "plaintext"),
        ("--muxer", "spdy"),
        ("--pubsub", "episub"),
        ("--pubsub-sign", "lax"),
    ],
)
def test_what_it_cannot_do_it_says(arguments: tuple[str, str]) -> None:
    done = run(*([] if arguments[0] == "--pubsub" else STRICT), *arguments)
    (event,) = answers(done)
    assert (done.returncode, event["event"]) == (3, "unsupported")
    assert arguments[1] in event["what"]
