"""Multiaddrs under arbitrary text and bytes: one canonical form, and only InvalidAddress comes out."""

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st
from multiaddr import Multiaddr
from multiaddr.protocols import PROTOCOLS

from peerstack.stack.addressing import (
    components,
    expand_unspecified,
    is_loopback,
    is_private,
    is_public,
    parse_address,
    parse_addresses_lossy,
    split_peer,
    tcp_endpoint,
    thin_waist,
    transport_name,
    with_peer,
)
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.identity import PeerId
from peerstack.stack.wire import varint

PEERS = st.binary(min_size=32, max_size=32).map(lambda digest: PeerId.from_bytes(b"\x12\x20" + digest))
LABELS = st.from_regex(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?", fullmatch=True)
DOMAINS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
PORTS = st.integers(0, 65535)
VALID = st.one_of(
    st.builds("/ip4/{}/tcp/{}".format, st.ip_addresses(v=4), PORTS),
    st.builds("/ip6/{}/udp/{}/quic-v1".format, st.ip_addresses(v=6), PORTS),
    st.builds("/ip4/{}/tcp/{}/ws/p2p/{}/p2p-circuit/p2p/{}".format, st.ip_addresses(v=4), PORTS, PEERS, PEERS),
    st.builds("/memory/{}".format, st.integers(0, 2**64 - 1)),
    st.builds("/unix/{}".format, st.from_regex(r"[a-z]{1,9}(/[a-z ]{1,9})*", fullmatch=True)),
)
CODES = st.sampled_from([entry.code for entry in PROTOCOLS])
PIECES = st.builds(lambda code, value: varint.encode(code) + value, CODES, st.binary(max_size=40))
PREFIXED = st.builds(
    lambda code, value: varint.encode(code) + varint.encode(len(value)) + value, CODES, st.binary(max_size=60)
)
BYTES = st.one_of(st.binary(max_size=80), st.lists(st.one_of(PIECES, PREFIXED), max_size=4).map(b"".join))
WORDS = st.one_of(st.sampled_from([entry.name for entry in PROTOCOLS]), st.text(max_size=12), PORTS.map(str))


def use_every_question(address: Multiaddr) -> None:
    """Ask everything that code above asks about an address from a peer."""
    for question in (is_loopback, is_private, is_public, tcp_endpoint, thin_waist, transport_name):
        question(address)
    rest, peer = split_peer(address)
    if peer is not None:
        assert with_peer(rest, peer) == address
    assert expand_unspecified(address, interfaces=list) in ([], [address])


@given(BYTES)
@example(b"\x35\x03\xe2\x84\x80")
@example(b"\x2a\x02\x0b\x61")
@example(bytes.fromhex("9003022f25"))
def test_bytes_are_canonical_or_refused(data: bytes) -> None:
    with contextlib.suppress(InvalidAddress):
        address = parse_address(data)
        assert address.to_bytes() == data
        assert parse_address(str(address)) == address
        use_every_question(address)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=8).map(lambda words: "/" + "/".join(words))))
def test_text_is_made_canonical_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidAddress):
        address = parse_address(text)
        assert parse_address(address.to_bytes()) == address
        assert parse_address(str(address)) == address
        use_every_question(address)


@given(st.sampled_from([entry.name for entry in PROTOCOLS]), st.text(max_size=20))
def test_refusals_are_one_line_of_plain_text(name: str, value: str) -> None:
    message = "accepted"
    try:
        parse_address(f"/{name}/{value}")
    except InvalidAddress as error:
        message = str(error)
    assert message.isascii()
    assert message.isprintable()


@given(VALID)
def test_valid_addresses_are_accepted_as_the_library_writes_them(text: str) -> None:
    address = parse_address(text)
    assert parse_address(str(address)) == address
    if "/unix/" not in text:
        assert address == Multiaddr(text)


@given(DOMAINS)
def test_plain_names_are_accepted_exactly_where_the_library_prints_them(name: str) -> None:
    try:
        encoded = Multiaddr(f"/dns/{name}").to_bytes()
    except ValueError:
        encoded = None
    try:
        assert parse_address(f"/dns/{name}").to_bytes() == encoded
    except InvalidAddress:
        assert encoded is None


@given(VALID.filter(lambda text: "/unix/" not in text), PEERS)
def test_peer_ids_go_on_and_come_off(text: str, peer: PeerId) -> None:
    address, _ = split_peer(parse_address(text))
    assert split_peer(with_peer(address, peer)) == (address, peer)
    assert components(with_peer(address, peer))[:-1] == components(address)


@given(st.lists(BYTES, max_size=10), st.integers(0, 10))
def test_lists_never_fail(encoded: list[bytes], limit: int) -> None:
    assert len(parse_addresses_lossy(encoded, limit=limit)) <= limit
