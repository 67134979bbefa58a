"""Peers that speak something else than a port expects: each is told why, within the deadline, and others are served."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from aioquic.quic.events import ConnectionTerminated
from multiaddr import Multiaddr

from peerstack import DialError, Host, Identity, open_host, ping
from peerstack.stack.abc import Protector, Security
from peerstack.stack.events import InboundRefused
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.stack.report import StageName
from peerstack.stack.security.noise import Noise
from peerstack.stack.security.pnet import PreSharedKey
from peerstack.stack.security.tls import Tls
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport
from peerstack.transports.quic import QuicConfig

from ..transports.quic import link
from ..transports.quic.hosts import victim_and_honest
from ..transports.quic.raw import RawClient
from .peers import until_the_end

Clock = trio.testing.MockClock
Make = Callable[[Identity], Security]
PORT = Multiaddr("/memory/7")
MULTISTREAM, USE_TLS = b"\x13/multistream/1.0.0\n", b"\x0b/tls/1.0.0\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
CONFIG = SwarmConfig()


def noise(identity: Identity) -> Security:
    return Noise(identity)


def tls(identity: Identity) -> Security:
    return Tls(identity)


@dataclass(frozen=True, slots=True)
class Port:
    """A host that listens, what it said, and how honest peers and others get there."""

    network: MemoryNetwork
    host: Host
    observer: RecordingObserver
    make: Make
    key: Protector | None

    async def serves_others(self) -> None:
        """Let an honest peer come and go."""
        await trio.testing.wait_all_tasks_blocked()
        async with dialer(self.network, self.make, self.key) as honest:
            assert await honest.connect(*self.host.addresses) == self.host.peer_id
            assert await ping(honest, self.host.peer_id) >= 0
            assert len(self.host.connections()) == 1


@asynccontextmanager
async def dialer(network: MemoryNetwork, make: Make, key: Protector | None = None) -> AsyncIterator[Host]:
    identity = Identity.generate()
    async with open_host(
        identity=identity, transports=[MemoryTransport(network)], security=[make(identity)], private_network=key
    ) as host:
        yield host


@asynccontextmanager
async def open_port(make: Make, key: Protector | None = None) -> AsyncIterator[Port]:
    network, observer, identity = MemoryNetwork(), RecordingObserver(), Identity.generate()
    async with open_host(
        listen=[PORT],
        identity=identity,
        transports=[MemoryTransport(network)],
        security=[make(identity)],
        private_network=key,
        observers=[observer],
    ) as host:
        yield Port(network, host, observer, make, key)


def failed_stage(error: DialError) -> str:
    (attempt,) = error.report.attempts
    assert attempt.failure is not None
    return attempt.failure.name


@pytest.mark.parametrize(
    ("make", "key", "pieces", "says"),
    [
        (tls, None, [HELLO], "multistream"),
        (tls, None, [b"GET / HTTP/1.1\r\n\r\n"], "multistream"),
        (tls, None, [MULTISTREAM, USE_TLS, b"GET / HTTP/1.1\r\n\r\n"], "the TLS handshake failed: "),
        (tls, None, [MULTISTREAM, USE_TLS, HELLO], "too slow in the security handshake"),
        (noise, None, [HELLO], "multistream"),
        (noise, PreSharedKey(bytes(range(32))), [MULTISTREAM], "does it have our network key"),
        (noise, PreSharedKey(bytes(range(32))), [bytes(24), MULTISTREAM], "does it have our network key"),
    ],
    ids=["hello", "http", "http for tls", "half a hello", "hello to noise", "no key", "another key"],
)
async def test_raw_bytes_of_another_kind(
    make: Make, key: Protector | None, pieces: Sequence[bytes], says: str, autojump_clock: Clock
) -> None:
    async with open_port(make, key) as port:
        began = trio.current_time()
        stream = port.network.connect(PORT).stream
        with suppress(trio.BrokenResourceError):
            for piece in pieces:
                await stream.send_all(piece)
        await until_the_end(stream)
        assert trio.current_time() - began <= CONFIG.negotiation_timeout + CONFIG.handshake_timeout
        refused = await port.observer.wait_for(InboundRefused)
        assert re.search(says, refused.reason), refused.reason
        await port.serves_others()


@pytest.mark.parametrize(("listens", "dials"), [(tls, noise), (noise, tls)], ids=["noise to tls", "tls to noise"])
async def test_a_host_with_nothing_in_common(listens: Make, dials: Make, autojump_clock: Clock) -> None:
    async with open_port(listens) as port, dialer(port.network, dials) as other:
        with pytest.raises(DialError) as caught:
            await other.connect(PORT)
        assert failed_stage(caught.value) == StageName.SECURITY_NEGOTIATION
        assert other.connections() == []
        await port.serves_others()


@pytest.mark.parametrize(
    ("answer", "stage"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", StageName.SECURITY_NEGOTIATION),
        (MULTISTREAM + USE_TLS + b"HTTP/1.1 400 Bad Request\r\n\r\n", StageName.SECURITY),
        (MULTISTREAM + USE_TLS, StageName.SECURITY),
    ],
    ids=["http", "http for tls", "nothing for tls"],
)
async def test_a_port_that_does_not_speak_tls_after_all(answer: bytes, stage: StageName, autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with await MemoryTransport(network).listen(PORT) as listener, dialer(network, tls) as victim:

        async def serve() -> None:
            accepted = await listener.accept()
            await accepted.stream.send_all(answer)
            await until_the_end(accepted.stream)

        with trio.fail_after(CONFIG.negotiation_timeout + CONFIG.handshake_timeout + 1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                with pytest.raises(DialError) as caught:
                    await victim.connect(PORT)
        assert failed_stage(caught.value) == stage


async def knock(network: link.MemoryNetwork, client: RawClient, target: SocketAddress) -> ConnectionTerminated:
    """Drive a raw client until the other side ends its connection, and return how it did. Raises TooSlowError."""
    socket = network.bind(("127.0.0.1", 0))
    client.connect(target, trio.current_time())
    with trio.fail_after(QuicConfig().handshake_timeout):
        while True:
            for datagram, _ in client.datagrams_to_send(trio.current_time()):
                socket.send([datagram], target)
            await socket.wait_readable()
            for datagram, source in socket.receive_nowait():
                client.receive_datagram(datagram, source, trio.current_time())
            while (event := client.next_event()) is not None:
                if isinstance(event, ConnectionTerminated):
                    return event
            # A close that came is only told once the draining is over, which a test need not sit through.
            if client._close_event is not None:
                return client._close_event


@pytest.mark.parametrize(
    ("client", "says"),
    [
        (lambda: RawClient(show_certificate=False), "showed no certificate"),
        (lambda: RawClient(alpn=["h3"]), "ALPN"),
    ],
    ids=["no certificate", "another ALPN"],
)
async def test_quic_handshakes_of_another_kind(
    client: Callable[[], RawClient], says: str, autojump_clock: Clock
) -> None:
    network, observer = link.MemoryNetwork(), RecordingObserver()
    async with victim_and_honest(network, observer=observer) as (victim, honest):
        (target,) = network.sockets
        told = await knock(network, client(), target)
        assert 0x100 <= told.error_code < 0x200, "an alert of TLS (RFC 9001, 4.8)"
        refused = await observer.wait_for(InboundRefused)
        assert says in refused.reason
        assert victim.connections() == []
        assert await honest.connect(*victim.addresses) == victim.peer_id
        assert await ping(honest, victim.peer_id) >= 0
