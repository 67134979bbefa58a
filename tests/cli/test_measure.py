"""`ping` counts what is lost and goes on; `perf` says why a transfer did not come to its end."""

from __future__ import annotations

import struct
import threading
from functools import partial

import pytest
import trio

from peerstack import Host, Stream
from peerstack.protocols import perf, ping

from .drive import Peer, cli, serving


async def never_answer(stream: Stream) -> None:
    await trio.sleep_forever()


async def refuse(stream: Stream) -> None:
    stream.reset()


def test_a_ping_without_an_answer_is_lost_and_the_exit_code_tells() -> None:
    with serving(lambda host: host.handle(ping.PROTOCOL, never_answer)) as peer:
        ran = cli("ping", peer.address, "--count", "2", "--interval", "0", "--timeout", "0.01", "--json")
    assert (ran.code, ran.err) == (1, "")
    _, *lost, summary = ran.events
    assert lost == [{"event": "lost", "seq": seq, "reason": "no answer within 0.01 s"} for seq in (1, 2)]
    assert summary == {
        "event": "summary",
        "sent": 2,
        "received": 0,
        "rtt_ms": {"min": None, "median": None, "max": None},
    }


def test_after_a_lost_ping_the_next_one_begins_anew() -> None:
    streams = 0

    async def lose_the_first(stream: Stream) -> None:
        nonlocal streams
        streams += 1
        await (refuse if streams == 1 else ping.serve)(stream)

    with serving(lambda host: host.handle(ping.PROTOCOL, lose_the_first)) as peer:
        ran = cli("ping", peer.address, "--count", "3", "--interval", "0", "--json")
    assert ran.code == 0
    assert [event["event"] for event in ran.events] == ["connected", "lost", "pong", "pong", "summary"]
    assert ran.events[1]["reason"]
    assert (ran.events[-1]["sent"], ran.events[-1]["received"]) == (3, 2)
    assert streams == 2


def test_the_stream_of_a_lost_ping_is_reset_at_once() -> None:
    first_ended = threading.Event()

    async def answer_when_the_first_stream_has_ended(stream: Stream) -> None:
        if first_ended.is_set():
            await ping.serve(stream)
            return
        try:
            async for _ in stream:
                pass
        except trio.BrokenResourceError:
            first_ended.set()

    with serving(lambda host: host.handle(ping.PROTOCOL, answer_when_the_first_stream_has_ended)) as peer:
        ran = cli("ping", peer.address, "--count", "20", "--interval", "0", "--timeout", "0.1", "--json")
    assert ran.events[-1]["received"] > 0


def test_pings_go_on_after_the_connection_is_lost() -> None:
    seen = 0

    def configure(host: Host) -> None:
        # Without identify the address that was dialed is all that is known of the peer.
        host.unhandle("/ipfs/id/1.0.0")

        async def hang_up_on_the_second(stream: Stream) -> None:
            nonlocal seen
            seen += 1
            if seen == 1:
                await stream.send_all(await stream.receive_some(32))
                await host.disconnect(stream.remote_peer)
            else:
                await ping.serve(stream)

        host.handle(ping.PROTOCOL, hang_up_on_the_second)

    with serving(configure) as peer:
        ran = cli("ping", peer.address, "--count", "3", "--interval", "0.01", "--json")
    assert ran.code == 0
    assert ran.events[1]["event"] == "pong"
    assert ran.events[-2]["event"] == "pong"
    assert seen == 2


def test_the_median_is_of_the_answers() -> None:
    with serving() as peer:
        pongs = cli("ping", peer.address, "--count", "4", "--interval", "0", "--json").events[1:]
    times = sorted(event["rtt_ms"] for event in pongs[:-1])
    assert pongs[-1]["rtt_ms"]["median"] == pytest.approx((times[1] + times[2]) / 2, abs=0.001)


def test_a_limit_of_the_peer_ends_the_transfer_with_advice() -> None:
    small = partial(perf.serve, config=perf.PerfConfig(max_download=10))
    with serving(lambda host: host.handle(perf.PROTOCOL, small)) as peer:
        ran = cli("perf", peer.address, "--upload", "0", "--download", "1MiB")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("peerstack: the peer ended the transfer (")
    assert ran.err.endswith("it may have a limit, so try smaller sizes\n")


def test_a_peer_that_sends_too_little_is_reported() -> None:
    async def cheat(stream: Stream) -> None:
        async for _ in stream:
            pass
        await stream.send_all(struct.pack(">Q", 0))

    with serving(lambda host: host.handle(perf.PROTOCOL, cheat)) as peer:
        ran = cli("perf", peer.address, "--upload", "0", "--download", "9", "--json")
    assert ran.code == 2
    assert ran.events[-1]["message"] == "asked for 9 bytes, but the peer sent 8"


def test_people_see_both_rates(peer: Peer) -> None:
    ran = cli("perf", peer.address, "--upload", "1MiB", "--download", "2MB")
    assert ran.code == 0
    upload, download = ran.out.splitlines()[-2:]
    assert upload.startswith("upload    1 MiB in ")
    assert download.startswith("download  1.9 MiB in ")
    assert [text.endswith(" MiB/s") for text in (upload, download)] == [True, True]


def test_nothing_at_all_can_be_moved(peer: Peer) -> None:
    ran = cli("perf", peer.address, "--upload", "0", "--download", "0", "--json")
    assert ran.code == 0
    assert ran.events[1:] == [{"event": "summary", "upload_mib_s": None, "download_mib_s": None}]
