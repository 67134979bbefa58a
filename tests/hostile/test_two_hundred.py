"""Two hundred hostile peers of every kind over real TCP, and one honest peer who notices nothing of it."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
import trio

from peerstack import open_host
from peerstack.stack.abc import Stream
from peerstack.stack.events import ConnectionClosed, HandlerFailed, InboundRefused, ListenStopped
from peerstack.stack.host import Host
from peerstack.stack.muxing import yamux
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.swarm.streams import LINES_AT_ONCE
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.tcp import TcpTransport

from .attacks import ATTACKS, Attack, Cost

HOSTILE = 200
# Attackers, host and friends share one thread, which floods may keep for seconds on a busy machine: deadlines are long
# enough for that, and those of the friends longer still, so that only the host decides.
DEADLINES = SwarmConfig(
    negotiation_timeout=8, handshake_timeout=8, inbound_timeout=10, stream_timeout=8, raise_handler_errors=True
)
KEEPALIVE = yamux.Config(keepalive_interval=2, keepalive_timeout=8)
PATIENCE = SwarmConfig(connect_timeout=40, negotiation_timeout=40, handshake_timeout=40, hook_timeout=40)


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def never_read(stream: Stream) -> None:
    await trio.sleep_forever()


class Siege:
    """A host, those who attack it, and those who only want to talk."""

    def __init__(self, victim: Host, observer: RecordingObserver) -> None:
        self.victim = victim
        self.observer = observer
        self.fallen: Counter[Cost] = Counter()
        self.arrived = 0
        self.in_place = trio.Event()
        self.exchanges = 0

    async def attack(self, attack: Attack) -> None:
        raw = await TcpTransport().dial(self.victim.swarm.listen_addresses[0])
        self.arrived += 1
        if self.arrived == HOSTILE:
            self.in_place.set()
        async with raw.stream:
            try:
                await attack.run(raw.stream)
            except* (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # cut off, in the midst of it

    async def exchange(self, host: Host, size: int = 100_000) -> None:
        await host.connect(*self.victim.addresses)
        async with await host.open_stream(self.victim.peer_id, "/echo/1") as stream, trio.open_nursery() as nursery:

            async def send() -> None:
                await stream.send_all(bytes(size))
                await stream.send_eof()

            nursery.start_soon(send)
            assert len(b"".join([bytes(data) async for data in stream])) == size
        self.exchanges += 1

    async def talk_until_it_is_over(self, friend: Host, expected: int) -> None:
        """Exchange data, each time over the old connection and over a new one, until all attackers were cut off.

        At least twice, on machines where that is over before the first exchanges are.
        """
        rounds = 0
        while len(self.cut_off) < expected or rounds < 2:
            rounds += 1
            async with open_host(swarm=PATIENCE) as newcomer:
                await self.exchange(newcomer)
            await self.exchange(friend)

    @property
    def cut_off(self) -> list[InboundRefused | ConnectionClosed]:
        lost = [event for event in self.observer.of(ConnectionClosed) if event.reason is not None]
        return [*self.observer.of(InboundRefused), *lost]


@pytest.mark.slow
async def test_two_hundred_hostile_peers_beside_one_honest_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "peerstack.stack.swarm")
    observer = RecordingObserver()
    chosen = [ATTACKS[number % len(ATTACKS)] for number in range(HOSTILE)]
    expected = sum(attack.cost is not Cost.STREAM for attack in chosen)
    with trio.fail_after(50):
        async with (
            open_host(
                listen=["/ip4/127.0.0.1/tcp/0"],
                observers=[observer],
                swarm=DEADLINES,
                muxers=[yamux.Yamux(KEEPALIVE)],
            ) as victim,
            open_host(swarm=PATIENCE) as friend,
        ):
            victim.handle("/echo/1", echo)
            victim.handle("/sink/1", never_read)
            siege = Siege(victim, observer)
            await siege.exchange(friend)
            async with trio.open_nursery() as nursery:
                for attack in chosen:
                    nursery.start_soon(siege.attack, attack)
                await siege.in_place.wait()
                await siege.talk_until_it_is_over(friend, expected)
                nursery.cancel_scope.cancel()
            # Those who lost a stream only have been connected until now.
            while set(victim.peers) != {friend.peer_id}:
                await observer.wait_for(ConnectionClosed, count=len(observer.of(ConnectionClosed)) + 1)
            # Streams of those who are gone have a moment left.
            while (statistics := victim.statistics().swarm).limits["transient"]:
                await siege.exchange(friend)
            await siege.exchange(friend)
            assert statistics.limits["system"]["connections"] == statistics.connections == 1
            assert siege.exchanges >= 6
    assert statistics.limits["receive windows"]["used"] <= 2**20
    assert observer.of(HandlerFailed) == []
    assert [event.error for event in observer.of(ListenStopped)] == [None]
    assert all(record.levelno == logging.DEBUG for record in caplog.records)
    assert len(caplog.records) <= HOSTILE * (1 + LINES_AT_ONCE)
