"""What people type instead of a multiaddr is answered with the multiaddr to type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerstack.stack.addressing import parse_address
from peerstack.stack.addressing.parse import parse_peer
from peerstack.stack.addressing.suggest import MAX_TEXT, suggestion
from peerstack.stack.errors import InvalidAddress, InvalidPeerId

PEER = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("127.0.0.1:4001", "/ip4/127.0.0.1/tcp/4001"),
        (" 127.0.0.1:4001\n", "/ip4/127.0.0.1/tcp/4001"),
        ("'/ip4/1.2.3.4/tcp/1',", "/ip4/1.2.3.4/tcp/1"),
        ("[::1]:4001", "/ip6/::1/tcp/4001"),
        ("[::1]", "/ip6/::1/tcp/4001"),
        ("::1", "/ip6/::1/tcp/4001"),
        ("2001:db8::1", "/ip6/2001:db8::1/tcp/4001"),
        ("fe80::1%eth0", "/ip6zone/eth0/ip6/fe80::1/tcp/4001"),
        ("fe80::1", "/ip6zone/eth0/ip6/fe80::1/tcp/4001"),
        ("[fe80::1]:99", "/ip6zone/eth0/ip6/fe80::1/tcp/99"),
        ("[fe80::1%eth0]:99", "/ip6zone/eth0/ip6/fe80::1/tcp/99"),
        ("10.0.0.7", "/ip4/10.0.0.7/tcp/4001"),
        ("localhost", "/dns/localhost/tcp/4001"),
        ("localhost:80", "/dns/localhost/tcp/80"),
        ("example.com", "/dns/example.com/tcp/4001"),
        ("example.com:4002", "/dns/example.com/tcp/4002"),
        ("my_host:4001", "/dns/my_host/tcp/4001"),
        ("4001", "/ip4/127.0.0.1/tcp/4001"),
        (":4001", "/ip4/127.0.0.1/tcp/4001"),
        ("1.2.3.4/tcp/80", "/ip4/1.2.3.4/tcp/80"),
        ("1.2.3.4:80/ws", "/ip4/1.2.3.4/tcp/80/ws"),
        ("ip4/1.2.3.4/tcp/80", "/ip4/1.2.3.4/tcp/80"),
        ("ws://1.2.3.4", "/ip4/1.2.3.4/tcp/80/ws"),
        ("ws://example.com:8080/p2p", "/dns/example.com/tcp/8080/ws/http-path/p2p"),
        ("wss://example.com/", "/dns/example.com/tcp/443/tls/ws"),
        ("http://[::1]:8080", "/ip6/::1/tcp/8080/ws"),
        ("https://example.com", "/dns/example.com/tcp/443/tls/ws"),
        ("tcp://1.2.3.4:4001", "/ip4/1.2.3.4/tcp/4001"),
        ("udp://1.2.3.4:4001", "/ip4/1.2.3.4/udp/4001/quic-v1"),
        ("QUIC://1.2.3.4:4001", "/ip4/1.2.3.4/udp/4001/quic-v1"),
        ("unix:///run/app.sock", "/unix/run/app.sock"),
        ("dnsaddr=/ip4/1.2.3.4/tcp/1", "/ip4/1.2.3.4/tcp/1"),
        ("_dnsaddr.bootstrap.libp2p.io", "/dnsaddr/bootstrap.libp2p.io"),
        ("dnsaddr/bootstrap.libp2p.io", "/dnsaddr/bootstrap.libp2p.io"),
        (PEER, f"/p2p/{PEER}"),
        (f"{PEER}@1.2.3.4:4001", f"/ip4/1.2.3.4/tcp/4001/p2p/{PEER}"),
        ("C:/Program Files/Git/ip4/1.2.3.4/tcp/4001", "/ip4/1.2.3.4/tcp/4001"),
    ],
)
def test_what_is_no_multiaddr_is_answered_with_one(text: str, typed: str) -> None:
    assert suggestion(text) == f"type {typed}"
    with pytest.raises(InvalidAddress, match=r"is not a multiaddr; type /"):
        parse_address(text)


def test_a_host_and_port_where_a_peer_is_wanted_is_answered_with_the_multiaddr() -> None:
    with pytest.raises(InvalidAddress, match=r"is neither a peer id nor a multiaddr; type /ip4/127.0.0.1/tcp/4001"):
        parse_peer("127.0.0.1:4001")
    with pytest.raises(InvalidPeerId, match="'nonsense' is not a peer id"):
        parse_peer("nonsense")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("/ip4/127.0.0.1/tpc/4001", "/ip4/127.0.0.1/tcp/4001"),
        ("/IP4/127.0.0.1/TCP/4001", "/ip4/127.0.0.1/tcp/4001"),
        ("/ipv4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4001"),
        ("/ip4/127.0.0.1/4001", "/ip4/127.0.0.1/tcp/4001"),
        ("/ip4/127.0.0.1:4001", "/ip4/127.0.0.1/tcp/4001"),
        ("/ip4/127.0.0.1:4001/ws", "/ip4/127.0.0.1/tcp/4001/ws"),
        ("/ip4/127.0.0.1:4001/quic-v1", "/ip4/127.0.0.1/udp/4001/quic-v1"),
        ("/ip4/127.0.0.1/4001/quic", "/ip4/127.0.0.1/udp/4001/quic"),
        ("/ip4/localhost/tcp/4001", "/dns/localhost/tcp/4001"),
        ("/ip4/example.com/tcp/4001", "/dns/example.com/tcp/4001"),
        ("/ip4/::1/tcp/4001", "/ip6/::1/tcp/4001"),
        ("/ip6/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4001"),
        ("/ip6/[::1]:4001", "/ip6/::1/tcp/4001"),
        ("/ip6/fe80::1%eth0/tcp/4001", "/ip6zone/eth0/ip6/fe80::1/tcp/4001"),
        ("/dns4/example.com:443/wss", "/dns4/example.com/tcp/443/wss"),
        ("//ip4/1.2.3.4//tcp/1", "/ip4/1.2.3.4/tcp/1"),
        ("/ip4/1.2.3.4/udp/1/quicv1", "/ip4/1.2.3.4/udp/1/quic-v1"),
        (f"/ip4/1.2.3.4/tpc/1/p2p/{PEER}", f"/ip4/1.2.3.4/tcp/1/p2p/{PEER}"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(text: str, meant: str) -> None:
    assert suggestion(text) == f"did you mean {meant}?"
    with pytest.raises(InvalidAddress, match=r"; did you mean /"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vitalik.eth", "ENS names are not looked up here"),
        ("enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrk", "node records of Ethereum"),
        ("expyuzz4wqqyqhjn.onion:80", "there is no transport for Tor here"),
    ],
)
def test_what_is_no_address_here_is_named(text: str, says: str) -> None:
    assert says in str(suggestion(text))
    with pytest.raises(InvalidAddress, match=says):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "/", "/ip4//tcp/1", "/ip4/1.2.3.4/tcp/99999", "127.0.0.1:99999", "a b c", "x" * 301, "://"]
)
def test_where_nothing_can_be_guessed_nothing_is(text: str) -> None:
    assert suggestion(text) is None
    with pytest.raises(InvalidAddress):
        parse_address(text)


@given(st.text(max_size=MAX_TEXT) | st.from_regex(r"/?((ip4|dns|tcp|ws|p2p|1\.2\.3\.4|::1|\[::1\]:1)[/:@ %]?){1,9}"))
def test_whatever_is_typed_a_suggestion_is_one_line_with_a_multiaddr_or_none(text: str) -> None:
    advice = suggestion(text)
    if advice is not None:
        assert advice.isascii()
        assert advice.isprintable()
        words = advice.removesuffix("?").split()
        assert parse_address(words[-1])
