"""Hosts over WebSocket: addresses, names, orderly ends, and a listener that no client holds up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256

import pytest
import trio
import trio.testing

from peerstack import open_host
from peerstack.protocols.ping import ping
from peerstack.stack.abc import Stream, StreamTransport
from peerstack.stack.addressing import Resolver, parse_address, tcp_endpoint
from peerstack.stack.errors import DialError, InvalidAddress, RemoteProtocolError
from peerstack.stack.events import ConnectionClosed, InboundRefused
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.websocket import WebSocketTransport, client_context, server_context

from .certificates import Authority
from .in_memory import MemoryTcp

PLAIN = "/ip4/127.0.0.1/tcp/0/ws"


def plain() -> WebSocketTransport:
    return WebSocketTransport(TcpTransport())


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> WebSocketTransport:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    return WebSocketTransport(
        TcpTransport(),
        server_tls=server_context(*authority.issue("127.0.0.1", "node.example.org")),
        client_tls=client_context(authority.file),
    )


@pytest.mark.parametrize("listen", [PLAIN, "/ip4/127.0.0.1/tcp/0/tls/ws", "/ip4/127.0.0.1/tcp/0/wss"])
async def test_hosts_meet_and_say_where(listen: str, secure: WebSocketTransport) -> None:
    suffix = listen.partition("/tcp/0")[2]
    async with (
        open_host(listen=[listen], transports=[TcpTransport(), secure]) as alice,
        open_host(transports=[TcpTransport(), secure]) as bob,
    ):
        (address,) = alice.addresses
        assert str(address).endswith(f"{suffix}/p2p/{alice.peer_id}")
        assert "/tcp/0/" not in str(address)
        assert await bob.connect(address) == alice.peer_id
        assert await ping(bob, alice.peer_id) > 0
        (dialed,), (accepted,) = bob.connections(), alice.connections()
        assert str(address).startswith(str(dialed.info.remote_address))
        assert accepted.info.remote_address == dialed.info.local_address
        assert str(accepted.info.remote_address).endswith(suffix)


async def test_unspecified_addresses_are_listed_out() -> None:
    async with open_host(listen=["/ip4/0.0.0.0/tcp/0/ws"], transports=[plain()]) as host:
        assert host.addresses
        for address in host.addresses:
            assert "/ip4/0.0.0.0/" not in str(address)
            assert str(address).endswith(f"/ws/p2p/{host.peer_id}")


async def test_a_name_is_resolved_and_the_certificate_verified_for_it(secure: WebSocketTransport) -> None:
    async def lookup(name: str, protocol: str) -> Sequence[str]:
        return ["127.0.0.1"]

    resolver = Resolver(lookup_host=lookup)
    async with (
        open_host(listen=["/ip4/127.0.0.1/tcp/0/tls/ws"], transports=[secure]) as alice,
        open_host(transports=[secure], resolver=resolver) as bob,
    ):
        endpoint = str(alice.addresses[0]).split("/")
        port = endpoint[4]
        assert await bob.connect(f"/dns4/node.example.org/tcp/{port}/wss") == alice.peer_id
        await bob.disconnect(alice.peer_id)
        with pytest.raises(DialError, match=r"not valid for 'other\.example\.org'"):
            await bob.connect(f"/dns4/other.example.org/tcp/{port}/wss")
        assert alice.connections() == []


async def test_much_arrives_whole_and_an_orderly_close_loses_nothing() -> None:
    data = bytes(range(251)) * 40_000
    digests: list[bytes] = []

    async def keep(stream: Stream) -> None:
        digest = sha256()
        async for piece in stream:
            digest.update(piece)
        digests.append(digest.digest())

    async with open_host(listen=[PLAIN], transports=[plain()]) as alice, open_host(transports=[plain()]) as bob:
        for host, other in ((alice, bob), (bob, alice)):
            host.handle("/keep/1", keep)
            peer = await bob.connect(*alice.addresses)
            assert peer == alice.peer_id
            async with await other.open_stream(host.peer_id, "/keep/1") as stream:
                await stream.send_all(data)
            await other.disconnect(host.peer_id)
            with trio.fail_after(10):
                while not digests:
                    await trio.testing.wait_all_tasks_blocked(0.01)
            assert digests.pop() == sha256(data).digest()


async def test_a_close_frame_is_an_orderly_end() -> None:
    observer = RecordingObserver()
    async with open_host(listen=[PLAIN], transports=[plain()], observers=[observer]) as alice:
        async with open_host(transports=[plain()]) as bob:
            await bob.connect(*alice.addresses)
        closed = await observer.wait_for(ConnectionClosed)
        assert closed.reason is None


async def test_listening_in_secret_takes_a_certificate() -> None:
    with pytest.raises(InvalidAddress, match=r"takes a certificate: .*server_context"):
        await plain().listen(parse_address("/ip4/127.0.0.1/tcp/0/wss"))


@pytest.mark.parametrize("call", ["dial", "listen"])
async def test_other_addresses_are_refused_with_an_example(call: str) -> None:
    transport = plain()
    method = transport.dial if call == "dial" else transport.listen
    with pytest.raises(InvalidAddress, match=r"such as /ip4/127\.0\.0\.1/tcp/4001/ws"):
        await method(parse_address("/ip4/127.0.0.1/tcp/1"))


@pytest.mark.parametrize(
    ("listen", "dial", "complaint"),
    [
        ("/ip4/127.0.0.1/tcp/0", "ws", "WebSocket handshake: .*may not speak WebSocket"),
        ("/ip4/127.0.0.1/tcp/0", "tls/ws", "TLS handshake: .*may not speak TLS"),
        ("/ip4/127.0.0.1/tcp/0/ws", "tls/ws", "TLS handshake: "),
        ("/ip4/127.0.0.1/tcp/0/tls/ws", "ws", "WebSocket handshake: "),
        ("/ip4/127.0.0.1/tcp/0/ws", "", "security negotiation"),
        ("/ip4/127.0.0.1/tcp/0/tls/ws", "", "security negotiation"),
    ],
)
async def test_the_wrong_kind_of_address_is_told_apart(
    listen: str, dial: str, complaint: str, secure: WebSocketTransport
) -> None:
    transports: list[StreamTransport] = [TcpTransport(), secure]
    observer = RecordingObserver()
    async with (
        open_host(listen=[listen], transports=transports, observers=[observer]) as alice,
        open_host(transports=transports) as bob,
    ):
        port = str(alice.addresses[0]).split("/")[4]
        address = f"/ip4/127.0.0.1/tcp/{port}" + (f"/{dial}" if dial else "")
        with pytest.raises(DialError, match=complaint):
            await bob.connect(address)
        if "ws" in listen:
            refused = await observer.wait_for(InboundRefused)
            assert "handshake: " in refused.reason
        assert await bob.connect(*alice.addresses) == alice.peer_id


async def test_slow_clients_hold_up_only_themselves_and_not_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    network, observer = MemoryNetwork(), RecordingObserver()

    def make() -> list[StreamTransport]:
        return [WebSocketTransport(MemoryTcp(network))]

    async with (
        open_host(listen=["/ip4/127.0.0.1/tcp/7/ws"], transports=make(), observers=[observer]) as alice,
        open_host(transports=make()) as bob,
    ):
        slow = [network.connect(parse_address("/memory/7")).stream for _ in range(5)]
        for stream in slow[1:]:
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: ")
        began = trio.current_time()
        assert await bob.connect(*alice.addresses) == alice.peer_id
        assert trio.current_time() == began
        for _ in slow:
            refused = await observer.wait_for(InboundRefused)
            assert refused.reason == "the peer was too slow in the transport connect"
        assert trio.current_time() - began <= SwarmConfig().connect_timeout
        for stream in slow:
            assert await stream.receive_some() == b""


async def test_a_failed_handshake_closes_the_connection() -> None:
    listener = await TcpTransport().listen(parse_address("/ip4/127.0.0.1/tcp/0"))
    endpoint = tcp_endpoint(listener.address)
    assert endpoint is not None

    async def refuse() -> None:
        raw = await listener.accept()
        await raw.stream.receive_some()
        await raw.stream.send_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        assert await raw.stream.receive_some() == b""
        await raw.stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(RemoteProtocolError, match="the server answered 503 Service Unavailable, not 101"):
            await plain().dial(parse_address(f"/ip4/127.0.0.1/tcp/{endpoint.port}/ws"))
    await listener.aclose()


def test_without_the_library_one_line_names_the_extra() -> None:
    program = "import sys; sys.modules['websockets'] = None; import peerstack.transports.websocket"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr.strip().endswith("pip install '.[websocket]' in a clone of peerstack")


def test_it_is_not_imported_by_peerstack_alone() -> None:
    program = "import sys, peerstack; print('websockets' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
