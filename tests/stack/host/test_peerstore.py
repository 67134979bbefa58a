"""The peerstore keeps what peers say of themselves for as long as it is worth, and no peer can fill it."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from multiaddr import Multiaddr

from peerstack.stack.errors import InvalidAddress, InvalidInput, InvalidPeerId, InvalidSignature, PeerIdMismatch
from peerstack.stack.host.peerstore import Peerstore, PeerstoreConfig, Ttl, printable
from peerstack.stack.identity import Envelope, Identity, PeerId, PeerRecord

IDENTITY, OTHER = Identity.generate(), Identity.generate()
PEER = IDENTITY.peer_id


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def peer_number(number: int) -> PeerId:
    return PeerId.from_bytes(b"\x12\x20" + number.to_bytes(32, "big"))


def address(number: int) -> Multiaddr:
    return Multiaddr(b"\x04" + (0x08000000 + number).to_bytes(4, "big") + b"\x06\x0f\xa1")


def record(*numbers: int, seq: int = 1, identity: Identity = IDENTITY) -> Envelope:
    return PeerRecord(identity.peer_id, seq, tuple(address(n).to_bytes() for n in numbers)).seal(identity)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Peerstore:
    return Peerstore(clock=clock)


def small(clock: Clock, **bounds: int) -> Peerstore:
    return Peerstore(PeerstoreConfig(**bounds), clock=clock)


def test_a_bound_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="records must be positive"):
        PeerstoreConfig(records=0)


def test_unknown_peers_are_empty_and_stay_unknown(store: Peerstore) -> None:
    assert (store.addresses(PEER), store.certified_addresses(PEER), store.protocols(PEER)) == ((), (), ())
    assert (store.agent(PEER), store.protocol_version(PEER)) == ("", "")
    assert (store.observed(PEER), store.record(PEER)) == (None, None)
    store.disconnected(PEER)
    store.forget(PEER)
    store.add_addresses(PEER, [], Ttl.PERMANENT)
    assert store.peers() == ()


METHODS: list[Callable[[Peerstore, Any], object]] = [
    lambda store, peer: store.add_addresses(peer, [address(1)], 1.0),
    lambda store, peer: store.replace_addresses(peer, [address(1)]),
    lambda store, peer: store.addresses(peer),
    lambda store, peer: store.certified_addresses(peer),
    lambda store, peer: store.add_record(peer, b"", 1.0),
    lambda store, peer: store.record(peer),
    lambda store, peer: store.set_protocols(peer, ["/x"]),
    lambda store, peer: store.protocols(peer),
    lambda store, peer: store.supports(peer, "/x"),
    lambda store, peer: store.set_agent(peer, "x"),
    lambda store, peer: store.agent(peer),
    lambda store, peer: store.set_protocol_version(peer, "x"),
    lambda store, peer: store.protocol_version(peer),
    lambda store, peer: store.set_observed(peer, address(1)),
    lambda store, peer: store.observed(peer),
    lambda store, peer: store.connected(peer),
    lambda store, peer: store.disconnected(peer),
    lambda store, peer: store.forget(peer),
]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_what_is_no_peer(store: Peerstore, method: Callable[[Peerstore, Any], object]) -> None:
    for wrong in (PEER.to_bytes(), None, 5, PeerId):
        with pytest.raises(TypeError, match="a peer is a PeerId"):
            method(store, wrong)
    with pytest.raises(InvalidPeerId):
        method(store, "nonsense")
    assert store.peers() == ()


def test_a_peer_may_be_given_as_text_or_by_its_address(store: Peerstore) -> None:
    store.add_addresses(str(PEER), f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}", 1.0)
    store.set_agent(f"/p2p/{PEER}", "theirs")
    assert store.peers() == (PEER,)
    assert store.addresses(str(PEER)) == store.addresses(PEER) == (Multiaddr("/ip4/1.2.3.4/tcp/1"),)
    assert store.agent(PEER.to_cid()) == "theirs"
    store.forget(str(PEER))
    assert store.peers() == ()


@pytest.mark.parametrize("wrong", [5, None, b"/ip4/1.2.3.4/tcp/1", [5], [b"\x04\x01\x02\x03\x04"[:2]]])
def test_only_real_addresses_are_taken(store: Peerstore, wrong: Any) -> None:
    with pytest.raises((TypeError, InvalidAddress)):
        store.add_addresses(PEER, wrong, 1.0)
    assert store.peers() == ()


@pytest.mark.parametrize("wrong", ["5", None, float("nan"), -1.0])
def test_only_real_times_are_taken(store: Peerstore, wrong: Any) -> None:
    with pytest.raises((TypeError, InvalidInput), match="ttl is a"):
        store.add_addresses(PEER, [address(1)], wrong)
    assert store.peers() == ()


def test_protocols_are_a_list(store: Peerstore) -> None:
    with pytest.raises(TypeError, match="not one text"):
        store.set_protocols(PEER, "/x")


def test_only_real_multiaddrs_are_taken(store: Peerstore) -> None:
    with pytest.raises(InvalidAddress):
        store.set_observed(PEER, Multiaddr(b"\xff\xff\x03"))


def test_addresses_expire_by_how_they_were_learned(store: Peerstore, clock: Clock) -> None:
    store.add_addresses(PEER, [address(1)], Ttl.TEMPORARY)
    store.add_addresses(PEER, [address(2)], Ttl.DISCOVERED)
    store.add_addresses(PEER, [address(3)], 5.0)
    store.add_addresses(PEER, [address(4)], Ttl.PERMANENT)
    clock.now = 5.0
    assert store.addresses(PEER) == (address(1), address(2), address(4))
    clock.now = 120.0
    assert store.addresses(PEER) == (address(2), address(4))
    clock.now = 1e9
    assert store.addresses(PEER) == (address(4),)


def test_a_shorter_time_does_not_replace_a_longer_one(store: Peerstore, clock: Clock) -> None:
    store.add_addresses(PEER, [address(1)], Ttl.DISCOVERED)
    store.add_addresses(PEER, [address(1)], 1.0)
    clock.now = 100.0
    assert store.addresses(PEER) == (address(1),)


def test_the_peer_itself_is_stripped_from_addresses_and_other_peers_are_left_out(store: Peerstore) -> None:
    mine = Multiaddr(f"{address(1)}/p2p/{PEER}")
    others = Multiaddr(f"{address(2)}/p2p/{OTHER.peer_id}")
    store.add_addresses(PEER, [mine, others, Multiaddr(f"/p2p/{PEER}")], Ttl.DISCOVERED)
    assert store.addresses(PEER) == (address(1),)


def test_what_a_peer_says_while_connected_lasts_until_a_while_after(store: Peerstore, clock: Clock) -> None:
    store.connected(PEER)
    store.add_addresses(PEER, [address(1)], Ttl.CONNECTED)
    store.add_addresses(PEER, [address(2)], Ttl.TEMPORARY)
    clock.now = 1e6
    assert store.addresses(PEER) == (address(1), address(2))
    store.disconnected(PEER)
    store.disconnected(PEER)
    clock.now += 899.0
    assert store.addresses(PEER) == (address(1),)
    clock.now += 1.0
    assert store.addresses(PEER) == ()


def test_where_a_peer_was_reached_lasts_longer_than_what_it_says(store: Peerstore, clock: Clock) -> None:
    store.connected(PEER)
    store.add_addresses(PEER, [address(1)], Ttl.DIALED)
    store.replace_addresses(PEER, [address(1), address(2)])
    store.replace_addresses(PEER, [address(3)])
    assert store.addresses(PEER) == (address(1), address(3))
    store.add_record(PEER, record(1, 4), Ttl.CONNECTED)
    store.add_record(PEER, record(5, seq=2), Ttl.CONNECTED)
    assert set(store.addresses(PEER)) == {address(1), address(3), address(5)}
    clock.now = 1e6
    store.disconnected(PEER)
    clock.now += 3599.0
    assert store.addresses(PEER) == (address(1),)
    clock.now += 1.0
    assert store.addresses(PEER) == ()


def test_where_a_peer_was_reached_is_kept_when_what_it_says_is_too_much(store: Peerstore) -> None:
    store.connected(PEER)
    store.add_addresses(PEER, [address(1)], Ttl.DIALED)
    store.replace_addresses(PEER, [address(n) for n in range(1000, 2000)])
    store.disconnected(PEER)
    assert address(1) in store.addresses(PEER)


def test_where_a_peer_was_reached_that_is_gone_already_is_remembered_for_an_hour(
    store: Peerstore, clock: Clock
) -> None:
    store.add_addresses(PEER, [address(1)], Ttl.DIALED)
    clock.now = 3600.0
    assert store.addresses(PEER) == ()


def test_what_was_said_too_late_counts_as_recently_connected(store: Peerstore, clock: Clock) -> None:
    store.add_addresses(PEER, [address(1)], Ttl.CONNECTED)
    clock.now = 900.0
    assert store.addresses(PEER) == ()


def test_what_a_peer_says_now_replaces_what_it_said_before_without_a_signature(store: Peerstore) -> None:
    store.connected(PEER)
    store.add_addresses(PEER, [address(1)], Ttl.PERMANENT)
    store.add_record(PEER, record(2), Ttl.CONNECTED)
    store.replace_addresses(PEER, [address(3), address(4)])
    store.replace_addresses(PEER, [address(4), address(5)])
    assert set(store.addresses(PEER)) == {address(n) for n in (1, 2, 4, 5)}


def test_made_up_addresses_of_one_peer_are_cut(store: Peerstore) -> None:
    store.add_addresses(PEER, [address(n) for n in range(10)], Ttl.DISCOVERED)
    store.add_addresses(PEER, [address(n) for n in range(1000, 2000)], Ttl.TEMPORARY)
    kept = store.addresses(PEER)
    assert len(kept) == 64
    assert set(kept) >= {address(n) for n in range(10)}


def test_a_connected_peer_may_have_more_and_keeps_few_when_it_goes(store: Peerstore) -> None:
    store.connected(PEER)
    store.add_record(PEER, record(7), Ttl.CONNECTED)
    store.add_addresses(PEER, [address(n) for n in range(1000, 2000)], Ttl.CONNECTED)
    assert len(store.addresses(PEER)) == 500
    store.disconnected(PEER)
    assert len(store.addresses(PEER)) == 20
    assert address(7) in store.addresses(PEER)


# --- signed records


def test_a_signed_record_is_kept_byte_for_byte(store: Peerstore) -> None:
    encoded = record(1, 2).encode()
    taken = store.add_record(PEER, encoded, Ttl.DISCOVERED)
    assert taken is not None
    assert taken.seq == 1
    assert store.record(PEER) == encoded
    assert store.certified_addresses(PEER) == store.addresses(PEER) == (address(1), address(2))


def test_a_newer_record_evicts_what_only_the_older_one_certified(store: Peerstore) -> None:
    store.add_addresses(PEER, [address(9)], Ttl.DISCOVERED)
    store.add_addresses(PEER, [address(2)], Ttl.PERMANENT)
    store.add_record(PEER, record(1, 2, 3), Ttl.DISCOVERED)
    store.add_record(PEER, record(3, 4, seq=2), Ttl.DISCOVERED)
    assert set(store.addresses(PEER)) == {address(9), address(2), address(3), address(4)}
    assert store.certified_addresses(PEER) == (address(3), address(4))


@pytest.mark.parametrize("seq", [0, 4, 5])
def test_an_older_record_is_ignored(store: Peerstore, seq: int) -> None:
    store.add_record(PEER, record(1, seq=5), Ttl.DISCOVERED)
    assert store.add_record(PEER, record(2, seq=seq), Ttl.DISCOVERED) is None
    assert store.addresses(PEER) == (address(1),)


def test_the_same_record_again_refreshes_its_addresses(store: Peerstore, clock: Clock) -> None:
    envelope = record(1)
    store.add_record(PEER, envelope, 10.0)
    clock.now = 9.0
    assert store.add_record(PEER, envelope, 10.0) is not None
    clock.now = 18.0
    assert store.addresses(PEER) == (address(1),)


def test_the_highest_sequence_number_locks_out_only_its_own_peer(store: Peerstore) -> None:
    store.add_record(PEER, record(1, seq=(1 << 64) - 1), Ttl.DISCOVERED)
    assert store.add_record(PEER, record(2, seq=3), Ttl.DISCOVERED) is None
    assert store.add_record(OTHER.peer_id, record(2, seq=3, identity=OTHER), Ttl.DISCOVERED) is not None


def test_records_of_other_peers_do_not_get_in(store: Peerstore) -> None:
    with pytest.raises(PeerIdMismatch):
        store.add_record(PEER, record(1, identity=OTHER), Ttl.DISCOVERED)
    assert store.peers() == ()


def test_a_broken_signature_does_not_get_in(store: Peerstore) -> None:
    good = record(1)
    bad = Envelope(good.public_key, good.payload_type, good.payload, bytes(len(good.signature)))
    with pytest.raises(InvalidSignature):
        store.add_record(PEER, bad, Ttl.DISCOVERED)
    assert store.peers() == ()


def test_a_huge_record_does_not_get_in(store: Peerstore) -> None:
    with pytest.raises(InvalidInput, match="limit is 8192"):
        store.add_record(PEER, record(*range(2000)), Ttl.DISCOVERED)


def test_addresses_of_a_record_are_filtered_and_checked(store: Peerstore) -> None:
    foreign = Multiaddr(f"{address(3)}/p2p/{OTHER.peer_id}").to_bytes()
    encoded = (address(1).to_bytes(), b"\xff\xff", foreign, address(2).to_bytes())
    store.add_record(
        PEER, PeerRecord(PEER, 1, encoded).seal(IDENTITY), Ttl.DISCOVERED, keep=lambda item: item != address(1)
    )
    assert store.addresses(PEER) == (address(2),)


def test_endless_valid_records_fill_the_store_no_further_than_its_bound(clock: Clock) -> None:
    store = small(clock, records=3)
    identities = [Identity.generate() for _ in range(6)]
    for identity in identities:
        store.add_record(identity.peer_id, record(1, identity=identity), Ttl.DISCOVERED)
    assert store.statistics()["records"] == 3
    assert store.record(identities[0].peer_id) is None
    assert store.record(identities[-1].peer_id) is not None


# --- protocols, agent, observed address


def test_protocols_are_cut_and_replaced(store: Peerstore) -> None:
    store.set_protocols(PEER, (f"/p/{n}" for n in range(100_000)))
    assert len(store.protocols(PEER)) == 1024
    store.set_protocols(PEER, ["/b", "/a", "/b"])
    assert store.protocols(PEER) == ("/b", "/a")
    assert store.supports(PEER, "/a", "/x", "/b") == ("/a", "/b")


def test_what_a_peer_calls_itself_cannot_write_to_the_terminal(store: Peerstore) -> None:
    store.set_agent(PEER, "evil\x1b[2J\r\n\u202eagent" + "x" * 1000)
    store.set_protocol_version(PEER, "evil\x1b[2J\r\n\u202eversion" + "x" * 1000)
    assert store.agent(PEER) == "evil[2Jagent" + "x" * 116
    assert store.protocol_version(PEER) == "evil[2Jversion" + "x" * 114


@pytest.mark.parametrize("text", ["", "go-libp2p/0.41", "日本", "\x00\x07"])
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert printable(text, 128) == text.strip("\x00\x07")


def test_the_latest_observed_address_is_kept(store: Peerstore) -> None:
    store.set_observed(PEER, address(1))
    store.set_observed(PEER, address(2))
    assert store.observed(PEER) == address(2)


# --- bounds


def test_ten_thousand_passing_identities_leave_nothing_once_expired(store: Peerstore, clock: Clock) -> None:
    for number in range(10_000):
        clock.now += 1.0
        peer = peer_number(number)
        store.connected(peer)
        store.add_addresses(peer, [address(number)], Ttl.CONNECTED)
        store.disconnected(peer)
        assert len(store.peers()) <= 902
    clock.now += 10_000
    for number in range(1000):
        store.set_agent(PEER, str(number))
    assert store.peers() == (PEER,)


def test_the_least_recently_used_peers_are_forgotten_but_not_connected_nor_permanent_ones(clock: Clock) -> None:
    store = small(clock, unconnected_peers=3)
    connected, bootstrap = peer_number(1), peer_number(2)
    store.connected(connected)
    store.add_addresses(bootstrap, [address(2)], Ttl.PERMANENT)
    for number in range(10, 20):
        store.add_addresses(peer_number(number), [address(number)], Ttl.DISCOVERED)
        store.set_agent(peer_number(10), "touched")
    assert set(store.peers()) == {connected, bootstrap, *(peer_number(n) for n in (10, 18, 19))}


def test_addresses_of_unconnected_peers_have_a_total(clock: Clock) -> None:
    store = small(clock, unconnected_addresses=100)
    for number in range(50):
        store.add_addresses(peer_number(number), [address(n) for n in range(10)], Ttl.DISCOVERED)
    assert store.statistics() == {
        "peers": 10,
        "unconnected_peers": 10,
        "unconnected_addresses": 100,
        "records": 0,
    }
    for number in range(40, 50):
        store.forget(peer_number(number))
    assert store.statistics()["unconnected_addresses"] == 0


def test_forgotten_peers_take_their_records_along(store: Peerstore) -> None:
    store.add_record(PEER, record(1), Ttl.DISCOVERED)
    store.forget(PEER)
    assert store.statistics() == {"peers": 0, "unconnected_peers": 0, "unconnected_addresses": 0, "records": 0}


def test_endless_different_strings_are_not_shared_for_ever(store: Peerstore) -> None:
    for number in range(10_000):
        store.set_protocols(PEER, [f"/p/{number}"])
    assert len(store._shared._values) <= 4096


def test_five_hundred_idle_peers_cost_a_few_kibibytes_each(store: Peerstore) -> None:
    protocols = [f"/protocol/{n}/1.0.0" for n in range(30)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(500):
        peer = peer_number(number)
        store.connected(peer)
        store.add_addresses(peer, [address(n) for n in range(number, number + 8)], Ttl.CONNECTED)
        store.set_protocols(peer, [str(protocol) + "" for protocol in protocols])
        store.set_agent(peer, "go-libp2p/0.41.0")
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used / 500 < 3 * 1024


def test_permanent_lasts_for_ever() -> None:
    assert Ttl.PERMANENT.value == math.inf
    assert math.isfinite(Ttl.CONNECTED.value)
