"""Peers that share an IP address or an IPv6 subnet are charged for it, unless they are allowed to (P6)."""

from __future__ import annotations

import pytest

from peerstack.protocols.pubsub.scoring.colocation import Colocation
from peerstack.protocols.pubsub.scoring.config import ScoreConfig
from peerstack.protocols.pubsub.scoring.score import PeerScore

from .names import A, B, C, D, named

PEERS = [A, B, C, D]


def scoring(*allowed: str) -> PeerScore:
    config = ScoreConfig(
        colocation_weight=-1.0,
        colocation_threshold=1,
        colocation_private_factor=1,
        colocation_allowed=allowed,
        retain=100.0,
    )
    score = PeerScore(config, 0.0)
    for peer in PEERS:
        score.add_peer(peer, [], 0.0)
    return score


def scores(score: PeerScore) -> list[float]:
    return [score.score(peer) for peer in PEERS]


def test_the_excess_at_an_address_counts_squared_for_each_peer() -> None:
    score = scoring()
    score.set_ips(A, ["192.0.2.1"])
    score.set_ips(B, ["192.0.2.2"])
    score.set_ips(C, ["192.0.2.2", "192.0.2.3"])
    score.set_ips(D, ["192.0.2.2"])
    assert scores(score) == [0.0, -4.0, -4.0, -4.0]


def test_a_peer_is_charged_at_each_of_its_addresses() -> None:
    score = scoring()
    score.set_ips(A, ["192.0.2.1", "192.0.2.2"])
    score.set_ips(B, ["192.0.2.1"])
    score.set_ips(C, ["192.0.2.2"])
    score.set_ips(D, ["192.0.2.2"])
    assert scores(score) == [-5.0, -1.0, -4.0, -4.0]


def test_several_connections_of_one_peer_are_one_at_an_address() -> None:
    score = scoring()
    score.set_ips(A, ["192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"])
    assert score.score(A) == 0.0


def test_an_ipv4_address_inside_ipv6_is_the_same_address() -> None:
    score = scoring()
    score.set_ips(A, ["192.0.2.1"])
    score.set_ips(B, ["::ffff:192.0.2.1"])
    assert scores(score) == [-1.0, -1.0, 0.0, 0.0]


def test_ipv6_counts_by_address_and_by_subnet() -> None:
    score = scoring()
    score.set_ips(A, ["2001:db8:0:1::1"])
    score.set_ips(B, ["2001:db8:0:1::2"])
    score.set_ips(C, ["2001:db8:0:1:0:0:0:2"])
    score.set_ips(D, ["2001:db8:0:2::1"])
    assert scores(score) == [-4.0, -5.0, -5.0, 0.0]


def test_an_address_that_reads_like_its_subnet_counts_once_in_each() -> None:
    score = scoring()
    score.set_ips(A, ["2001:db8::"])
    score.set_ips(B, ["2001:db8::1"])
    assert scores(score) == [-1.0, -1.0, 0.0, 0.0]


def test_zones_are_not_part_of_an_address() -> None:
    score = scoring()
    score.set_ips(A, ["fe80::1%eth0"])
    score.set_ips(B, ["fe80::1%eth1"])
    assert scores(score) == [-2.0, -2.0, 0.0, 0.0]


def test_allowed_networks_may_be_shared() -> None:
    score = scoring("192.0.2.0/24", "2001:db8::5/128")
    score.set_ips(A, ["192.0.2.1", "2001:db8::5"])
    score.set_ips(B, ["192.0.2.1", "2001:db8::5"])
    score.set_ips(C, ["198.51.100.1"])
    score.set_ips(D, ["198.51.100.1"])
    assert scores(score) == [0.0, 0.0, -1.0, -1.0]


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_a_whole_network_on_one_machine_is_allowed_by_default(ip: str) -> None:
    score = PeerScore(ScoreConfig.recommended(), 0.0)
    peers = [named(str(number)) for number in range(50)]
    for peer in peers:
        score.add_peer(peer, [ip], 0.0)
    assert {score.score(peer) for peer in peers} == {0.0}


def score_of_each(ip: str, size: int) -> float:
    """Return what each of so many peers behind one address scores by default."""
    score = PeerScore(ScoreConfig.recommended(), 0.0)
    for number in range(size):
        score.add_peer(named(str(number)), [ip], 0.0)
    return score.score(named("0"))


@pytest.mark.parametrize("ip", ["203.0.113.9", "2001:db8::1"])
def test_an_office_may_share_a_public_address_and_a_botnet_may_not(ip: str) -> None:
    keys = 2 if ":" in ip else 1  # the address, and its subnet
    assert [score_of_each(ip, size) for size in (16, 32, 64, 65, 70)] == [0.0, 0.0, 0.0, -5.0 * keys, -180.0 * keys]


@pytest.mark.parametrize("ip", ["10.0.0.1", "172.17.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1", "fd00::1"])
def test_a_private_address_may_stand_for_a_network(ip: str) -> None:
    assert [score_of_each(ip, size) for size in (16, 64, 256)] == [0.0, 0.0, 0.0]
    assert score_of_each(ip, 257) < 0


def test_the_private_factor_of_addresses_beside_the_private_ones_is_one() -> None:
    assert score_of_each("172.32.0.1", 65) == -5.0


def test_relayed_peers_have_no_address_to_share() -> None:
    score = scoring()
    score.set_ips(A, ["192.0.2.1"])
    score.set_ips(B, [])
    score.set_ips(C, ["not an address"])
    assert scores(score) == [0.0, 0.0, 0.0, 0.0]


def test_peers_move_and_leave() -> None:
    score = scoring()
    for peer in (A, B, C):
        score.set_ips(peer, ["192.0.2.1"])
    assert scores(score) == [-4.0, -4.0, -4.0, 0.0]
    score.set_ips(C, ["192.0.2.9"])
    assert scores(score) == [-1.0, -1.0, 0.0, 0.0]
    score.remove_peer(B, 0.0)
    assert scores(score) == [0.0, 0.0, 0.0, 0.0], "peers that have left do not count"
    score.add_peer(B, ["192.0.2.1"], 1.0)
    assert scores(score) == [-1.0, -1.0, 0.0, 0.0]


def test_nothing_is_left_of_addresses_without_peers() -> None:
    colocation = Colocation(1, [])
    keys = colocation.keys(["192.0.2.1", "2001:db8::1"])
    assert keys == ("192.0.2.1", "2001:db8::1", "2001:db8::/64")
    colocation.add(keys)
    colocation.add(keys)
    colocation.remove(keys)
    assert len(colocation) == 3
    assert colocation.surplus(keys) == 0.0
    colocation.remove(keys)
    assert len(colocation) == 0
    private = colocation.keys(["10.0.0.1", "fd00::1"])
    colocation.add(private)
    colocation.remove(private)
    assert not colocation._private
