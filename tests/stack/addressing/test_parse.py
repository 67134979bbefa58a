"""Parsing of multiaddrs: what is accepted, in which bytes, and what each refusal says."""

import pytest
from multiaddr import Multiaddr

from peerstack.stack.addressing import (
    Component,
    components,
    parse_address,
    parse_addresses_lossy,
    split_peer,
    with_peer,
)
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.identity import PeerId

ED25519 = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
ED25519_CID = "bafzaajaiaejcahwr5d5ofrfbis4l5d6uwr57hu5tjodrypfm6yaq6dsc2r2pzyt6"
RSA = "QmaEANgBs1DTSxWSrPPtobgQuxW8XTfsS4ydbK4rCHzqxG"
PEER = PeerId.parse(ED25519)
P2P = b"\xa5\x03\x26" + PEER.to_bytes()
ONION3 = "vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234"
GARLIC32 = "566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq"
CERTHASH = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("/ip4/127.0.0.1/tcp/4001", "047f000001060fa1"),
        ("/ip6/::1/udp/4001/quic-v1", "2900000000000000000000000000000001 9102 0fa1 cd03"),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", "2a0465746830 29fe800000000000000000000000000001 060001"),
        ("/dns/example.com/tcp/443/tls/sni/a.b/ws", "350b6578616d706c652e636f6d 0601bb c003 c10303612e62 dd03"),
        ("/dns4/localhost", "36096c6f63616c686f7374"),
        ("/dnsaddr/a", "380161"),
        (f"/p2p/{ED25519}/p2p-circuit", P2P.hex() + "a202"),
        (f"/p2p/{RSA}", "a50322" + PeerId.parse(RSA).to_bytes().hex()),
        ("/memory/18446744073709551615", "8906ffffffffffffffff"),
        ("/ip4/10.0.0.0/ipcidr/8", "040a0000002b08"),
        ("/unix/tmp/a%20b.sock", "90030d2f746d702f6120622e736f636b"),
        ("/ip4/1.2.3.4/tcp/80/http/http-path/a%2Fb", "0401020304060050e003e10303612f62"),
        ("/ip4/1.2.3.4/sctp/0/utp", "04010203048401 0000 ae02"),
        ("/dns/ελ.gr", "3507ceb5cebb2e6772"),
        ("/dns4/my_host/tcp/1", "36076d795f686f7374060001"),
        ("/dnsaddr/_x.example", "380a5f782e6578616d706c65"),
    ],
)
def test_text_and_bytes_correspond(text: str, encoded: str) -> None:
    address = parse_address(text)
    assert address.to_bytes() == bytes.fromhex(encoded)
    assert str(address) == text
    assert parse_address(address.to_bytes()) == address


