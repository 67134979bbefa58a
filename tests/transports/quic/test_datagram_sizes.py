"""How large datagrams get: large on loopback alone, and nowhere larger than the peer says it takes."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.stack.addressing import parse_address
from peerstack.stack.identity import Identity
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.transports.quic import QuicConfig, QuicTransport

from .hosts import join
from .link import MemoryNetwork
from .raw import CLIENT, Attack, RawClient

NORMAL, LARGE = QuicConfig().datagram_size, QuicConfig().loopback_datagram_size
LOOPBACK: SocketAddress = ("127.0.0.1", 1111)
LOOPBACK6: SocketAddress = ("::1", 1111, 0, 0)


@pytest.mark.parametrize(
    ("source", "takes", "largest"),
    [
        (CLIENT, None, NORMAL),
        (CLIENT, 65_527, NORMAL),
        (CLIENT, 1452, NORMAL),
        (CLIENT, 1200, 1200),
        (("2001:db8::1", 1111, 0, 0), 65_527, NORMAL),
        (("192.168.0.7", 1111), 65_527, NORMAL),
        (("fe80::1", 1111, 0, 2), 65_527, NORMAL),
        (LOOPBACK, 65_527, LARGE),
        (LOOPBACK6, 65_527, LARGE),
        (LOOPBACK, 1452, 1452),
        (LOOPBACK, 1200, 1200),
        (LOOPBACK, None, NORMAL),
    ],
)
def test_a_peer_gets_what_it_and_its_path_take(source: SocketAddress, takes: int | None, largest: int) -> None:
    attack = Attack(RawClient(takes=takes), source=source).exchange()
    assert attack.connected
    before, stream = len(attack.to_client), attack.engine.open(attack.handle)
    assert stream is not None
    assert attack.engine.write(attack.handle, stream, bytes(100_000)) == 100_000
    attack.exchange()
    sizes = [len(datagram) for datagram in attack.to_client[before:]]
    assert max(sizes) == largest
    assert sum(sizes) > 100_000, "not all of it was sent"


@pytest.mark.parametrize(("host", "large"), [("10.0.0.%d", False), ("127.0.0.%d", True)])
async def test_only_loopback_ever_carries_large_datagrams(
    host: str, large: bool, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork()
    largest = max(await sizes_sent(network, host))
    assert (largest > NORMAL) is large
    assert largest <= (LARGE if large else NORMAL)


@pytest.mark.aioquic
@pytest.mark.parametrize(
    ("host", "widest", "largest"),
    [
        ("127.0.0.%d", 9217, 9216),
        ("127.0.0.%d", 9216, 9216),
        ("127.0.0.%d", 9215, NORMAL),
        ("127.0.0.%d", 1300, 1200),
        ("10.0.0.%d", 1349, 1200),
        ("10.0.0.%d", 1252, 1200),
    ],
)
async def test_what_the_system_refuses_is_sent_in_smaller_pieces(
    host: str, widest: int, largest: int, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork()
    network.widest = widest
    sizes = await sizes_sent(network, host)
    assert max(sizes) <= widest
    assert max(sizes[-20:]) == largest


async def sizes_sent(network: MemoryNetwork, host: str) -> list[int]:
    """Carry 300 kB each way, and return the bytes of the datagrams that left."""
    sizes: list[int] = []

    def measure(datagram: bytes, source: SocketAddress, destination: SocketAddress) -> bytes:
        sizes.append(len(datagram))
        return datagram

    network.tap = measure
    here, there = (QuicTransport(Identity.generate(), network=network) for _ in range(2))
    addresses = [parse_address(f"/ip4/{host % number}/udp/0/quic-v1") for number in (1, 2)]
    # Dials leave from where a transport listens: both ends are at the address under test.
    async with (
        await here.listen(addresses[0]),
        await there.listen(addresses[1]) as listener,
        trio.open_nursery() as nursery,
    ):
        near, far = await join(here, listener)
        nursery.start_soon(near.run)
        nursery.start_soon(far.run)
        stream = await near.open_stream()
        await stream.send_all(b"x")
        accepted = await far.accept_stream()
        assert await accepted.receive_some() == b"x"
        for source, sink in ((stream, accepted), (accepted, stream)):
            nursery.start_soon(source.send_all, bytes(300_000))
            received = 0
            while received < 300_000:
                received += len(await sink.receive_some())
        await near.aclose()
        await far.aclose()
    return sizes
