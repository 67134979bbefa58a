"""Limits validate themselves, scopes count all or nothing, and nothing keyed by peers stays behind."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiaddr import Multiaddr

from peerstack.stack.errors import LimitExceeded
from peerstack.stack.identity import PeerId
from peerstack.stack.limits import (
    ConnectionScope,
    Limits,
    RateLimiter,
    Reservation,
    Resource,
    Scope,
    Scopes,
    WindowBudget,
    format_ip_key,
    ip_key,
    network_key,
    site_key,
)

LOOPBACK = Multiaddr("/ip4/127.0.0.1/tcp/4001")
PUBLIC = Multiaddr("/ip4/203.0.113.9/tcp/4001")


def peer_number(number: int) -> PeerId:
    return PeerId.from_bytes(b"\x12\x20" + number.to_bytes(32, "big"))


PEER = peer_number(1)


def test_the_default_limits_are_valid_and_above_what_trimming_keeps() -> None:
    assert Limits().connections > 192


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("connections", 0),
        ("inbound_rate_per_ip", 0.0),
        ("inbound_rate_per_ip", float("nan")),
        ("receive_windows", -1),
        ("pending_inbound", 0),
    ],
)
def test_a_limit_that_lets_nothing_through_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} must be positive"):
        Limits(**{field: value})  # type: ignore[arg-type]  # the field is a parameter


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("inbound_connections", "connections"),
        ("connections_per_peer", "connections"),
        ("streams_per_peer", "streams"),
        ("receive_windows_per_connection", "receive_windows"),
    ],
)
def test_a_part_larger_than_its_whole_is_refused(part: str, whole: str) -> None:
    with pytest.raises(ValueError, match=f"{part} is 100000000000, more than {whole}"):
        Limits(**{part: 100_000_000_000})  # type: ignore[arg-type]  # the field is a parameter


def test_parts_left_at_their_defaults_shrink_with_their_wholes() -> None:
    limits = Limits(connections=6)
    assert (limits.inbound_connections, limits.connections_per_peer, limits.inbound_connections_per_ip) == (6, 6, 6)
    assert Limits(inbound_connections=3).inbound_connections_per_ip == 3
    assert Limits(pending_inbound=5).pending_inbound_per_ip == 5
    limits = Limits(streams=100)
    assert (limits.streams_per_peer, limits.inbound_streams_per_peer, limits.inbound_streams_per_connection) == (
        100,
        100,
        100,
    )
    assert Limits(memory=1000).memory_per_peer == 1000
    assert Limits(receive_windows=1000).receive_windows_per_connection == 1000


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"connections": "6"}, "connections must be a whole number, not '6'"),
        ({"streams": None}, "streams must be a whole number, not None"),
        ({"memory": 6.5}, "memory must be a whole number, not 6.5"),
        ({"connections": True}, "connections must be a whole number, not True"),
        ({"inbound_rate_per_ip": "2"}, "inbound_rate_per_ip must be a number, not '2'"),
    ],
)
def test_a_limit_is_a_number(wrong: dict[str, Any], line: str) -> None:
    with pytest.raises(TypeError, match=f"^{line}$"):
        Limits(**wrong)


def test_limits_that_were_replaced_shrink_and_grow_again() -> None:
    small = replace(Limits(), connections=6)
    assert small == Limits(connections=6)
    assert replace(small, connections=1024) == Limits()


@pytest.mark.parametrize(
    ("part", "value", "whole"),
    [("inbound_connections", 768, "connections"), ("connections_per_peer", 8, "connections")],
)
def test_what_was_chosen_does_not_shrink(part: str, value: int, whole: str) -> None:
    """Even where the number given is the default."""
    with pytest.raises(ValueError, match=f"{part} is {value}, more than {whole}, which is 6; raise {whole}, too"):
        Limits(**{part: value, whole: 6})  # type: ignore[arg-type]  # the fields are parameters


@pytest.mark.parametrize("whole", ["connections", "streams", "memory", "receive_windows", "pending_inbound"])
def test_the_least_that_a_whole_can_be_is_enough(whole: str) -> None:
    Limits(**{whole: 1})  # type: ignore[arg-type]  # the field is a parameter
    with pytest.raises(ValueError, match=f"^{whole} must be positive"):
        Limits(**{whole: 0})  # type: ignore[arg-type]


def test_a_negative_override_is_refused() -> None:
    with pytest.raises(ValueError, match="override for /x"):
        Limits(inbound_streams_overrides={"/x": -1})


def test_overrides_replace_the_limit_of_one_protocol() -> None:
    limits = Limits(inbound_streams_overrides={"/x": 300})
    assert (limits.inbound_streams_of("/x"), limits.inbound_streams_of("/x", 2)) == (300, 300)
    assert (limits.inbound_streams_of("/other", 2), limits.inbound_streams_of("/other", 1000)) == (2, 256)
    assert limits.inbound_streams_of("/other") == limits.inbound_streams_per_peer_and_protocol


def test_a_refusal_names_scope_resource_and_limit_and_changes_no_ancestor() -> None:
    system = Scope("system", {Resource.STREAMS: 10})
    peer = Scope("peer", {Resource.STREAMS: 2}, system, of="QmX")
    left, right = Scope("left", {}, peer), Scope("right", {}, peer)
    with left.reserve(Resource.INBOUND_STREAMS), right.reserve(Resource.OUTBOUND_STREAMS):
        with pytest.raises(LimitExceeded, match="our limit of 2 streams in scope 'peer QmX'") as caught:
            left.reserve(Resource.INBOUND_STREAMS)
        assert (caught.value.scope, caught.value.resource, caught.value.limit) == ("peer QmX", "streams", 2)
        assert system.statistics() == {"inbound streams": 1, "streams": 2, "outbound streams": 1}
        assert left.used(Resource.STREAMS) == 1
    assert system.statistics() == {}


def test_a_shared_ancestor_is_counted_once() -> None:
    system = Scope("system", {})
    left, right = Scope("left", {}, system), Scope("right", {}, system)
    with Reservation(Resource.MEMORY, 7, left, right):
        assert system.used(Resource.MEMORY) == 7


def test_releasing_twice_gives_back_once() -> None:
    scope = Scope("system", {})
    first, second = scope.reserve(Resource.STREAMS), scope.reserve(Resource.STREAMS)
    first.release()
    first.release()
    assert scope.used(Resource.STREAMS) == 1
    second.release()


def test_a_reservation_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="reservation"):
        Scope("system", {}).reserve(Resource.MEMORY, 0)


def test_a_refused_move_leaves_the_reservation_where_it_was() -> None:
    system = Scope("system", {})
    full = Scope("full", {Resource.STREAMS: 0}, system)
    home = Scope("home", {}, system)
    reservation = home.reserve(Resource.STREAMS)
    with pytest.raises(LimitExceeded):
        reservation.move(full)
    assert (home.used(Resource.STREAMS), system.used(Resource.STREAMS), full.statistics()) == (1, 1, {})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.booleans()), max_size=40))
def test_scopes_never_pass_their_limits_and_end_empty(steps: list[tuple[int, int, bool]]) -> None:
    system = Scope("system", {Resource.MEMORY: 20})
    leaves = [Scope("leaf", {Resource.MEMORY: 8}, system) for _ in range(4)]
    held: list[tuple[int, Reservation]] = []
    for index, amount, give_back in steps:
        if give_back and held:
            held.pop(0)[1].release()
            continue
        expected = leaves[index].used(Resource.MEMORY) + amount <= 8 and system.used(Resource.MEMORY) + amount <= 20
        try:
            held.append((index, leaves[index].reserve(Resource.MEMORY, amount)))
        except LimitExceeded:
            assert not expected
        else:
            assert expected
        assert system.used(Resource.MEMORY) == sum(reservation.amount for _, reservation in held)
    for _, reservation in held:
        reservation.release()
    assert [scope.statistics() for scope in (system, *leaves)] == [{}] * 5


def test_slow_handshakes_from_one_address_leave_places_for_others() -> None:
    scopes = Scopes(Limits(inbound_connections_per_ip=100, pending_inbound_per_ip=8))
    held = [scopes.accept(PUBLIC, 0.0) for _ in range(8)]
    with pytest.raises(LimitExceeded, match=r"8 inbound connections in scope 'pending IP 203.0.113.9'"):
        scopes.accept(PUBLIC, 0.0)
    held.append(scopes.accept(Multiaddr("/ip4/203.0.113.10/tcp/1"), 0.0))
    assert scopes.transient.used(Resource.INBOUND_CONNECTIONS) == 9


def test_pending_connections_have_a_total() -> None:
    scopes = Scopes(Limits(pending_inbound=2, pending_inbound_per_ip=1))
    held = [scopes.accept(LOOPBACK, 0.0) for _ in range(2)]
    with pytest.raises(LimitExceeded, match="scope 'transient'"):
        scopes.accept(LOOPBACK, 0.0)
    held.pop().release()
    held.append(scopes.accept(LOOPBACK, 0.0))


def test_loopback_is_exempt_from_limits_per_address() -> None:
    scopes = Scopes(Limits(inbound_burst_per_ip=1))
    held = [scopes.accept(LOOPBACK, 0.0) for _ in range(20)]
    assert scopes.system.used(Resource.INBOUND_CONNECTIONS) == len(held)


def test_connection_churn_from_one_address_is_slowed_down() -> None:
    scopes = Scopes(Limits(inbound_burst_per_ip=16, inbound_rate_per_ip=0.2))
    for _ in range(16):
        scopes.accept(PUBLIC, 0.0).release()
    with pytest.raises(LimitExceeded, match=r"16 connections in a short time in scope 'IP 203.0.113.9'"):
        scopes.accept(PUBLIC, 0.0)
    assert scopes.system.statistics() == {}
    scopes.accept(PUBLIC, 5.0).release()


def site_address(number: int) -> Multiaddr:
    """Return an address in the next /56 of one /48."""
    return Multiaddr(f"/ip6/2001:db8:1:{number:x}00::1/tcp/1")


def test_an_ipv6_48_has_as_many_connections_as_eight_addresses() -> None:
    scopes = Scopes(Limits(inbound_connections_per_ip=2, ips_per_ip6_site=8))
    held = []
    for number in range(16):
        address = site_address(number)
        held.append(scopes.connected(scopes.accept(address, 0.0), peer_number(number), address))
    with pytest.raises(LimitExceeded, match=r"16 inbound connections in scope 'IP 2001:0db8:0001::/48'"):
        scopes.accept(site_address(16), 0.0)
    scopes.accept(Multiaddr("/ip6/2001:db8:2::1/tcp/1"), 0.0).release()
    held.pop().close()
    scopes.accept(site_address(16), 0.0).release()


def test_churn_from_an_ipv6_48_is_slowed_down_as_that_of_eight_addresses() -> None:
    scopes = Scopes(Limits(inbound_burst_per_ip=2, inbound_rate_per_ip=0.2, ips_per_ip6_site=8))
    for number in range(16):
        scopes.accept(site_address(number), 0.0).release()
    with pytest.raises(LimitExceeded, match=r"16 connections in a short time in scope 'IP 2001:0db8:0001::/48'"):
        scopes.accept(site_address(16), 0.0)
    assert scopes.system.statistics() == {}
    scopes.accept(site_address(17), 1.0).release()


def test_relayed_connections_count_for_their_relay_and_not_for_an_address() -> None:
    scopes, relay = Scopes(Limits(inbound_connections_per_ip=2, ips_per_private_ip=2)), peer_number(99)
    connections = [
        scopes.connected(scopes.accept(PUBLIC, number, relay=relay), peer_number(number), PUBLIC, relay=relay)
        for number in range(4)
    ]
    with pytest.raises(LimitExceeded) as caught:
        scopes.accept(Multiaddr("/ip4/203.0.113.10/tcp/4001"), 9, relay=relay)
    assert caught.value.scope == f"relay {relay}"
    scopes.accept(PUBLIC, 9)  # the relay itself, or another peer at its address
    scopes.accept(PUBLIC, 9, relay=peer_number(98))
    for connection in connections:
        connection.close()
    scopes.accept(PUBLIC, 9, relay=relay)


def test_authenticated_connections_leave_the_transient_scope_and_still_count_for_their_address() -> None:
    scopes = Scopes(Limits(inbound_connections_per_ip=2))
    connections = [scopes.connected(scopes.accept(PUBLIC, 0.0), peer_number(n), PUBLIC) for n in range(2)]
    assert scopes.transient.statistics() == {}
    with pytest.raises(LimitExceeded, match="scope 'IP "):
        scopes.accept(PUBLIC, 0.0)
    connections[0].close()
    connections[0].close()
    scopes.accept(PUBLIC, 0.0).release()


def test_too_many_connections_of_one_peer_are_refused_and_the_dial_stays_counted_until_released() -> None:
    scopes = Scopes(Limits(connections_per_peer=1))
    first = scopes.connected(scopes.dial(), PEER, PUBLIC)
    dial = scopes.dial()
    with pytest.raises(LimitExceeded, match="scope 'peer Qm"):
        scopes.connected(dial, PEER, PUBLIC)
    assert scopes.transient.used(Resource.OUTBOUND_CONNECTIONS) == 1
    dial.release()
    first.close()
    assert scopes.system.statistics() == {}


def test_a_flood_from_outside_leaves_room_to_dial() -> None:
    scopes = Scopes(Limits(connections=3, inbound_connections=2, connections_per_peer=3, inbound_connections_per_ip=2))
    held = [scopes.connected(scopes.accept(LOOPBACK, 0.0), PEER, LOOPBACK) for _ in range(2)]
    with pytest.raises(LimitExceeded, match="2 inbound connections in scope 'system'"):
        scopes.accept(LOOPBACK, 0.0)
    held.append(scopes.connected(scopes.dial(), PEER, LOOPBACK))
    with pytest.raises(LimitExceeded, match="3 connections in scope 'system'"):
        scopes.dial()


def test_streams_are_counted_for_connection_peer_and_protocol() -> None:
    scopes = Scopes(Limits())
    scopes.declare_streams("/ipfs/ping/1.0.0", 2)
    connection = scopes.connected(scopes.dial(), PEER, PUBLIC)
    streams = [connection.open_stream(inbound=True) for _ in range(3)]
    assert scopes.transient.used(Resource.STREAMS) == 3
    for stream in streams[:2]:
        scopes.negotiated(stream, connection, "/ipfs/ping/1.0.0")
    with pytest.raises(LimitExceeded, match=r"scope 'protocol /ipfs/ping/1\.0\.0 of peer"):
        scopes.negotiated(streams[2], connection, "/ipfs/ping/1.0.0")
    scopes.negotiated(connection.open_stream(inbound=False), connection, "/ipfs/ping/1.0.0")
    assert (connection.used(Resource.STREAMS), scopes.peer(PEER).used(Resource.STREAMS)) == (4, 4)
    assert scopes.transient.used(Resource.STREAMS) == 1


def test_stream_floods_stop_at_the_limit_of_the_connection() -> None:
    scopes = Scopes(Limits(inbound_streams_per_connection=4))
    connection = scopes.connected(scopes.dial(), PEER, PUBLIC)
    held = [connection.open_stream(inbound=True) for _ in range(4)]
    with pytest.raises(LimitExceeded, match="scope 'connection to "):
        connection.open_stream(inbound=True)
    held.append(connection.open_stream(inbound=False))


def test_three_thousand_identities_leave_nothing_behind() -> None:
    scopes = Scopes(Limits())
    connection: ConnectionScope | None
    stream: Reservation | None
    for number in range(3000):
        address = Multiaddr(b"\x04" + (0x0B000000 + number).to_bytes(4, "big") + b"\x06\x0f\xa1")
        connection = scopes.connected(scopes.accept(address, number * 1.0), peer_number(number), address)
        stream = connection.open_stream(inbound=True)
        scopes.negotiated(stream, connection, f"/protocol/{number}")
        assert scopes.statistics()["scopes"]["keyed"] <= 4
        stream.release()
        connection.close()
    connection = stream = None
    gc.collect()
    assert scopes.statistics() == {
        "system": {},
        "transient": {},
        "receive windows": {"used": 0, "limit": Limits().receive_windows},
        "scopes": {"keyed": 0},
    }


def test_windows_grow_within_the_budget_of_connection_and_host() -> None:
    host = WindowBudget(100)
    one, two = WindowBudget(60, host), WindowBudget(60, host)
    assert one.reserve(60)
    assert not one.reserve(1)
    assert not two.reserve(41)
    assert (two.used, host.used) == (0, 60)
    assert two.reserve(40)
    one.release(10)
    assert host.used == 90


def test_a_closed_budget_has_given_everything_back_and_takes_nothing() -> None:
    host = WindowBudget(4096)
    connection = WindowBudget(2048, host)
    assert connection.reserve(1000)
    connection.close()
    assert host.used == 0
    connection.release(1000)
    assert not connection.reserve(1)
    connection.close()
    assert host.used == 0


def test_giving_back_more_than_was_taken_is_a_bug_that_shows() -> None:
    with pytest.raises(ValueError, match="5 bytes given back, but only 0"):
        WindowBudget(10).release(5)


def test_a_bucket_refills_with_time_and_holds_no_more_than_its_burst() -> None:
    limiter = RateLimiter(1.0, 2)
    assert [limiter.allow("a", 0.0) for _ in range(3)] == [True, True, False]
    assert limiter.allow("a", 1.0)
    assert not limiter.allow("a", 1.5)
    assert [limiter.allow("a", 100.0) for _ in range(3)] == [True, True, False]


def test_full_buckets_are_forgotten() -> None:
    limiter = RateLimiter(1.0, 2)
    for key in range(1000):
        limiter.allow(key, 0.0)
    limiter.allow("later", 2.0)
    assert len(limiter) == 1


def test_rotating_keys_do_not_grow_the_table() -> None:
    limiter = RateLimiter(0.001, 2, capacity=10)
    for key in range(1000):
        limiter.allow(key, key * 0.001)
    assert len(limiter) == 10


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("/ip4/192.0.2.1/tcp/1", "192.0.2.1"),
        ("/ip6/2001:db8:1:2ff::1/tcp/1", "2001:0db8:0001:0200::/56"),
        ("/ip6/2001:db8:1:200::9/tcp/1", "2001:0db8:0001:0200::/56"),
        ("/ip6/::ffff:192.0.2.1/udp/1/quic-v1", "192.0.2.1"),
    ],
)
def test_an_ipv6_56_counts_as_one_address(address: str, text: str) -> None:
    key = ip_key(Multiaddr(address))
    assert key is not None
    assert format_ip_key(key) == text


def arrive(scopes: Scopes, address: str, count: int) -> int:
    """Have so many peers behind one address connect at once, and return how many may stay."""
    remote, pending = Multiaddr(address), []
    for _ in range(count):
        try:
            pending.append(scopes.accept(remote, 0.0))
        except LimitExceeded:
            break
    connections = [scopes.connected(one, peer_number(number), remote) for number, one in enumerate(pending)]
    for connection in connections:
        connection.close()
    return len(connections)


@pytest.mark.parametrize("address", ["/ip4/203.0.113.9/tcp/1", "/ip6/2001:db8::1/tcp/1"])
def test_an_office_behind_one_public_address_connects_at_once_and_a_flood_does_not(address: str) -> None:
    assert [arrive(Scopes(Limits()), address, count) for count in (16, 32, 64, 65, 500)] == [16, 32, 64, 64, 64]


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/10.0.0.1/tcp/1",
        "/ip4/172.17.0.1/tcp/1",
        "/ip4/192.168.1.1/tcp/1",
        "/ip4/100.64.0.1/tcp/1",
        "/ip4/169.254.1.1/tcp/1",
        "/ip6/fd00::1/tcp/1",
        "/ip6/fe80::1/tcp/1",
        "/ip6/::ffff:10.0.0.1/tcp/1",
    ],
)
def test_a_private_address_counts_as_several(address: str) -> None:
    assert [arrive(Scopes(Limits()), address, count) for count in (16, 64, 128, 500)] == [16, 64, 128, 128]
    scopes = Scopes(Limits(pending_inbound=500, pending_inbound_per_ip=500))
    assert arrive(scopes, address, 1000) == 4 * 64


@pytest.mark.parametrize(
    "address", ["/ip4/172.15.0.1/tcp/1", "/ip4/172.32.0.1/tcp/1", "/ip4/100.128.0.1/tcp/1", "/ip4/192.0.2.1/tcp/1"]
)
def test_an_address_beside_the_private_ones_is_public(address: str) -> None:
    assert arrive(Scopes(Limits()), address, 500) == 64


def test_an_ipv6_48_fills_only_a_sixth_of_the_places_by_default() -> None:
    scopes = Scopes(Limits())
    held = []
    for number in range(128):
        address = site_address(number)
        held.append(scopes.connected(scopes.accept(address, 0.0), peer_number(number), address))
    with pytest.raises(LimitExceeded, match="128 inbound connections in scope 'IP 2001:0db8:0001::/48'"):
        scopes.accept(site_address(128), 0.0)


def test_only_ipv6_addresses_are_in_a_48() -> None:
    key = ip_key(Multiaddr("/ip6/2001:db8:1:2ff::1/tcp/1"))
    assert key is not None
    assert site_key(key) == bytes.fromhex("20010db80001")
    assert site_key(b"\xc0\x00\x02\x01") is None


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("/ip4/192.0.2.1/tcp/1", "c00002"),
        ("/ip6/::ffff:192.0.2.9/udp/1/quic-v1", "c00002"),
        ("/ip6/2001:db8:1:2ff::1/tcp/1", "20010db80001"),
    ],
)
def test_neighbours_are_in_one_network(address: str, network: str) -> None:
    assert network_key(Multiaddr(address)) == bytes.fromhex(network)


@pytest.mark.parametrize(
    "address", ["/ip4/127.3.2.1/tcp/1", "/ip6/::1/tcp/1", "/ip6/::ffff:127.0.0.1/tcp/1", "/dns4/example.org/tcp/1"]
)
def test_loopback_and_names_have_no_key(address: str) -> None:
    assert ip_key(Multiaddr(address)) is None
    assert network_key(Multiaddr(address)) is None