@pytest.mark.parametrize(
    "text",
    [
        f"/ip4/1.2.3.4/udp/1/quic-v1/webtransport/certhash/{CERTHASH}/p2p/{ED25519}",
        f"/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/{CERTHASH}",
        f"/onion3/{ONION3}",
        f"/garlic32/{GARLIC32}",
        "/onion/timaq4ygg2iegci7:80",
        "/dns6/xn--fiqs8s/tcp/1",
        "/ip6/::ffff:1.2.3.4/tcp/1",
    ],
)
def test_rare_protocols_survive_a_round_trip(text: str) -> None:
    assert str(parse_address(parse_address(text).to_bytes())) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (f"/ipfs/{ED25519}", f"/p2p/{ED25519}"),
        (f"/p2p/{ED25519_CID}", f"/p2p/{ED25519}"),
        ("/ip4/1.2.3.4/tcp/080/", "/ip4/1.2.3.4/tcp/80"),
        ("/ip6/0:0:0:0:0:0:0:1", "/ip6/::1"),
        ("/unix//tmp/x/", "/unix/tmp/x"),
    ],
)
def test_other_spellings_become_one(text: str, canonical: str) -> None:
    assert str(parse_address(text)) == canonical
    assert parse_address(text).to_bytes() == parse_address(canonical).to_bytes()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins with '/', like /ip4/127.0.0.1/tcp/4001; got ''"),
        ("127.0.0.1:4001", "'127.0.0.1:4001' is not a multiaddr; type /ip4/127.0.0.1/tcp/4001"),
        ("/", "the multiaddr is empty"),
        ("//ip4/1.2.3.4", "empty component ('//') in '//ip4/1.2.3.4'; did you mean /ip4/1.2.3.4?"),
        ("/ip4/1.2.3.4//tcp/1", "empty component ('//') in '/ip4/1.2.3.4//tcp/1'; did you mean /ip4/1.2.3.4/tcp/1?"),
        ("/ip4/1.2.3.4/tpc/1", "unknown protocol 'tpc' in '/ip4/1.2.3.4/tpc/1'; did you mean /ip4/1.2.3.4/tcp/1?"),
        ("/IP4/1.2.3.4", "unknown protocol 'IP4' in "),
        ("/ip4=1.2.3.4", "unknown protocol 'ip4=1.2.3.4' in "),
        ("/dns4/tcp/80", "unknown protocol '80' (was the value of /dns4 left out?) in '/dns4/tcp/80'"),
        ("/ip4/1.2.3.4/udp/1/quic-v1/9", "unknown protocol '9' (/quic-v1 takes no value) in "),
        ("/ip4/1.2.3.4/tcp", "/tcp needs a value in '/ip4/1.2.3.4/tcp': a port from 0 to 65535"),
        ("/ip4//tcp/1", "/ip4 needs a value in '/ip4//tcp/1': an IPv4 address like 127.0.0.1"),
        ("/unix", "/unix needs a value in '/unix': a path"),
        ("/ip4/tcp/80", "/ip4 needs an IPv4 address like 127.0.0.1, not 'tcp', in '/ip4/tcp/80'"),
        ("/ip4/::1", "not '::1', in '/ip4/::1' (IPv6 goes into /ip6, a name into /dns)"),
        ("/ip4/1.2.3", "not '1.2.3'"),
        ("/ip4/1.2.3.04", "not '1.2.3.04'"),
        ("/ip4/1.2.3.4\n", r"not '1.2.3.4\n'"),
        ("/ip4/1.2.3.4\0", r"not '1.2.3.4\x00'"),
        ("/ip6/1.2.3.4", "/ip6 needs an IPv6 address like ::1, not '1.2.3.4'"),
        ("/ip6/fe80::1%eth0", "(a zone goes in front, like /ip6zone/eth0/ip6/fe80::1)"),
        ("/ip6zone/a b/ip6/::1", "/ip6zone needs the name of a network interface, not 'a b'"),
        ("/ip4/1.2.3.4/tcp/65536", "not '65536', in '/ip4/1.2.3.4/tcp/65536' (the largest is 65535)"),
        ("/ip4/1.2.3.4/tcp/-1", "not '-1'"),
        ("/ip4/1.2.3.4/tcp/8_0", "not '8_0'"),
        ("/ip4/1.2.3.4/tcp/\u0663", r"not '\u0663'"),
        ("/tcp/" + "9" * 5000, "multiaddr of 5005 characters; the limit is 1024 bytes"),
        ("/tcp/" + "9" * 4000, "/tcp needs a port from 0 to 65535"),
        ("/memory/18446744073709551616", "(the largest is 18446744073709551615)"),
        ("/ip4/10.0.0.0/ipcidr/256", "(the largest is 255)"),
        ("/dns/my host", "/dns needs a host name like example.com, not 'my host', in '/dns/my host' ("),
        ("/dns/" + "a" * 64, "/dns needs a host name"),
        ("/dns/a..b", "/dns needs a host name"),
        ("/dns/-a", "/dns needs a host name"),
        ("/dns/xn--zz", "/dns needs a host name"),
        ("/dns/\ud800", "/dns needs a host name"),
        ("/p2p/xyz", "/p2p needs a peer id like 12D3Koo... or Qm..., not 'xyz', in '/p2p/xyz' ("),
        ("/p2p/bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", "/p2p needs a peer id"),
        ("/certhash/uab", "/certhash needs a multihash in base64url"),
        ("/onion3/x", "/onion3 needs 56 base32 characters, ':' and a port, not 'x'"),
        ("/http-path/%zz", "/http-path needs a percent-encoded path, not '%zz'"),
        ("/unix/a%00b", "/unix needs a path, not 'a%00b'"),
        ("/unix/%ff", "/unix needs a path, not '%ff'"),
        ("/tls" * 21, "multiaddr of 21 components; the limit is 20"),
        ("/unix/" + "a" * 1030, "multiaddr of 1035 bytes; the limit is 1024"),
    ],
)
def test_a_refusal_says_in_one_line_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_address(text)
    message = str(caught.value)
    assert why in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 450


