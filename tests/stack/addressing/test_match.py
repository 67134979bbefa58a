"""Which transport dials a multiaddr, and to where."""

import pytest

from peerstack.stack.addressing import (
    TcpEndpoint,
    is_relayed,
    needs_resolving,
    parse_address,
    tcp_address,
    tcp_endpoint,
    thin_waist,
    transport_name,
)
from peerstack.stack.errors import InvalidAddress

P2P = "/p2p/12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
CERTHASH = "/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g"


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("/ip4/192.0.2.1/tcp/4001", TcpEndpoint("192.0.2.1", 4001, "ip4")),
        (f"/ip4/192.0.2.1/tcp/0{P2P}", TcpEndpoint("192.0.2.1", 0, "ip4")),
        ("/ip6/::1/tcp/1", TcpEndpoint("::1", 1, "ip6")),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", TcpEndpoint("fe80::1", 1, "ip6", "eth0")),
        (f"/dns/example.com/tcp/1{P2P}", TcpEndpoint("example.com", 1, "dns")),
        ("/dns4/example.com/tcp/1", TcpEndpoint("example.com", 1, "dns4")),
        ("/dns6/example.com/tcp/1", TcpEndpoint("example.com", 1, "dns6")),
    ],
)
def test_plain_tcp_is_matched(text: str, endpoint: TcpEndpoint) -> None:
    assert tcp_endpoint(parse_address(text)) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.0.2.1",
        "/tcp/1",
        P2P,
        "/ip4/192.0.2.1/udp/1",
        "/ip4/192.0.2.1/tcp/1/ws",
        "/ip4/192.0.2.1/tcp/1/tls/ws",
        f"/ip4/192.0.2.1/tcp/1{P2P}/p2p-circuit",
        f"/ip4/192.0.2.1/tcp/1{P2P}{P2P}",
        f"/ip4/192.0.2.1{P2P}/tcp/1",
        "/ip4/192.0.2.1/tcp/1/tcp/2",
        "/dnsaddr/example.com/tcp/1",
        "/ip6zone/eth0/ip4/192.0.2.1/tcp/1",
        "/ip6zone/eth0/ip6zone/eth0/ip6/::1/tcp/1",
        "/ip6/fe80::1/ip6zone/eth0/tcp/1",
        "/ip4/10.0.0.0/ipcidr/8/tcp/1",
        "/memory/1",
    ],
)
def test_anything_else_is_not_plain_tcp(text: str) -> None:
    assert tcp_endpoint(parse_address(text)) is None


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("192.0.2.1", "/ip4/192.0.2.1/tcp/80"),
        ("2001:DB8::1", "/ip6/2001:db8::1/tcp/80"),
        ("::ffff:192.0.2.1", "/ip4/192.0.2.1/tcp/80"),
        ("fe80::1%eth0", "/ip6zone/eth0/ip6/fe80::1/tcp/80"),
    ],
)
def test_a_socket_address_becomes_a_multiaddr(host: str, text: str) -> None:
    assert str(tcp_address(host, 80)) == text


@pytest.mark.parametrize("host", ["example.com", "", "192.0.2.1:80"])
def test_what_is_no_socket_address_is_refused(host: str) -> None:
    with pytest.raises(InvalidAddress, match="is not an IP address"):
        tcp_address(host, 80)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/ip4/192.0.2.1/tcp/1", "tcp"),
        (f"/dns/example.com/tcp/1{P2P}", "tcp"),
        ("/ip4/192.0.2.1/tcp/1/ws", "ws"),
        ("/dns/example.com/tcp/443/tls/ws", "wss"),
        ("/dns/example.com/tcp/443/tls/sni/example.com/ws", "wss"),
        ("/dns/example.com/tcp/443/wss", "wss"),
        ("/ip4/192.0.2.1/udp/1/quic-v1", "quic-v1"),
        ("/ip4/192.0.2.1/udp/1/quic", "quic"),
        (f"/ip4/192.0.2.1/udp/1/quic-v1/webtransport{CERTHASH}", "webtransport"),
        (f"/ip4/192.0.2.1/udp/1/webrtc-direct{CERTHASH}", "webrtc-direct"),
        (f"/ip4/192.0.2.1/udp/1/quic-v1{P2P}/p2p-circuit{P2P}", "p2p-circuit"),
        (f"/ip4/192.0.2.1/tcp/1/ws{P2P}/p2p-circuit/webrtc{P2P}", "webrtc"),
        ("/memory/1", "memory"),
        ("/unix/a", "unix"),
        ("/ip4/192.0.2.1/udp/1", None),
        ("/ip4/192.0.2.1", None),
        (P2P, None),
    ],
)
def test_the_transport_is_named(text: str, name: str | None) -> None:
    assert transport_name(parse_address(text)) == name


@pytest.mark.parametrize(
    ("text", "waist"),
    [
        ("/ip4/192.0.2.1/tcp/1/ws", "/ip4/192.0.2.1/tcp/1"),
        (f"/ip6/::1/udp/1/quic-v1/webtransport{CERTHASH}{P2P}", "/ip6/::1/udp/1"),
        ("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1"),
        ("/dns4/example.com/tcp/1", None),
        ("/ip4/192.0.2.1", None),
        ("/ip4/192.0.2.1/sctp/1", None),
    ],
)
def test_the_thin_waist_is_what_a_nat_maps(text: str, waist: str | None) -> None:
    assert thin_waist(parse_address(text)) == (parse_address(waist) if waist else None)


def test_relayed_addresses_are_told_from_direct_ones() -> None:
    assert is_relayed(parse_address(f"/ip4/192.0.2.1/tcp/1{P2P}/p2p-circuit"))
    assert not is_relayed(parse_address(f"/ip4/192.0.2.1/tcp/1{P2P}"))


@pytest.mark.parametrize("text", ["/dns/a", "/dns4/a", "/dns6/a", "/dnsaddr/a", f"/ip4/192.0.2.1/tcp/1{P2P}/dns/a"])
def test_names_need_resolving(text: str) -> None:
    assert needs_resolving(parse_address(text))


@pytest.mark.parametrize("text", ["/ip4/192.0.2.1/tcp/1/tls/sni/example.com/ws", "/memory/1"])
def test_what_has_no_name_needs_no_resolving(text: str) -> None:
    assert not needs_resolving(parse_address(text))
