"""Peer ids: which bytes and texts are one, and what they are good for in tables and logs."""

import dataclasses

import pytest

from peerstack.stack.errors import InvalidPeerId
from peerstack.stack.identity import Identity, KeyType, PeerId, PublicKey

ED25519 = b"\x00\x24\x08\x01\x12\x20" + bytes(range(32))
HASHED = b"\x12\x20" + bytes(range(32))


@pytest.mark.parametrize("data", [ED25519, HASHED], ids=["identity", "sha2-256"])
def test_bytes_round_trip_through_every_text(data: bytes) -> None:
    peer = PeerId.from_bytes(data)
    texts = [str(peer), peer.to_cid(), peer.to_cid("base36"), "z" + base58_cid(peer)]
    assert [PeerId.parse(text).to_bytes() for text in texts] == [data] * 4
    assert [text[:1] for text in texts[1:]] == ["b", "k", "z"]


def base58_cid(peer: PeerId) -> str:
    from peerstack.stack.identity.base_encoding import BASE58, encode_number

    return encode_number(b"\x01\x72" + peer.to_bytes(), BASE58)


def test_id_of_each_key_type(identity: Identity) -> None:
    peer = PeerId.from_public_key(identity.public_key)
    assert PeerId.from_bytes(peer.to_bytes()) == peer == identity.peer_id
    prefix = {KeyType.ED25519: "12D3KooW", KeyType.SECP256K1: "16Uiu2HA"}
    assert str(peer).startswith(prefix.get(identity.public_key.key_type, "Qm"))


def test_public_key_is_inside_the_id_when_it_is_short(identity: Identity) -> None:
    inline = identity.public_key.key_type in (KeyType.ED25519, KeyType.SECP256K1)
    assert identity.peer_id.public_key == (identity.public_key if inline else None)


def test_longer_keys_are_in_the_id_as_a_hash_only() -> None:
    encoded = Identity.generate("ecdsa").public_key.encode()
    with pytest.raises(InvalidPeerId, match="at most 42"):
        PeerId.from_bytes(bytes((0x00, len(encoded))) + encoded)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00", id="one byte"),
        pytest.param(b"\x00\x00", id="empty identity"),
        pytest.param(HASHED[:-1], id="short digest"),
        pytest.param(HASHED + b"\0", id="long digest"),
        pytest.param(b"\x12\x1f" + bytes(31), id="sha2-256 cut to 31 bytes"),
        pytest.param(b"\x13\x40" + bytes(64), id="sha2-512"),
        pytest.param(b"\x11\x14" + bytes(20), id="sha1"),
        pytest.param(b"\xb2\x20" + bytes(32), id="two-byte code"),
        pytest.param(b"\x92\x00\x20" + bytes(32), id="code longer than needed"),
        pytest.param(ED25519[:-1], id="identity cut"),
        pytest.param(ED25519 + b"\0", id="identity with a byte behind"),
        pytest.param(b"\x00\x23" + ED25519[2:], id="identity announcing less"),
        pytest.param(b"\x00\x20" + bytes(32), id="identity of no key"),
        pytest.param(b"\x00\x26" + ED25519[2:] + b"\x18\x00", id="identity of a key with a further field"),
        pytest.param(b"\x00\x25\x08\x01\x12\xa0\x00" + bytes(32), id="identity of a non-minimal key"),
        pytest.param(b"\x00\x2b\x08\x02\x12\x27" + bytes(39), id="identity of 43 bytes"),
        pytest.param(b"\x00\x25\x08\x02\x12\x21\x02" + b"\xff" * 32, id="identity of a point off the curve"),
        pytest.param(b"\x00\x24\x08\x00\x12\x20" + bytes(32), id="identity of an RSA key"),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidPeerId):
        PeerId.from_bytes(data)


GOOD = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
GOOD_CID = "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "Qm",
        "b",
        "k",
        "z",
        GOOD[:-1],
        GOOD + "1",
        "1" + GOOD,
        GOOD.replace("K", "0"),  # 0, O, I and l are no digits of base58
        GOOD + " ",
        " " + GOOD,
        "é" + GOOD,
        "12D3KooW\ud800",
        GOOD_CID.upper(),
        "b" + GOOD_CID[1:].upper(),
        GOOD_CID + "a",
        GOOD_CID + "=",
        "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxf",  # the bits behind the last byte are not zero
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",  # a CID of dag-pb
        "k0" + "51qzi5uqu5dgy8qsq67hbz73jqkw87l3fgf4a91qb0d9b5173tir7n4vxk1oe",
        "f01720024",
        "/p2p/" + GOOD,
    ],
)
def test_other_texts_are_refused_and_named(text: str) -> None:
    with pytest.raises(InvalidPeerId) as caught:
        PeerId.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("first", ["1", "Qm", "b", "k", "z"])
def test_long_text_is_refused_unread(first: str) -> None:
    # decoding base58 is quadratic in the length
    with pytest.raises(InvalidPeerId, match="too long"):
        PeerId.parse(first + "2" * 1_000_000)


def test_peer_ids_are_keys_of_tables() -> None:
    one, same, other = (
        PeerId.from_bytes(ED25519),
        PeerId.from_bytes(bytes(bytearray(ED25519))),
        PeerId.from_bytes(HASHED),
    )
    assert str(one)
    assert {one: 1}[same] == 1
    assert one == same != other
    assert one != ED25519
    assert sorted([other, one]) == [one, other]


def test_peer_ids_do_not_change() -> None:
    peer = PeerId.from_bytes(ED25519)
    with pytest.raises(dataclasses.FrozenInstanceError):
        peer._bytes = HASHED  # type: ignore[misc]  # what is tested
    with pytest.raises((AttributeError, TypeError)):
        peer.colour = "red"  # type: ignore[attr-defined]  # what is tested


def test_text_for_logs() -> None:
    peer = PeerId.parse(GOOD)
    assert repr(peer) == f"PeerId({GOOD})"
    assert f"{peer}" == GOOD
    assert peer.short() == "Umo7R3pq"


def test_the_same_key_gives_the_same_id_object_again(ed25519: Identity) -> None:
    key = PublicKey.decode(ed25519.public_key.encode())
    assert key.peer_id is key.peer_id
    assert key.peer_id == ed25519.peer_id
