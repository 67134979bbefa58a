"""Keys, signatures, peer ids, envelopes and records that the specification or other implementations wrote."""

import json
from pathlib import Path
from typing import Any

import pytest

from peerstack.stack.errors import InvalidSignature
from peerstack.stack.identity import Envelope, Identity, KeyType, PeerId, PeerRecord, PublicKey

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/identity.json").read_text())
SIGNED = [vector for vector in VECTORS["keys"] if "signature" in vector]
DETERMINISTIC = [vector for vector in SIGNED if vector["key_type"] in ("ed25519", "rsa")]
WITH_ID = [vector for vector in VECTORS["keys"] if "peer_id" in vector]


def name(vector: dict[str, str]) -> str:
    return vector.get("name", vector.get("base58", ""))


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=name)
def test_private_key_gives_the_public_key(vector: dict[str, str]) -> None:
    identity = Identity.decode(bytes.fromhex(vector["private"]))
    assert identity.public_key.encode().hex() == vector["public"]
    assert identity.public_key.key_type is KeyType[vector["key_type"].upper()]


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=name)
def test_keys_are_written_as_they_were_read(vector: dict[str, str]) -> None:
    public = bytes.fromhex(vector["public"])
    private = bytes.fromhex(vector["private"])
    assert PublicKey.decode(public).encode() == public
    if "old form" in vector["name"]:
        private = b"\x08\x01\x12\x40" + private[4:-32]
    assert Identity.decode(private).encode() == private


@pytest.mark.parametrize("vector", WITH_ID, ids=name)
def test_peer_id_of_a_key(vector: dict[str, str]) -> None:
    assert str(PublicKey.decode(bytes.fromhex(vector["public"])).peer_id) == vector["peer_id"]


@pytest.mark.parametrize("vector", SIGNED, ids=name)
def test_signature_of_another_implementation(vector: dict[str, str]) -> None:
    key = PublicKey.decode(bytes.fromhex(vector["public"]))
    message, signature = bytes.fromhex(vector["message"]), bytes.fromhex(vector["signature"])
    key.verify(message, signature)
    with pytest.raises(InvalidSignature):
        key.verify(message + b"!", signature)


@pytest.mark.parametrize("vector", DETERMINISTIC, ids=name)
def test_deterministic_signatures_are_the_same(vector: dict[str, str]) -> None:
    identity = Identity.decode(bytes.fromhex(vector["private"]))
    assert identity.sign(bytes.fromhex(vector["message"])).hex() == vector["signature"]


@pytest.mark.parametrize("vector", VECTORS["peer_ids"], ids=name)
def test_texts_of_a_peer_id(vector: dict[str, str]) -> None:
    peer = PeerId.parse(vector["base58"])
    assert str(peer) == vector["base58"]
    assert peer.to_cid() == vector["base32"]
    assert {PeerId.parse(text) for text in vector.values()} == {peer}
    if "base36" in vector:
        assert peer.to_cid("base36") == vector["base36"]


def test_envelope_of_go() -> None:
    vector = VECTORS["envelope"]
    encoded = bytes.fromhex(vector["encoded"])
    envelope = Envelope.decode(encoded)
    assert envelope.open(vector["domain"], bytes.fromhex(vector["payload_type"])).hex() == vector["payload"]
    again = Envelope(envelope.public_key, envelope.payload_type, envelope.payload, envelope.signature)
    assert again.encode() == encoded


def test_peer_record_of_go() -> None:
    vector: dict[str, Any] = VECTORS["peer_record"]
    addresses = tuple(bytes.fromhex(address) for address in vector["addresses"])
    record = PeerRecord(PeerId.parse(vector["peer_id"]), vector["seq"], addresses)
    assert record.encode_payload().hex() == vector["encoded"]
    assert PeerRecord.decode_payload(bytes.fromhex(vector["encoded"])) == record
