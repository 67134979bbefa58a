"""What QUIC answers to an address that is not validated, and may be a victim's: at most three times what it sent."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import Host, Identity, PeerId, ping
from peerstack.stack.abc import ConnectionInfo
from peerstack.stack.events import InboundRefused
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.testing import RecordingObserver

from ..transports.quic.hosts import victim_and_honest
from ..transports.quic.link import MemoryNetwork, MemorySocket
from ..transports.quic.raw import RawClient

Clock = trio.testing.MockClock
Attack = Iterator[tuple[float, list[bytes]]]
"""Seconds to wait before each volley, and the datagrams in it."""
DEADLINE = SwarmConfig().inbound_timeout
NOTHING = "the peer did not finish the handshake in time"


def initials(count: int = 1, *, alpn: str = "libp2p", pause: float = 0.0) -> Attack:
    """Begin a handshake, again and again with the same words, and never go on."""
    client = RawClient(alpn=[alpn])
    client.connect(("192.0.2.2", 2222), trio.current_time())
    first = [datagram for datagram, _ in client.datagrams_to_send(trio.current_time())]
    for number in range(count):
        yield pause if number else 0, first


def unreadable(count: int, *, version: int = 1) -> Attack:
    """Send what looks like the beginning of connections, from its headers."""
    for number in range(count):
        head = b"\xc3" + version.to_bytes(4, "big") + b"\x08" + number.to_bytes(8, "big") + b"\x08" + bytes(8)
        yield 0, [(head + b"\x00\x44\x96").ljust(1200, b"\x55")]


def unknown(count: int) -> Attack:
    """Send what looks like packets of unknown connections."""
    for number in range(count):
        yield 0, [b"\x41" + number.to_bytes(8, "big") + bytes(60)]


@dataclass
class Shut:
    """A gater that refuses one port."""

    port: str = ""

    def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
        return True

    def allow_accept(self, remote_address: Multiaddr) -> bool:
        return remote_address.value_for_protocol("udp") != self.port

    def allow_connection(self, info: ConnectionInfo) -> bool:
        return True


@dataclass
class Field:
    """A host that listens, an honest one, and an attacker's socket whose datagrams are counted."""

    victim: Host
    honest: Host
    observer: RecordingObserver
    gater: Shut
    attacker: MemorySocket
    target: SocketAddress
    came: list[int] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)

    def watch(self, datagram: bytes, source: SocketAddress, destination: SocketAddress) -> bytes | None:
        if source == self.attacker.address:
            self.came.append(len(datagram))
        elif destination == self.attacker.address:
            self.answered.append(len(datagram))
            return None
        return datagram

    async def run(self, attack: Attack) -> None:
        for pause, datagrams in attack:
            await trio.sleep(pause)
            self.attacker.send(datagrams, self.target)

    async def serves_others(self) -> None:
        assert await self.honest.connect(*self.victim.addresses) == self.victim.peer_id
        assert await ping(self.honest, self.victim.peer_id) >= 0
        assert len(self.victim.connections()) == 1


@pytest.fixture(scope="module")
def wordy() -> Identity:
    """Return an identity whose certificate fills what may be said to an address that is not proved."""
    return Identity.generate("rsa", bits=3072)


@asynccontextmanager
async def attacked(identity: Identity) -> AsyncIterator[Field]:
    network, observer, gater = MemoryNetwork(), RecordingObserver(), Shut()
    async with victim_and_honest(network, identity=identity, observer=observer, gater=gater) as (victim, honest):
        (target,) = network.sockets
        battle = Field(victim, honest, observer, gater, network.bind(("127.0.0.1", 0)), target)
        network.tap = battle.watch
        yield battle


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (initials, NOTHING),
        (lambda: initials(5, pause=1), NOTHING),
        (lambda: initials(alpn="h3"), "QUIC handshake.*ALPN"),
        (lambda: unreadable(1), NOTHING),
        (lambda: unreadable(500), "our limit of 128 inbound connections"),
        (lambda: unreadable(1000, version=0xFF00001D), None),
        (lambda: unknown(1000), None),
    ],
    ids=[
        "falls silent",
        "repeats itself",
        "another ALPN",
        "an unreadable beginning",
        "many unreadable beginnings",
        "unknown versions",
        "forgotten connections",
    ],
)
async def test_unverified_peers_are_answered_less_than_three_times_and_others_served(
    attack: Callable[[], Attack], says: str | None, wordy: Identity, autojump_clock: Clock
) -> None:
    async with attacked(wordy) as battle:
        began = trio.current_time()
        await battle.run(attack())
        if says is not None:
            refused = await battle.observer.wait_for(InboundRefused)
            assert trio.current_time() - began <= DEADLINE + 0.1
            assert re.search(says, refused.reason), refused.reason
        await trio.sleep(2 * DEADLINE)
        assert battle.came
        assert sum(battle.answered) <= 3 * sum(battle.came)
        assert len(battle.answered) <= 200, "answers to addresses that are not validated are bounded"
        assert battle.victim.connections() == []
        await battle.serves_others()


async def test_who_is_refused_is_told_so_in_fewer_bytes(wordy: Identity, autojump_clock: Clock) -> None:
    async with attacked(wordy) as battle:
        battle.gater.port = str(battle.attacker.address[1])
        await battle.run(initials())
        assert "gater refuses" in (await battle.observer.wait_for(InboundRefused)).reason
        (answer,) = battle.answered
        assert answer < sum(battle.came)
        await battle.serves_others()
