"""Of what a peer says of itself only that is believed which it proves, or which does no harm."""

from __future__ import annotations

from dataclasses import replace

import pytest
from multiaddr import Multiaddr

from peerstack.protocols.identify.learn import check_key, is_plausible, learn
from peerstack.protocols.identify.wire import Identify
from peerstack.stack.abc import ConnectionInfo, Direction
from peerstack.stack.errors import PeerIdMismatch, RemoteProtocolError
from peerstack.stack.host.peerstore import Peerstore
from peerstack.stack.identity import Envelope, Identity, PeerRecord

PEER, OTHER = Identity.generate(), Identity.generate()
INFO = ConnectionInfo(
    remote_peer=PEER.peer_id,
    remote_public_key=PEER.public_key,
    local_address=Multiaddr("/ip4/10.0.0.1/tcp/1"),
    remote_address=Multiaddr("/ip4/8.8.8.8/tcp/1"),
    direction=Direction.INBOUND,
    security="/noise",
    muxer="/yamux/1.0.0",
)
PUBLIC, PRIVATE, LOOPBACK = (Multiaddr(f"/ip4/{ip}/tcp/9") for ip in ("9.9.9.9", "192.168.0.1", "127.0.0.1"))


def record(*addresses: Multiaddr, seq: int = 1, identity: Identity = PEER) -> bytes:
    encoded = tuple(address.to_bytes() for address in addresses)
    return PeerRecord(identity.peer_id, seq, encoded).seal(identity).encode()


FULL = Identify(listen_addresses=(PUBLIC.to_bytes(),), protocols=("/a",), agent="go", protocol_version="v1")


@pytest.fixture
def store() -> Peerstore:
    store = Peerstore(clock=lambda: 0.0)
    store.connected(PEER.peer_id)
    return store


def test_the_proven_key_is_accepted_and_so_is_none() -> None:
    check_key(INFO, Identify(public_key=PEER.public_key.encode()))
    check_key(replace(INFO, remote_public_key=None), Identify(public_key=PEER.public_key.encode()))
    check_key(INFO, Identify())


def test_another_key_than_the_proven_one_is_a_mismatch() -> None:
    with pytest.raises(PeerIdMismatch) as caught:
        check_key(INFO, Identify(public_key=OTHER.public_key.encode()))
    assert (caught.value.expected, caught.value.actual) == (PEER.peer_id, OTHER.peer_id)


@pytest.mark.parametrize("key", [b"", b"\xff", b"\x08\x00\x12\x80\x10" + b"\x30" * 2048, bytes(5000)])
def test_a_broken_or_huge_key_is_the_peers_error(key: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="public key in identify"):
        check_key(INFO, Identify(public_key=key))


@pytest.mark.parametrize(
    ("seen_at", "believed"),
    [
        ("/ip4/127.0.0.1/tcp/1", [PUBLIC, PRIVATE, LOOPBACK]),
        ("/memory/1", [PUBLIC, PRIVATE, LOOPBACK]),
        ("/ip4/192.168.0.7/tcp/1", [PUBLIC, PRIVATE]),
        ("/ip4/8.8.8.8/tcp/1", [PUBLIC]),
        ("/ip6/2001:4860::1/udp/1/quic-v1", [PUBLIC]),
    ],
)
def test_addresses_are_believed_by_how_we_see_the_peer(seen_at: str, believed: list[Multiaddr]) -> None:
    candidates = [PUBLIC, PRIVATE, LOOPBACK]
    assert [address for address in candidates if is_plausible(address, Multiaddr(seen_at))] == believed


def test_everything_plain_is_remembered_and_told(store: Peerstore) -> None:
    received = Identify(
        listen_addresses=(PUBLIC.to_bytes(), b"\xff\xfe", PRIVATE.to_bytes()),
        protocols=("/a", "/b"),
        agent="go",
        protocol_version="ipfs/0.1.0",
        observed_address=PRIVATE.to_bytes(),
    )
    event = learn(store, INFO, received, pushed=False)
    assert (event.addresses, event.protocols, event.agent) == ((PUBLIC,), ("/a", "/b"), "go")
    assert (event.observed_address, event.signed, event.protocol_version) == (PRIVATE, False, "ipfs/0.1.0")
    assert (store.agent(PEER.peer_id), store.protocol_version(PEER.peer_id)) == ("go", "ipfs/0.1.0")
    assert store.observed(PEER.peer_id) == PRIVATE
    assert store.addresses(PEER.peer_id) == (PUBLIC,)


