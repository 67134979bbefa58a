"""Message ids are the bytes the other implementations compute."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from peerstack.protocols.pubsub.validation import signing
from peerstack.protocols.pubsub.validation.message_id import default_id, js_default_id, rust_default_id, sha256_of_data
from peerstack.protocols.pubsub.wire import Message, decode_rpc, make_message
from peerstack.stack.identity import Identity, KeyType
from peerstack.stack.wire.varint import encode_uint64

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/pubsub.json").read_text())["messages"]
IDENTITIES = [Identity.generate(key_type) for key_type in KeyType]
ANONYMOUS = make_message("topic", b"data")


def read(encoded: bytes) -> Message:
    (message,) = decode_rpc(b"\x12" + encode_uint64(len(encoded)) + encoded).messages
    return message


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_default_is_what_go_computes(vector: dict[str, str]) -> None:
    assert default_id(read(bytes.fromhex(vector["message"]))).hex() == vector["id"]


def test_anonymous_messages_of_different_content_differ_by_default() -> None:
    assert default_id(ANONYMOUS) == hashlib.sha256(b"data").digest()
    assert default_id(ANONYMOUS) != default_id(make_message("topic", b"other"))


def test_sha256_is_of_the_data_alone() -> None:
    signed = signing.sign(IDENTITIES[0], "other topic", b"data", 7)
    assert sha256_of_data(signed) == sha256_of_data(ANONYMOUS) == hashlib.sha256(b"data").digest()


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.public_key.key_type.name.lower())
def test_rust_joins_base58_and_decimal(identity: Identity) -> None:
    message = signing.sign(identity, "topic", b"data", 1_700_000_000_000_000_123)
    assert rust_default_id(message) == f"{identity.peer_id}1700000000000000123".encode()


def test_rust_has_an_id_for_no_author() -> None:
    assert rust_default_id(ANONYMOUS) == b"15R0"


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.public_key.key_type.name.lower())
def test_js_joins_public_key_and_number(identity: Identity) -> None:
    message = signing.sign(identity, "topic", b"data", 7)
    assert js_default_id(message) == identity.public_key.encode() + bytes(7) + b"\x07"


def test_js_hashes_what_is_anonymous() -> None:
    assert js_default_id(ANONYMOUS) == hashlib.sha256(b"data").digest()


@pytest.mark.parametrize("function", [default_id, rust_default_id, js_default_id])
def test_the_same_content_published_twice_has_two_ids(function: object) -> None:
    assert callable(function)
    first, second = (signing.sign(IDENTITIES[1], "topic", b"data", number) for number in (7, 8))
    assert function(first) != function(second)
    assert function(first) == function(read(first.encoded))
