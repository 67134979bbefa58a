"""Identify messages are small enough for the strictest receiver, and nothing a peer sends is larger than its cap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerstack.protocols.identify.identify_pb2 import Identify as Message
from peerstack.protocols.identify.wire import MAX_MESSAGE, Identify, decode, encode
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.wire import varint


def split(encoded: bytes) -> list[bytes]:
    messages: list[bytes] = []
    offset = 0
    while offset < len(encoded):
        size, offset = varint.decode(encoded, offset)
        messages.append(encoded[offset : offset + size])
        offset += size
    return messages


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40)
IDENTIFY = st.builds(
    Identify,
    public_key=st.none() | st.binary(max_size=600),
    listen_addresses=st.lists(st.binary(max_size=200), max_size=20).map(tuple),
    protocols=st.lists(TEXT, max_size=60, unique=True).map(tuple),
    observed_address=st.none() | st.binary(max_size=200),
    protocol_version=TEXT,
    agent=TEXT,
    signed_record=st.none() | st.binary(max_size=7000),
)


@given(IDENTIFY)
def test_what_is_said_arrives_and_the_first_message_fits_the_strictest_receiver(identify: Identify) -> None:
    messages = split(encode(identify))
    assert len(messages[0]) <= 4096
    assert len(messages) <= 10
    assert max(map(len, messages)) <= MAX_MESSAGE
    assert decode(messages) == identify


def test_the_bytes_are_those_of_the_specification() -> None:
    identify = Identify(
        public_key=b"k",
        listen_addresses=(b"a",),
        protocols=("/p",),
        protocol_version="v",
        agent="g",
        signed_record=b"r",
    )
    expected = b"\x0a\x01k" + b"\x2a\x01v" + b"\x32\x01g" + b"\x1a\x02/p" + b"\x12\x01a" + b"\x42\x01r"
    assert encode(identify) == bytes([len(expected)]) + expected


def test_a_big_signed_record_comes_second_so_that_the_first_message_has_all_the_rest() -> None:
    identify = Identify(public_key=b"k", listen_addresses=(b"a" * 100,), protocols=("/p",), signed_record=b"r" * 4000)
    first, second = split(encode(identify))
    assert decode([first]).listen_addresses == identify.listen_addresses
    assert decode([second]) == Identify(signed_record=identify.signed_record)


def test_too_many_addresses_continue_behind_the_record() -> None:
    identify = Identify(
        protocols=("/p",), listen_addresses=tuple(bytes([n]) * 100 for n in range(90)), signed_record=b"r"
    )
    messages = split(encode(identify))
    assert decode(messages[:2]).signed_record == b"r"
    assert decode(messages).listen_addresses == identify.listen_addresses


def test_what_no_receiver_takes_is_left_out() -> None:
    identify = Identify(
        public_key=b"k",
        protocols=("/" + "x" * 5000,),
        observed_address=b"o" * 300,
        signed_record=b"r" * 9000,
        listen_addresses=tuple(bytes(200) for _ in range(400)),
    )
    messages = split(encode(identify))
    assert len(messages) == 10
    heard = decode(messages)
    assert (heard.protocols, heard.observed_address, heard.signed_record) == ((), None, None)
    assert 100 < len(heard.listen_addresses) < 400


def test_saying_nothing_is_one_empty_message() -> None:
    assert encode(Identify()) == b"\0"
    assert decode([b""]) == Identify()


# --- what peers send


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_any_bytes_are_either_a_message_or_the_peers_error(messages: list[bytes]) -> None:
    try:
        heard = decode(messages)
    except RemoteProtocolError:
        return
    assert all(isinstance(protocol, str) for protocol in heard.protocols)
    assert heard.agent.isprintable()


def test_truncated_messages_are_the_peers_error() -> None:
    with pytest.raises(RemoteProtocolError, match="not a protobuf"):
        decode([b"\x0a\x05ab"])


def test_peerstore_bloat_by_chunked_protocols_is_cut() -> None:
    chunks = [Message(protocols=[f"/{chunk}/{n}" for n in range(800)]).SerializeToString() for chunk in range(10)]
    assert len(decode(chunks).protocols) == 1024


def test_endless_addresses_are_cut() -> None:
    chunks = [Message(listen_addrs=[bytes([n % 256]) for n in range(2000)]).SerializeToString()] * 10
    assert len(decode(chunks).listen_addresses) == 500


def test_texts_that_are_not_utf8_do_no_harm() -> None:
    heard = decode([b"\x1a\x02\xff\xfe" + b"\x1a\x02/p" + b"\x32\x04go\xff\x07"])
    assert heard.protocols == ("/p",)
    assert heard.agent == "go\ufffd"


def test_texts_cannot_drive_a_terminal() -> None:
    heard = decode([Message(agent_version="a\x1b[31m\n" + "b" * 500, protocol_version="\x00v").SerializeToString()])
    assert heard.agent == "a[31m" + "b" * 123
    assert heard.protocol_version == "v"


def test_of_repeated_single_fields_the_last_wins() -> None:
    chunks = [Message(agent_version=agent, public_key=agent.encode()).SerializeToString() for agent in ("one", "two")]
    heard = decode(chunks)
    assert (heard.agent, heard.public_key) == ("two", b"two")