@pytest.mark.parametrize("observed", [None, b"", b"\xff\xff"])
def test_a_malformed_observed_address_is_none(store: Peerstore, observed: bytes | None) -> None:
    assert learn(store, INFO, Identify(observed_address=observed), pushed=False).observed_address is None


def test_a_valid_record_counts_instead_of_the_plain_list(store: Peerstore) -> None:
    plain = Multiaddr("/ip4/1.1.1.1/tcp/1")
    received = Identify(listen_addresses=(plain.to_bytes(),), signed_record=record(PUBLIC, PRIVATE))
    event = learn(store, INFO, received, pushed=False)
    assert (event.addresses, event.signed) == ((PUBLIC,), True)
    assert store.addresses(PEER.peer_id) == (PUBLIC,)


def tampered() -> bytes:
    good = Envelope.decode(record(PUBLIC))
    return Envelope(good.public_key, good.payload_type, good.payload, bytes(64)).encode()


@pytest.mark.parametrize("worthless", [b"", b"\xff", tampered()], ids=["empty", "not an envelope", "bad signature"])
def test_a_worthless_record_is_as_good_as_none(store: Peerstore, worthless: bytes) -> None:
    # The peer itself says both; py-libp2p with an RSA key sends envelopes that no other can read.
    received = Identify(listen_addresses=(PUBLIC.to_bytes(),), signed_record=worthless)
    event = learn(store, INFO, received, pushed=False)
    assert (event.addresses, event.signed) == ((PUBLIC,), False)
    assert store.statistics()["records"] == 0


def test_who_sends_the_record_of_another_peer_is_believed_no_address(store: Peerstore) -> None:
    theirs = record(PUBLIC, identity=OTHER)
    received = Identify(listen_addresses=(PUBLIC.to_bytes(),), signed_record=theirs)
    event = learn(store, INFO, received, pushed=False)
    assert (event.addresses, event.signed) == ((), False)
    assert store.statistics()["records"] == 0


def test_a_stale_record_changes_nothing(store: Peerstore) -> None:
    learn(store, INFO, Identify(signed_record=record(PUBLIC, seq=5)), pushed=False)
    stale = record(Multiaddr("/ip4/1.1.1.1/tcp/1"), seq=4)
    event = learn(store, INFO, Identify(signed_record=stale), pushed=True)
    assert event.addresses == (PUBLIC,)


def test_what_a_push_leaves_empty_is_unchanged(store: Peerstore) -> None:
    learn(store, INFO, FULL, pushed=False)
    event = learn(store, INFO, Identify(), pushed=True)
    assert (event.addresses, event.protocols, event.agent, event.protocol_version) == ((PUBLIC,), ("/a",), "go", "v1")


def test_what_a_push_says_replaces_what_was_said(store: Peerstore) -> None:
    learn(store, INFO, FULL, pushed=False)
    newer = Multiaddr("/ip4/1.1.1.1/tcp/1")
    received = Identify(listen_addresses=(newer.to_bytes(),), protocols=("/b",), agent="rust", protocol_version="v2")
    event = learn(store, INFO, received, pushed=True)
    assert (event.addresses, event.protocols, event.agent, event.protocol_version) == ((newer,), ("/b",), "rust", "v2")


def test_an_answer_that_says_nothing_replaces_what_was_known(store: Peerstore) -> None:
    learn(store, INFO, FULL, pushed=False)
    event = learn(store, INFO, Identify(), pushed=False)
    assert (event.addresses, event.protocols, event.agent, event.protocol_version) == ((), (), "", "")


def test_a_list_of_victims_is_cut(store: Peerstore) -> None:
    victims = tuple(Multiaddr(f"/ip4/9.9.9.9/tcp/{port}").to_bytes() for port in range(1, 2000))
    learn(store, INFO, Identify(listen_addresses=victims), pushed=False)
    assert len(store.addresses(PEER.peer_id)) == 500
    store.disconnected(PEER.peer_id)
    assert len(store.addresses(PEER.peer_id)) == 20
