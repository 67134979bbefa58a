"""Behind one IP address there can be many names: a server that picks by Host, and by SNI, must get the name dialed."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from peerstack import Host, open_host, ping
from peerstack.stack.addressing import Resolver, components, parse_address
from peerstack.stack.errors import DialError
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.websocket import WebSocketTransport, client_context, server_context

from .certificates import Authority

NAME, OTHER = "node.example.org", "other.example.org"
LISTEN = "/ip4/127.0.0.1/tcp/0/ws"


@dataclass
class VirtualHosts:
    """A reverse proxy for one name; a request for another gets 404."""

    backend: int
    port: int = 0
    hosts: list[str] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)

    async def serve(self, client: trio.abc.Stream) -> None:
        async with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await client.receive_some()
            found = re.search(rb"\r\nHost: ([^\r]*)\r\n", head)
            assert found is not None
            self.hosts.append(found[1].decode())
            if self.hosts[-1].partition(":")[0] != NAME:
                await client.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            backend = await trio.open_tcp_stream("127.0.0.1", self.backend)
            async with backend, trio.open_nursery() as nursery:
                await backend.send_all(head)
                nursery.start_soon(_carry, client, backend, nursery.cancel_scope)
                nursery.start_soon(_carry, backend, client, nursery.cancel_scope)

    def receive_name(self, _: ssl.SSLObject | ssl.SSLSocket, name: str | None, __: ssl.SSLContext) -> None:
        self.names.append(name)


async def _carry(source: trio.abc.Stream, sink: trio.abc.Stream, scope: trio.CancelScope) -> None:
    try:
        async for data in source:
            await sink.send_all(data)
    except trio.BrokenResourceError:
        pass
    scope.cancel()


@asynccontextmanager
async def proxied(host: Host, tls: ssl.SSLContext | None = None) -> AsyncIterator[VirtualHosts]:
    backend = next(int(part.value or 0) for part in components(host.addresses[0]) if part.name == "tcp")
    proxy = VirtualHosts(backend)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy.port = listener.socket.getsockname()[1]
    accept: trio.abc.Listener[trio.abc.Stream] = listener
    if tls is not None:
        tls.sni_callback = proxy.receive_name
        accept = trio.SSLListener(listener, tls)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy.serve, [accept])
        yield proxy
        nursery.cancel_scope.cancel()


def resolver() -> Resolver:
    async def lookup(name: str, protocol: str) -> Sequence[str]:
        return ["127.0.0.1"]

    async def records(name: str) -> Sequence[str]:
        zone, port = name.removeprefix("_dnsaddr.").split("-")
        return [f"dnsaddr=/dns4/{zone}/tcp/{port}/ws"]

    return Resolver(lookup_host=lookup, lookup_txt=records)


@pytest.mark.parametrize(
    "address", ["/dns4/{name}/tcp/{port}/ws", "/dns4/{name}./tcp/{port}/ws", "/dnsaddr/{name}-{port}"]
)
async def test_the_name_dialed_is_the_host_asked_for(address: str) -> None:
    websocket = WebSocketTransport(TcpTransport())
    async with (
        open_host(listen=[LISTEN], transports=[websocket]) as alice,
        open_host(transports=[websocket], resolver=resolver()) as bob,
        proxied(alice) as proxy,
    ):
        dialed = address.format(name=NAME, port=proxy.port)
        assert await bob.connect(dialed) == alice.peer_id
        assert await ping(bob, alice.peer_id) >= 0
        (connection,) = bob.connections()
        assert connection.info.remote_address == parse_address(f"/ip4/127.0.0.1/tcp/{proxy.port}/ws")
        await bob.disconnect(alice.peer_id)
        with pytest.raises(DialError, match="404 Not Found"):
            await bob.connect(address.format(name=OTHER, port=proxy.port))
        with pytest.raises(DialError, match="404 Not Found"):
            await bob.connect(f"/ip4/127.0.0.1/tcp/{proxy.port}/ws")
        assert proxy.hosts == [f"{host}:{proxy.port}" for host in (NAME, OTHER, "127.0.0.1")]


@pytest.mark.parametrize("kind", ["wss", "tls/ws"])
async def test_in_secret_the_name_is_in_the_hello_too(kind: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate = authority.issue(NAME, OTHER)
    trusting = WebSocketTransport(TcpTransport(), client_tls=client_context(authority.file))
    async with (
        open_host(listen=[LISTEN], transports=[WebSocketTransport(TcpTransport())]) as alice,
        open_host(transports=[trusting], resolver=resolver()) as bob,
        proxied(alice, server_context(*certificate)) as proxy,
    ):
        assert await bob.connect(f"/dns4/{NAME}/tcp/{proxy.port}/{kind}") == alice.peer_id
        assert await ping(bob, alice.peer_id) >= 0
        await bob.disconnect(alice.peer_id)
        with pytest.raises(DialError, match="404 Not Found"):
            await bob.connect(f"/dns4/{OTHER}/tcp/{proxy.port}/{kind}")
        assert proxy.names == [NAME, OTHER]
        assert proxy.hosts == [f"{host}:{proxy.port}" for host in (NAME, OTHER)]
