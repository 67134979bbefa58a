"""A WebSocket that both sides dial: the server of it waits for the client's request, and nothing else differs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from peerstack._defaults import default_transports
from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, Direction, RawConnection, StreamTransport
from peerstack.stack.addressing import parse_address, tcp_endpoint
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.testing.checks import transfer
from peerstack.transports.websocket import WebSocketTransport, client_context, server_context

from ...stack.crossing import Crossing, CrossingTransport
from .certificates import Authority
from .in_memory import LikeTcp

Clock = trio.testing.MockClock
SERVE = DialOptions(direction=Direction.INBOUND)


async def both(client: StreamTransport, server: StreamTransport, suffix: str) -> tuple[RawConnection, RawConnection]:
    """Dial from port 1 as the client, and from port 2 as the server."""
    found: list[RawConnection] = []

    async def dial() -> None:
        found.append(await client.dial(parse_address(f"/ip4/127.0.0.1/tcp/2{suffix}"), DEFAULT_DIAL))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        far = await server.dial(parse_address(f"/ip4/127.0.0.1/tcp/1{suffix}"), SERVE)
    return found[0], far


@pytest.mark.parametrize("suffix", ["/ws", "/tls/ws"])
async def test_both_get_one_connection(suffix: str, tmp_path: Path, autojump_clock: Clock) -> None:
    authority, network = Authority(tmp_path), Crossing()
    client = WebSocketTransport(LikeTcp(CrossingTransport(network, 1)), client_tls=client_context(authority.file))
    certificate = server_context(*authority.issue("127.0.0.1"))
    server = WebSocketTransport(LikeTcp(CrossingTransport(network, 2)), server_tls=certificate)
    near, far = await both(client, server, suffix)
    async with near.stream, far.stream:
        assert str(near.remote_address) == str(far.local_address) == f"/ip4/127.0.0.1/tcp/2{suffix}"
        assert str(far.remote_address) == str(near.local_address) == f"/ip4/127.0.0.1/tcp/1{suffix}"
        await transfer(near.stream, far.stream, bytes(1000))
        await transfer(far.stream, near.stream, bytes(1000))


async def test_without_a_certificate_nothing_is_dialed() -> None:
    below = CrossingTransport(Crossing(), 2)
    with pytest.raises(InvalidAddress, match=r"takes a certificate: .*server_context"):
        await WebSocketTransport(LikeTcp(below)).dial(parse_address("/ip4/127.0.0.1/tcp/1/tls/ws"), SERVE)
    assert below.options == []


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system cannot share ports")
async def test_by_default_it_dials_from_the_ports_that_tcp_listens_on() -> None:
    tcp, _, websocket = default_transports()
    (_, _, other) = default_transports()
    async with (
        await tcp.listen(parse_address("/ip4/127.0.0.1/tcp/0")) as here,
        await other.listen(parse_address("/ip4/127.0.0.1/tcp/0/ws")) as there,
        trio.open_nursery() as nursery,
    ):

        async def dial() -> None:
            raw = await websocket.dial(there.address, DialOptions(from_listener=True))
            await raw.stream.aclose()

        nursery.start_soon(dial)
        accepted = await there.accept()
        came_from = tcp_endpoint(parse_address(str(accepted.remote_address).removesuffix("/ws")))
        assert came_from == tcp_endpoint(here.address)
        assert accepted.handshake is not None
        async with await accepted.handshake() as stream:
            assert await stream.receive_some() == b""
