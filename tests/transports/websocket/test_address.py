"""Which addresses are WebSocket's, and what they say of TLS, names and paths."""

import pytest

from peerstack.stack.addressing import parse_address
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.websocket import WebSocketTransport
from peerstack.transports.websocket.address import websocket_address


@pytest.mark.parametrize(
    ("text", "below", "secure", "host", "path"),
    [
        ("/ip4/192.0.2.1/tcp/80/ws", "/ip4/192.0.2.1/tcp/80", False, "192.0.2.1", "/"),
        ("/ip6/2001:db8::1/tcp/81/ws", "/ip6/2001:db8::1/tcp/81", False, "2001:db8::1", "/"),
        ("/ip6zone/lo/ip6/fe80::1/tcp/81/ws", "/ip6zone/lo/ip6/fe80::1/tcp/81", False, "fe80::1", "/"),
        ("/ip4/192.0.2.1/tcp/443/wss", "/ip4/192.0.2.1/tcp/443", True, "192.0.2.1", "/"),
        ("/ip4/192.0.2.1/tcp/443/tls/ws", "/ip4/192.0.2.1/tcp/443", True, "192.0.2.1", "/"),
        ("/ip4/192.0.2.1/tcp/443/tls/sni/a.org/ws", "/ip4/192.0.2.1/tcp/443", True, "a.org", "/"),
        ("/ip4/192.0.2.1/tcp/80/ws/http-path/a%2Fb%20c", "/ip4/192.0.2.1/tcp/80", False, "192.0.2.1", "/a/b%20c"),
    ],
)
def test_an_address_is_taken_apart(text: str, below: str, secure: bool, host: str, path: str) -> None:
    address = parse_address(text)
    target = websocket_address(address)
    assert target is not None
    assert (str(target.below), target.secure, target.host, target.path) == (below, secure, host, path)
    assert target.on(target.below) == address
    assert (target.uri.host, target.uri.secure, target.uri.resource_name) == (host, secure, path)
    assert f"/tcp/{target.uri.port}" in text


def test_the_name_of_a_plain_one_is_for_the_dial_only() -> None:
    target = websocket_address(parse_address("/ip4/192.0.2.1/tcp/80/sni/a.org/ws/http-path/b"))
    assert target is not None
    assert (str(target.below), target.secure, target.host, target.path) == (
        "/ip4/192.0.2.1/tcp/80",
        False,
        "a.org",
        "/b",
    )
    assert target.on(target.below) == parse_address("/ip4/192.0.2.1/tcp/80/ws/http-path/b")


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.0.2.1/tcp/80",
        "/ip4/192.0.2.1/udp/80/ws",
        "/ip4/192.0.2.1/tcp/80/tls",
        "/ip4/192.0.2.1/tcp/80/tls/wss",
        "/ip4/192.0.2.1/tcp/80/sni/a.org/wss",
        "/ip4/192.0.2.1/tcp/80/sni/a.org",
        "/ip4/192.0.2.1/tcp/80/ws/ws",
        "/ip4/192.0.2.1/ws",
        "/ip4/192.0.2.1/tcp/80/http-path/a",
        "/memory/1",
        "/ip4/192.0.2.1/udp/1/quic-v1/webtransport",
    ],
)
def test_other_addresses_are_not(text: str) -> None:
    transport = WebSocketTransport(TcpTransport())
    assert websocket_address(parse_address(text)) is None
    assert not transport.can_dial(parse_address(text))
    assert not transport.can_listen(parse_address(text))


@pytest.mark.parametrize(
    ("text", "dial", "listen"),
    [
        ("/ip4/127.0.0.1/tcp/80/ws", True, True),
        ("/ip4/127.0.0.1/tcp/0/ws", False, True),
        ("/ip4/127.0.0.1/tcp/443/wss", True, True),
        ("/ip4/127.0.0.1/tcp/80/sni/a.org/ws", True, False),
        ("/dns4/example.com/tcp/443/wss", False, False),
    ],
)
def test_what_can_be_done_is_asked_of_the_transport_below(text: str, dial: bool, listen: bool) -> None:
    transport = WebSocketTransport(TcpTransport())
    assert transport.can_dial(parse_address(text)) is dial
    assert transport.can_listen(parse_address(text)) is listen
