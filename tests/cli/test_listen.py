"""`listen` says where it can be reached, shows who comes and goes, and leaves quietly when it is told to."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from multiaddr import Multiaddr

from peerstack import Identity, open_host, ping
from peerstack.cli import events
from peerstack.cli.listen import Feed
from peerstack.protocols import perf
from peerstack.stack.errors import NegotiationError, StreamReset
from peerstack.stack.events import AddressesChanged, InboundRefused, ListenStopped

from .drive import cli, listening

REMOTE = Multiaddr("/ip4/127.0.0.1/tcp/1")


class Watched(io.StringIO):
    """Keeps what is written, and lets another thread wait for a line."""

    def __init__(self) -> None:
        super().__init__()
        self._more = threading.Condition()

    def write(self, text: str) -> int:
        with self._more:
            self._more.notify_all()
            return super().write(text)

    def wait_for(self, text: str) -> None:
        with self._more:
            assert self._more.wait_for(lambda: text in self.getvalue(), timeout=30), self.getvalue()


def first_address(output: str) -> str:
    address: str = json.loads(output.splitlines()[0])["addresses"][0]
    return address


async def visit(address: str) -> None:
    async with open_host(agent="visitor") as host:
        await ping(host, await host.connect(address))


def test_peers_that_come_and_go_are_shown_and_an_interrupt_ends_it(tmp_path: Path) -> None:
    out = Watched()
    key_file = tmp_path / "a.key"
    identity = Identity.generate()
    identity.save(key_file)

    def be_visited_then_interrupted() -> None:
        out.wait_for("\n")
        trio.run(visit, first_address(out.getvalue()))
        out.wait_for("disconnected")
        os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=be_visited_then_interrupted)
    visitor.start()
    ran = cli("listen", "--json", "--listen", "/ip4/127.0.0.1/tcp/0", "--identity", str(key_file), out=out)
    visitor.join()

    assert (ran.code, ran.err) == (130, "")
    listening, connected, identified, disconnected = ran.events
    peer_id = str(identity.peer_id)
    assert list(listening) == ["event", "peer_id", "addresses", "engines"]
    assert (listening["event"], listening["peer_id"]) == ("listening", peer_id)
    assert [address.endswith(f"/p2p/{peer_id}") for address in listening["addresses"]] == [True]
    assert list(connected) == ["event", "peer_id", "address", "direction", "security", "muxer"]
    assert (connected["event"], connected["direction"]) == ("connected", "inbound")
    assert list(identified) == [
        "event",
        "peer_id",
        "agent",
        "protocol_version",
        "protocols",
        "addresses",
        "observed_address",
        "signed",
    ]
    assert (identified["event"], identified["agent"]) == ("identified", "visitor")
    assert disconnected == {"event": "disconnected", "peer_id": connected["peer_id"], "reason": None}
    assert identified["peer_id"] == connected["peer_id"]


def test_several_addresses_are_all_listened_on() -> None:
    out = Watched()

    def interrupt() -> None:
        out.wait_for("\n")
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ran = cli("listen", "--json", *["--listen", "/ip4/127.0.0.1/tcp/0"] * 2, "--perf", out=out)
    thread.join()
    assert ran.code == 128 + signal.SIGTERM
    addresses = ran.events[0]["addresses"]
    assert len(set(addresses)) == 2


def test_an_interrupt_leaves_quietly_in_a_process_of_its_own() -> None:
    with listening() as (process, first):
        assert first["event"] == "listening"
        process.send_signal(signal.SIGINT)
        rest, complaints = process.communicate(timeout=30)
    assert (process.returncode, rest, complaints) == (130, "", "")


def test_a_listener_of_one_process_serves_commands_of_another() -> None:
    with listening("--perf") as (_, first):
        (address,) = first["addresses"]
        assert cli("ping", address, "--count", "1").code == 0
        assert cli("perf", address, "--upload", "1MiB", "--download", "1MiB").code == 0
        assert cli("identify", address, "--json").events[0]["agent"].startswith("peerstack/")


async def measure_beside(address: str, streams: int) -> None:
    """Measure while so many other exchanges of this peer do not end."""
    async with open_host() as host, AsyncExitStack() as stack:
        peer = await host.connect(address)
        for _ in range(streams):
            stream = await stack.enter_async_context(await host.open_stream(peer, perf.PROTOCOL))
            await stream.send_all(bytes(8))
        await perf.measure(host, peer, upload=10, download=10)


def test_a_peer_measures_once_at_a_time_with_room_for_the_next() -> None:
    with listening("--perf") as (_, first):
        (address,) = first["addresses"]
        trio.run(measure_beside, address, 1)
        with pytest.raises((NegotiationError, StreamReset)):
            trio.run(measure_beside, address, 2)


def test_without_perf_no_peer_can_measure() -> None:
    with listening() as (_, first):
        assert cli("perf", first["addresses"][0]).code == 2


def test_people_see_who_comes_in_a_line_each() -> None:
    out = Watched()

    def be_visited_then_interrupted() -> None:
        out.wait_for("/p2p/")
        trio.run(visit, out.getvalue().splitlines()[1].strip())
        out.wait_for("disconnected")
        os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=be_visited_then_interrupted)
    visitor.start()
    ran = cli("listen", "--listen", "/ip4/127.0.0.1/tcp/0", out=out)
    visitor.join()
    lines = ran.out.splitlines()
    assert [text.split()[0] for text in lines if not text.startswith(" ")] == [
        "listening",
        "connected",
        "identified",
        "disconnected",
    ]
    assert lines[-2].endswith("  visitor")


# ---- what is kept for printing


async def test_a_feed_tells_what_programs_want_to_know_and_nothing_else() -> None:
    feed = Feed()
    feed.notify(AddressesChanged(()))
    feed.notify(InboundRefused(REMOTE, "no"))
    feed.notify(ListenStopped(REMOTE, None))
    feed.notify(ListenStopped(REMOTE, "gone"))
    assert await feed.next() == [events.Refused(str(REMOTE), "no"), events.Stopped(str(REMOTE), "gone")]


async def test_a_feed_that_is_full_counts_what_it_drops() -> None:
    feed = Feed(limit=2)
    for number in range(5):
        feed.notify(InboundRefused(REMOTE, str(number)))
    kept = [events.Refused(str(REMOTE), "0"), events.Refused(str(REMOTE), "1")]
    assert await feed.next() == [*kept, events.Dropped(3)]
    feed.notify(InboundRefused(REMOTE, "later"))
    assert await feed.next() == [events.Refused(str(REMOTE), "later")]


async def test_a_feed_waits_until_something_happens(autojump_clock: Any) -> None:
    feed = Feed()
    with pytest.raises(trio.TooSlowError), trio.fail_after(10):
        await feed.next()


def test_addresses_need_no_option() -> None:
    with listening("/ip4/127.0.0.1/tcp/0/ws", "/ip4/127.0.0.1/udp/0/quic-v1") as (_, first):
        (peer,) = {address.partition("/p2p/")[2] for address in first["addresses"]}
        kinds = [address.removesuffix(f"/p2p/{peer}").rpartition("/")[2] for address in first["addresses"]]
    assert peer == first["peer_id"]
    assert sorted(kind if kind.isalpha() or "-" in kind else "tcp" for kind in kinds) == ["quic-v1", "tcp", "ws"]
