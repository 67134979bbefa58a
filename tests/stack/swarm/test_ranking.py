"""Addresses are dialed in the order and at the distance that RFC 8305 and go-libp2p give, and never too many."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from peerstack.stack.swarm.dial.ranking import MAX_ADDRESSES, rank

RELAY = "/ip4/8.8.4.4/tcp/1/p2p/12D3KooWQ9j2nLDL1cvqCqvvUkCLWBmkFY3A3jLvtcJnSdHBPMyy/p2p-circuit"


def ranked(*addresses: str) -> list[tuple[float, str]]:
    return [(delay, str(address)) for delay, address in rank(Multiaddr(address) for address in addresses)]


@pytest.mark.parametrize(
    "address",
    ["/ip4/8.8.8.8/tcp/1", "/ip4/127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/1/ws", RELAY, "/memory/3", "/dns4/a.org/tcp/1"],
)
def test_an_address_that_is_alone_is_not_delayed(address: str) -> None:
    assert ranked(address) == [(0.0, address)]


def test_no_address_gives_no_dial() -> None:
    assert rank([]) == []


def test_tcp_comes_before_quic_and_both_before_the_rest() -> None:
    tcp, quic = "/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/udp/1/quic-v1"
    ws, webtransport = "/ip4/8.8.8.8/tcp/2/ws", "/ip4/8.8.8.8/udp/1/quic-v1/webtransport"
    assert ranked(ws, webtransport, quic, tcp) == [(0.0, tcp), (0.25, quic), (1.25, ws), (2.25, webtransport)]


def test_steps_are_short_in_a_local_network() -> None:
    tcp, quic = "/ip4/192.168.1.2/tcp/1", "/ip4/192.168.1.2/udp/1/quic-v1"
    assert ranked(quic, tcp) == [(0.0, tcp), (0.03, quic)]


def test_ipv6_and_ipv4_alternate_at_first() -> None:
    four = ["/ip4/8.8.8.8/tcp/1", "/ip4/8.8.8.8/tcp/2"]
    six = ["/ip6/2001:4860::1/tcp/1", "/ip6/2001:4860::1/tcp/2"]
    assert ranked(*four, *six) == [(0.0, six[0]), (0.25, four[0]), (0.5, six[1]), (0.5, four[1])]


def test_local_addresses_do_not_wait_for_public_ones() -> None:
    public, private = "/ip4/8.8.8.8/tcp/1", "/ip4/10.0.0.1/tcp/1"
    assert sorted(ranked(public, private)) == sorted([(0.0, private), (0.0, public)])


def test_loopback_is_tried_before_the_rest_of_the_local_network() -> None:
    loopback, private = "/ip4/127.0.0.1/tcp/1", "/ip6/fd00::1/tcp/1"
    assert ranked(private, loopback) == [(0.0, loopback), (0.03, private)]


def test_relayed_addresses_wait_for_direct_ones() -> None:
    direct = "/ip4/8.8.8.8/tcp/1"
    assert ranked(RELAY, direct) == [(0.0, direct), (0.5, RELAY)]


def test_addresses_of_equal_rank_keep_their_order() -> None:
    addresses = [f"/ip4/8.8.8.8/tcp/{port}" for port in (9, 3, 7, 5)]
    assert [address for _, address in ranked(*addresses)] == addresses


def test_a_list_of_victims_is_cut() -> None:
    addresses = [Multiaddr(f"/ip4/8.8.8.8/tcp/{port}") for port in range(1, 500)]
    assert len(rank(addresses)) == MAX_ADDRESSES == 25
    assert len(rank(addresses, limit=100)) == 100


ADDRESSES = st.sampled_from(
    [
        "/ip4/8.8.8.8/tcp/1",
        "/ip6/2001:4860::1/udp/1/quic-v1",
        "/ip4/10.0.0.1/tcp/1",
        "/ip6/::1/tcp/1",
        "/memory/1",
        RELAY,
        "/ip4/8.8.8.8/udp/1/quic-v1",
        "/dns6/a.org/tcp/443/wss",
        "/ip4/1.1.1.1/udp/1/webrtc-direct",
        "/dnsaddr/a.org",
    ]
)


@given(st.lists(ADDRESSES))
def test_every_address_is_dialed_once_in_order_of_time_and_the_first_at_once(addresses: list[str]) -> None:
    result = ranked(*addresses)
    assert sorted(address for _, address in result) == sorted(set(addresses))
    delays = [delay for delay, _ in result]
    assert delays == sorted(delays)
    assert delays[:1] in ([], [0.0])


def test_at_once_keeps_the_order_and_the_limit_and_lets_none_wait() -> None:
    addresses = [Multiaddr(address) for address in (RELAY, "/ip4/8.8.8.8/udp/1/quic-v1", "/ip4/8.8.8.8/tcp/1")]
    staggered = rank(addresses, limit=2)
    assert [delay for delay, _ in staggered] == [0.0, 0.25]
    assert rank(addresses, limit=2, at_once=True) == [(0.0, address) for _, address in staggered]
