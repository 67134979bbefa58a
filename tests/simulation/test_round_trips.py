"""How many round trips each way of connecting takes, counted on a simulated network, against the ideal of its specs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest
import trio

from peerstack import open_host
from peerstack.protocols.ping import ping
from peerstack.stack.abc import Muxer, Security, StreamTransport
from peerstack.stack.events import ConnectionOpened, Event
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity
from peerstack.stack.muxing.mplex import Mplex
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.security.noise import Noise
from peerstack.stack.security.plaintext import InsecurePlaintext
from peerstack.stack.security.pnet import PreSharedKey
from peerstack.stack.security.tls import Tls
from peerstack.stack.testing import LinkConditions, SimulatedNetwork, run_deterministic
from peerstack.transports.quic import QuicTransport
from peerstack.transports.websocket import WebSocketTransport, client_context, server_context

from ..transports.quic.link import MemoryNetwork
from ..transports.websocket.certificates import Authority
from ..transports.websocket.in_memory import LikeTcp

LATENCY = 0.1
ROUND_TRIP = 2 * LATENCY
ALLOWED = 2
"""How many times the ideal is good enough."""

HostBlock = AbstractAsyncContextManager[Host]


@dataclass(frozen=True, slots=True)
class Counted:
    """Round trips from the dial on: until the dialer has its connection, and until its first ping is answered.

    Hosts ping whom they have identified, which the ideal does not need: that is a round trip of the second number.
    """

    connected: float
    answered: float


class FirstConnection:
    """An observer that knows when the first connection was there."""

    at = math.inf

    def notify(self, event: Event) -> None:
        if isinstance(event, ConnectionOpened):
            self.at = min(self.at, trio.current_time())


def noise(identity: Identity) -> Security:
    return Noise(identity)


def tls(identity: Identity) -> Security:
    return Tls(identity)


def plaintext(identity: Identity) -> Security:
    return InsecurePlaintext(identity, for_tests_only=True)


@dataclass(frozen=True, slots=True)
class Way:
    """A way of connecting over a stream transport, and the fewest round trips in which its specs let it be done.

    The connection takes one round trip, as TCP's SYN does. Multistream-select lets the dialer send its one proposal
    with the first message of what it proposes, so that choosing a protocol costs nothing of its own; a muxer named in
    the security handshake costs nothing either. What the dialer sends last goes together with the ping.
    """

    name: str
    ideal: Counted
    why: str
    security: Callable[[Identity], Security] = noise
    muxer: Callable[[], Muxer] = Yamux
    address: str = "/memory/4001"
    private: bool = False


WAYS = [
    Way("noise+yamux", Counted(2, 3), "TCP 1, Noise XX 1 and a message that goes with the ping"),
    Way("tls+yamux", Counted(2, 3), "TCP 1, TLS 1.3 1 and a message that goes with the ping", tls),
    Way("noise+mplex", Counted(2, 3), "TCP 1, Noise XX 1: the muxer makes no difference", muxer=Mplex),
    Way("plaintext+yamux", Counted(2, 3), "TCP 1, the exchange 1; the muxer's choice goes with the ping", plaintext),
    Way("pnet+noise+yamux", Counted(2, 3), "TCP 1, Noise XX 1; each side's nonce goes with its first", private=True),
    Way("ws+noise+yamux", Counted(3, 4), "TCP 1, HTTP upgrade 1, Noise XX 1", address="/ip4/127.0.0.1/tcp/4001/ws"),
    Way("wss+noise+yamux", Counted(4, 5), "TCP 1, TLS 1.3 1, HTTP 1, Noise 1", address="/ip4/127.0.0.1/tcp/4001/wss"),
]
QUIC_IDEAL = Counted(1, 2)
"""Transport, security and muxer are one handshake of one round trip; the ping goes with the dialer's Finished."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def count(listening: HostBlock, dialing: HostBlock, opened: FirstConnection) -> Counted:
    """Dial and ping between idle hosts, the dialer's observer being `opened`, and return what it took."""
    async with listening as bob, dialing as alice:
        begun = trio.current_time()
        await alice.connect(*bob.addresses)
        await ping(alice, bob.peer_id)
        answered = trio.current_time()
    return Counted(round((opened.at - begun) / ROUND_TRIP, 3), round((answered - begun) / ROUND_TRIP, 3))


async def count_streams(way: Way, authority: Authority) -> Counted:
    opened = FirstConnection()
    certificate, key = authority.issue("127.0.0.1")
    private = PreSharedKey(bytes(range(32))) if way.private else None

    def host(node: StreamTransport, listen: Sequence[str]) -> HostBlock:
        identity = Identity.generate()
        websocket = WebSocketTransport(
            LikeTcp(node), server_tls=server_context(certificate, key), client_tls=client_context(authority.file)
        )
        return open_host(
            listen=listen,
            identity=identity,
            transports=[node, websocket],
            security=[way.security(identity)],
            muxers=[way.muxer()],
            private_network=private,
            observers=[] if listen else [opened],
        )

    async with SimulatedNetwork(1, LinkConditions(latency=LATENCY)) as network:
        return await count(host(network.node("bob"), [way.address]), host(network.node("alice"), []), opened)


async def count_quic() -> Counted:
    network, opened = MemoryNetwork(latency=LATENCY), FirstConnection()

    def host(*listen: str) -> HostBlock:
        identity = Identity.generate()
        quic = QuicTransport(identity, network=network)
        observers = [] if listen else [opened]
        return open_host(listen=listen, identity=identity, transports=[], native_transports=[quic], observers=observers)

    return await count(host("/ip4/127.0.0.1/udp/0/quic-v1"), host(), opened)


def check(counted: Counted, ideal: Counted) -> None:
    assert ideal.connected <= counted.connected <= ALLOWED * ideal.connected
    assert ideal.answered <= counted.answered <= ALLOWED * ideal.answered


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_handshake_takes_at_most_twice_the_ideal(way: Way, authority: Authority) -> None:
    counted = run_deterministic(count_streams, way, authority, seed=1)
    check(counted, way.ideal)


def test_quic_takes_at_most_twice_the_ideal() -> None:
    counted = run_deterministic(count_quic, seed=1)
    check(counted, QUIC_IDEAL)
