"""From where a multiaddr can be reached, by the ranges that go-multiaddr uses."""

from ipaddress import ip_address

import pytest
from multiaddr import Multiaddr

from peerstack.stack.addressing import (
    ip_of,
    is_ip,
    is_link_local,
    is_loopback,
    is_nat64,
    is_private,
    is_public,
    is_unspecified,
    parse_address,
)

PUBLIC = [
    "/ip4/1.1.1.1",
    "/ip4/100.63.255.255",
    "/ip4/100.128.0.0",
    "/ip4/172.15.255.255",
    "/ip4/172.32.0.0",
    "/ip4/192.0.0.64",
    "/ip4/223.255.255.255",
    "/ip6/2606:4700::1",
    "/ip6/::ffff:1.1.1.1",
    "/ip6/64:ff9b::1.1.1.1",
    "/dns/example.com",
    "/dnsaddr/bootstrap.libp2p.io",
]
PRIVATE = [
    "/ip4/10.1.2.3",
    "/ip4/100.64.0.1",
    "/ip4/127.0.0.1",
    "/ip4/169.254.1.1",
    "/ip4/172.16.0.1",
    "/ip4/172.31.255.255",
    "/ip4/192.168.255.255",
    "/ip6/::1",
    "/ip6/fd00::1",
    "/ip6/fe80::1",
    "/ip6zone/eth0/ip6/fe80::1",
    "/ip6/::ffff:10.0.0.1",
    "/dns4/localhost",
    "/dns4/foo.LOCALHOST.",
    "/dns/printer.local",
    "/dns/nas.home.arpa",
]
NEITHER = [
    "/ip4/0.0.0.0",
    "/ip4/192.0.0.1",
    "/ip4/192.0.2.1",
    "/ip4/198.18.0.1",
    "/ip4/198.51.100.1",
    "/ip4/203.0.113.1",
    "/ip4/224.0.0.1",
    "/ip4/255.255.255.255",
    "/ip6/::",
    "/ip6/2001:db8::1",
    "/ip6/ff02::1",
    "/ip6/64:ff9b::10.0.0.1",
    "/ip6/4000::1",
    "/memory/1",
    "/p2p/QmaEANgBs1DTSxWSrPPtobgQuxW8XTfsS4ydbK4rCHzqxG",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(text, (True, False)) for text in PUBLIC]
    + [(text, (False, True)) for text in PRIVATE]
    + [(text, (False, False)) for text in NEITHER],
)
def test_public_and_private_exclude_each_other(text: str, expected: tuple[bool, bool]) -> None:
    address = parse_address(text)
    assert (is_public(address), is_private(address)) == expected


def test_an_empty_multiaddr_is_nowhere() -> None:
    nowhere = Multiaddr("")
    assert not is_public(nowhere)
    assert not is_private(nowhere)
    assert ip_of(nowhere) is None


def test_a_relayed_address_is_as_public_as_its_relay() -> None:
    relay = "QmaEANgBs1DTSxWSrPPtobgQuxW8XTfsS4ydbK4rCHzqxG"
    assert is_public(parse_address(f"/ip4/1.1.1.1/tcp/1/p2p/{relay}/p2p-circuit/ip4/10.0.0.1/tcp/1"))


@pytest.mark.parametrize(
    "text", ["/ip4/127.0.0.1", "/ip4/127.9.9.9", "/ip6/::1", "/ip6/::ffff:127.0.0.1", "/dns/localhost"]
)
def test_loopback_stays_on_this_machine(text: str) -> None:
    assert is_loopback(parse_address(text))


@pytest.mark.parametrize("text", ["/ip4/128.0.0.1", "/ip6/::", "/ip6/::2", "/dns/localhost.com", "/memory/1"])
def test_the_rest_leaves_this_machine(text: str) -> None:
    assert not is_loopback(parse_address(text))


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ("/ip4/192.0.2.1/tcp/1", "192.0.2.1"),
        ("/ip6/2001:db8::1/udp/1", "2001:db8::1"),
        ("/ip6/::ffff:192.0.2.1/tcp/1", "192.0.2.1"),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", "fe80::1"),
        ("/dns/192.0.2.1/tcp/1", None),
        ("/tcp/1", None),
        ("/ip6zone/eth0", None),
    ],
)
def test_the_ip_address_is_the_leading_one(text: str, ip: str | None) -> None:
    address = parse_address(text)
    assert ip_of(address) == (ip_address(ip) if ip else None)
    assert is_ip(address) == (ip is not None)


def test_link_local_holds_on_one_link() -> None:
    assert is_link_local(parse_address("/ip6/fe80::1"))
    assert is_link_local(parse_address("/ip4/169.254.0.1"))
    assert not is_link_local(parse_address("/ip6/fd00::1"))
    assert not is_link_local(parse_address("/dns/localhost"))


def test_unspecified_is_where_one_listens() -> None:
    assert is_unspecified(parse_address("/ip4/0.0.0.0/tcp/0"))
    assert is_unspecified(parse_address("/ip6/::/tcp/0"))
    assert not is_unspecified(parse_address("/ip4/0.0.0.1/tcp/0"))
    assert not is_unspecified(parse_address("/dns/a/tcp/0"))


def test_nat64_is_recognised() -> None:
    assert is_nat64(parse_address("/ip6/64:ff9b::192.0.2.1"))
    assert not is_nat64(parse_address("/ip6/64:ff9c::192.0.2.1"))
    assert not is_nat64(parse_address("/ip4/192.0.2.1"))