def test_the_limits_themselves_are_allowed() -> None:
    assert len(components(parse_address("/tls" * 20))) == 20
    assert len(parse_address("/unix/" + "a" * 1019).to_bytes()) == 1024


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("", "the multiaddr is empty"),
        ("04010203", "/ip4 has a value of 4 bytes, but the multiaddr ends after 3"),
        ("0401020304 06", "/tcp has a value of 2 bytes, but the multiaddr ends after 0"),
        ("0401020304 00", "unknown multiaddr protocol code 0"),
        ("0401020304 ff", "malformed multiaddr bytes: input ended inside a varint"),
        ("8400 01020304", "malformed multiaddr bytes: varint is longer than needed"),
        ("80808080808080808001", "malformed multiaddr bytes: varint is longer than 9 bytes"),
        ("ffffffffffffffff7f", "unknown multiaddr protocol code 9223372036854775807"),
        ("35ffffffffffffffff7f61", "/dns has a value of 9223372036854775807 bytes, but the multiaddr ends after 1"),
        ("35 8800 6c6f63616c686f7374", "varint is longer than needed"),
        ("3500", "value of /dns in multiaddr bytes: "),
        ("3501ff", "value of /dns in multiaddr bytes: "),
        ("3503 612f62", "value of /dns in multiaddr bytes: "),
        ("2a03 612f62", "value of /ip6zone in multiaddr bytes: expected the name of a network interface"),
        ("2a00", "value of /ip6zone in multiaddr bytes: "),
        ("a50300", "value of /p2p in multiaddr bytes: "),
        ("a503 28 0172" + PEER.to_bytes().hex(), "value of /p2p in multiaddr bytes: "),
        ("d203 03 010203", "value of /certhash in multiaddr bytes: "),
        ("e10300", "value of /http-path in multiaddr bytes: "),
        ("bd03" + "00" * 37, "value of /onion3 in multiaddr bytes: "),
        ("9003 02 6162", "value of /unix in multiaddr bytes: not an absolute path in canonical form"),
        ("9003 03 2f612f", "value of /unix in multiaddr bytes: not an absolute path in canonical form"),
        ("9003 02 2f61 c003", "nothing can follow /unix"),
        ("c003" * 513, "multiaddr of 1026 bytes; the limit is 1024"),
        ("c003" * 512, "multiaddr of 512 components; the limit is 20"),
    ],
)
def test_malformed_bytes_are_refused(encoded: str, why: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        parse_address(bytes.fromhex(encoded))
    assert why in str(caught.value)


@pytest.mark.parametrize("size", range(1, 50))
def test_an_address_cut_anywhere_else_than_between_components_is_refused(size: int) -> None:
    data = parse_address(f"/ip4/1.2.3.4/tcp/4001/p2p/{ED25519}").to_bytes()
    if size in (5, 8, 49):
        assert parse_address(data[:size]).to_bytes() == data[:size]
    else:
        with pytest.raises(InvalidAddress):
            parse_address(data[:size])


def test_a_multiaddr_of_the_library_is_checked() -> None:
    address = Multiaddr("/ip4/1.2.3.4/tcp/1")
    assert parse_address(address) == address


@pytest.mark.parametrize("made", [b"\x06\x01", b"\x04\x01\x02\x03", f"/p2p/{ED25519_CID}", "/unix/tmp/x", ""])
def test_a_multiaddr_that_the_library_should_not_have_made_is_refused(made: str | bytes) -> None:
    with pytest.raises(InvalidAddress):
        parse_address(Multiaddr(made))


def test_a_list_keeps_what_is_valid_in_order() -> None:
    good = [parse_address(f"/ip4/1.2.3.4/tcp/{port}") for port in range(3)]
    encoded = [b"", good[0].to_bytes(), b"\xff", good[1].to_bytes(), b"\x04\x01", good[2].to_bytes()]
    assert parse_addresses_lossy(encoded) == good


def test_a_list_is_read_up_to_the_limit_whatever_it_holds() -> None:
    address = parse_address("/ip4/1.2.3.4/tcp/1")
    assert len(parse_addresses_lossy([address.to_bytes()] * 1000)) == 500
    assert parse_addresses_lossy([b""] * 500 + [address.to_bytes()]) == []
    assert parse_addresses_lossy([b"", address.to_bytes(), address.to_bytes()], limit=2) == [address]


def test_components_are_pairs() -> None:
    found = components(parse_address(f"/ip4/1.2.3.4/tcp/4001/tls/ws/p2p/{ED25519}"))
    assert found == (("ip4", "1.2.3.4"), ("tcp", "4001"), ("tls", None), ("ws", None), ("p2p", ED25519))
    assert found[0] == Component(name="ip4", value="1.2.3.4")
    assert components(Multiaddr("")) == ()


def test_components_of_an_unchecked_multiaddr_are_checked() -> None:
    with pytest.raises(InvalidAddress):
        components(Multiaddr(b"\x04\x01"))


@pytest.mark.parametrize(
    ("text", "rest", "peer"),
    [
        (f"/ip4/1.2.3.4/tcp/1/p2p/{ED25519}", "/ip4/1.2.3.4/tcp/1", ED25519),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{RSA}", "/ip4/1.2.3.4/tcp/1", RSA),
        (f"/p2p/{ED25519}", "", ED25519),
        (f"/p2p/{RSA}/p2p-circuit/p2p/{ED25519}", f"/p2p/{RSA}/p2p-circuit", ED25519),
        (f"/p2p/{RSA}/p2p-circuit", f"/p2p/{RSA}/p2p-circuit", None),
        ("/ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.4/tcp/1", None),
    ],
)
def test_only_a_peer_id_at_the_end_is_split_off(text: str, rest: str, peer: str | None) -> None:
    assert split_peer(parse_address(text)) == (Multiaddr(rest), PeerId.parse(peer) if peer else None)


def test_a_peer_id_is_appended_once() -> None:
    address = parse_address("/ip4/1.2.3.4/tcp/1")
    named = with_peer(address, PEER)
    assert str(named) == f"/ip4/1.2.3.4/tcp/1/p2p/{ED25519}"
    assert with_peer(named, PEER) == named
    assert split_peer(named) == (address, PEER)
    assert str(with_peer(Multiaddr(""), PEER)) == f"/p2p/{ED25519}"


def test_a_peer_id_does_not_replace_another() -> None:
    with pytest.raises(InvalidAddress, match="already names peer"):
        with_peer(parse_address(f"/p2p/{RSA}"), PEER)


def test_a_peer_id_cannot_make_an_address_too_long() -> None:
    with pytest.raises(InvalidAddress, match="21 components"):
        with_peer(parse_address("/tls" * 20), PEER)
    with pytest.raises(InvalidAddress, match="nothing can follow /unix"):
        with_peer(parse_address("/unix/a"), PEER)
