"""A listener behind a plain reverse proxy: a real nginx, which passes WebSocket on, and ends TLS where it shall."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
import trio

from interop.build import ToolchainMissing
from interop.debian import Server
from interop.nginx import nginx, running_nginx
from peerstack import open_host
from peerstack.protocols.ping import ping
from peerstack.stack.abc import Stream
from peerstack.stack.addressing import components
from peerstack.stack.errors import DialError
from peerstack.stack.host import Host
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.websocket import WebSocketTransport, client_context

from .certificates import Authority

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
ECHO = "/echo/1"
LISTEN = "/ip4/127.0.0.1/tcp/0/ws"
PATIENCE = 30.0


@pytest.fixture(scope="module")
def server() -> Server:
    """Nginx, if it is at hand: a test may not fetch a package; `python -m interop.nginx` does."""
    try:
        return nginx(fetch=False)
    except ToolchainMissing as missing:
        pytest.skip(f"{missing}; `python -m interop.nginx` fetches it")


def port_of(host: Host) -> int:
    return next(int(part.value or 0) for part in components(host.addresses[0]) if part.name == "tcp")


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def exchange(opener: Host, other: Host) -> None:
    """Ping, and send 1 MiB that comes back."""
    assert await ping(opener, other.peer_id, count=3) > 0
    data = bytes(range(256)) * (MIB // 256)
    digest, size = sha256(), 0
    async with await opener.open_stream(other.peer_id, ECHO) as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            await stream.send_all(data)
            await stream.send_eof()

        nursery.start_soon(send)
        async for piece in stream:
            digest.update(piece)
            size += len(piece)
    assert (size, digest.digest()) == (MIB, sha256(data).digest())


async def test_hosts_talk_through_a_proxy(server: Server) -> None:
    websocket = WebSocketTransport(TcpTransport())
    with trio.fail_after(PATIENCE):
        async with (
            open_host(listen=[LISTEN], transports=[websocket]) as alice,
            open_host(transports=[websocket]) as bob,
        ):
            for host in (alice, bob):
                host.handle(ECHO, echo)
            async with running_nginx(server, port_of(alice)) as port:
                assert port != port_of(alice)
                assert await bob.connect(f"/ip4/127.0.0.1/tcp/{port}/ws/p2p/{alice.peer_id}") == alice.peer_id
                await exchange(bob, alice)
                await exchange(alice, bob)
                (dialed,) = bob.connections()
                assert f"/tcp/{port}/" in str(dialed.info.remote_address)
                # The listener sees the proxy, and not the dialer.
                (accepted,) = alice.connections()
                assert accepted.info.remote_address != dialed.info.local_address


async def test_hosts_talk_through_a_proxy_that_ends_tls(server: Server, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    plain = WebSocketTransport(TcpTransport())
    trusting = WebSocketTransport(TcpTransport(), client_tls=client_context(authority.file))
    with trio.fail_after(PATIENCE):
        async with open_host(listen=[LISTEN], transports=[plain]) as alice, open_host(transports=[trusting]) as bob:
            alice.handle(ECHO, echo)
            certificate = authority.issue("127.0.0.1")
            async with running_nginx(server, port_of(alice), certificate=certificate) as port:
                await bob.connect(f"/ip4/127.0.0.1/tcp/{port}/tls/ws/p2p/{alice.peer_id}")
                await exchange(bob, alice)
                async with open_host(transports=[plain]) as carol:
                    with pytest.raises(DialError, match="certificate"):
                        await carol.connect(f"/ip4/127.0.0.1/tcp/{port}/tls/ws")
                await exchange(bob, alice)


async def test_a_proxy_without_a_listener_behind_it_is_said_to_refuse(server: Server) -> None:
    websocket = WebSocketTransport(TcpTransport())
    async with open_host(listen=[LISTEN], transports=[websocket]) as gone:
        free = port_of(gone)
    with trio.fail_after(PATIENCE):
        async with open_host(transports=[websocket]) as bob, running_nginx(server, free) as port:
            with pytest.raises(DialError, match="502"):
                await bob.connect(f"/ip4/127.0.0.1/tcp/{port}/ws")
