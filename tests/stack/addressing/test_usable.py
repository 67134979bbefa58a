"""Every form of address that nothing here can dial has a line of its own: what it is, and what works instead."""

import pytest

from peerstack.stack.addressing import parse_address
from peerstack.stack.addressing.usable import dial_hint, why_no_single_host, why_undialable, why_unlistenable

PEER = "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
HASH = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g"
IP = "/ip4/192.0.2.7"

FORMS = {
    f"{IP}/udp/4001/quic": f"it is the old draft of QUIC, which nothing speaks any more; type {IP}/udp/4001/quic-v1",
    f"{IP}/udp/4001": f"UDP alone carries no connection; for QUIC type {IP}/udp/4001/quic-v1",
    f"{IP}/udp/4001/p2p/{PEER}": f"for QUIC type {IP}/udp/4001/quic-v1/p2p/{PEER}",
    f"{IP}/udp/1/quic-v1/webtransport/certhash/{HASH}": f"WebTransport, which is for browsers; the same port may speak "
    f"QUIC: {IP}/udp/1/quic-v1",
    f"{IP}/udp/1/quic-v1/webtransport/p2p/{PEER}": f"QUIC: {IP}/udp/1/quic-v1/p2p/{PEER}",
    f"{IP}/udp/1/webrtc-direct/certhash/{HASH}": "it is WebRTC, which is not spoken here; give a TCP, ",
    f"{IP}/tcp/1/p2p/{PEER}/p2p-circuit": "it goes through a relay, which is not possible here",
    f"{IP}/tcp/1/p2p/{PEER}/p2p-circuit/webrtc/p2p/{PEER}": "it is WebRTC",
    IP: f"it has no port; type {IP}/tcp/4001 with the port of the peer, or …/udp/4001/quic-v1",
    "/ip6/2001:db8::1": "it has no port; type /ip6/2001:db8::1/tcp/4001",
    f"/dns4/example.com/p2p/{PEER}": f"it has no port; type /dns4/example.com/tcp/4001/p2p/{PEER}",
    f"{IP}/tcp/0": "port 0 is for listening, where it takes a free one; give the port that the peer tells",
    f"{IP}/udp/0/quic-v1": "port 0 is for listening",
    f"{IP}/tcp/0/ws": "port 0 is for listening",
    "/ip6/fe80::1/ip6zone/eth0/tcp/1": "the zone goes in front: /ip6zone/eth0/ip6/fe80::1/tcp/1",
    f"/p2p/{PEER}/ip4/192.0.2.7/tcp/1": f"the peer id goes behind: {IP}/tcp/1/p2p/{PEER}",
    "/tcp/4001": "it does not say on which host; type /ip4/127.0.0.1/tcp/4001 for this one",
    "/ip6zone/nonesuch/ip6/fe80::1/udp/1/quic-v1": "there is no network interface 'nonesuch' here, only: lo",
    "/quic": "it says neither host nor port; type them in front: /ip4/127.0.0.1/udp/4001/quic-v1",
    "/ws": "it says neither host nor port; type them in front: /ip4/127.0.0.1/tcp/4001/ws",
    f"/wss/p2p/{PEER}": "it says neither host nor port; type them in front: /ip4/127.0.0.1/tcp/4001/tls/ws",
    f"{IP}/tcp/443/tls": f"TLS is agreed on inside the connection; type {IP}/tcp/443, or {IP}/tcp/443/tls/ws for Web",
    f"{IP}/tcp/80/http": "it is an HTTP server; libp2p inside HTTP is WebSocket",
    f"{IP}/tcp/4001/quic-v1": f"QUIC runs over UDP: {IP}/udp/4001/quic-v1",
    f"{IP}/udp/4001/ws": f"WebSocket runs over TCP: {IP}/tcp/4001/ws",
    f"{IP}/sctp/4001": "there is no transport for SCTP",
    "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234": "it is a service of Tor",
    "/memory/7": "it holds inside one program only",
}


@pytest.mark.parametrize("text", FORMS)
def test_a_form_that_cannot_be_dialed_is_explained(text: str) -> None:
    told = why_undialable(parse_address(text))
    assert told is not None
    assert FORMS[text] in told
    assert "\n" not in told


def test_no_two_kinds_are_told_the_same() -> None:
    kinds = ("udp/1/quic", "udp/1", "udp/1/quic-v1/webtransport", "udp/1/webrtc-direct", "tcp/1/p2p-circuit", "tcp/0")
    assert len({why_undialable(parse_address(f"{IP}/{kind}")) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("/dns4/localhost/tcp/0", "to listen takes an IP address, such as /ip4/127.0.0.1/tcp/4001"),
        ("/ip4/127.0.0.1/udp/0", "for QUIC type /ip4/127.0.0.1/udp/0/quic-v1"),
        ("/ip4/127.0.0.1", "it has no port; type /ip4/127.0.0.1/tcp/4001"),
        (f"{IP}/tcp/1/p2p/{PEER}/p2p-circuit", "it goes through a relay"),
    ],
)
def test_a_form_that_cannot_be_listened_on_is_explained(text: str, says: str) -> None:
    assert says in str(why_unlistenable(parse_address(text)))


@pytest.mark.parametrize("text", [f"{IP}/tcp/4001", f"{IP}/tcp/1/ws", f"{IP}/udp/1/quic-v1/p2p/{PEER}", "/unix/tmp/x"])
def test_nothing_is_wrong_with_an_address_that_only_lacks_a_transport(text: str) -> None:
    assert why_undialable(parse_address(text)) is None
    assert why_unlistenable(parse_address(text)) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "/ip4/224.0.0.1/tcp/1",
            "224.0.0.1 is the address of a group of hosts (multicast), and a connection is with one",
        ),
        ("/ip4/239.255.255.250/udp/1/quic-v1", "239.255.255.250 is the address of a group"),
        ("/ip6/ff02::1/udp/1/quic-v1", "ff02::1 is the address of a group of hosts"),
        ("/ip6zone/eth0/ip6/ff05::1/tcp/1/ws", "ff05::1 is the address of a group of hosts"),
        ("/ip6/::ffff:224.0.0.1/tcp/1", "224.0.0.1 is the address of a group of hosts"),
        ("/ip4/255.255.255.255/tcp/1", "255.255.255.255 is the address of all hosts of a network (broadcast)"),
        (f"/ip4/224.0.0.1/udp/1/quic-v1/p2p/{PEER}/p2p-circuit", "224.0.0.1 is the address of a group"),
        ("/ip4/240.0.0.1/tcp/1", None),
        ("/ip4/0.0.0.0/tcp/1", None),
        ("/ip6/::1/tcp/1", None),
        ("/dns4/example.com/tcp/1", None),
        ("/memory/7", None),
    ],
)
def test_no_peer_is_at_an_address_of_many_hosts(text: str, says: str | None) -> None:
    found = why_no_single_host(parse_address(text))
    assert (found is None) == (says is None)
    assert str(says) in str(found)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("/ip4/0.0.0.0/tcp/1", "0.0.0.0 is for listening: dial /ip4/127.0.0.1/tcp/1 on the same machine, else the"),
        ("/ip6/::/udp/1/quic-v1", ":: is for listening: dial /ip6/::1/udp/1/quic-v1 on the same machine"),
        ("/ip6/fe80::1/tcp/1", "an address of one link needs the interface it is on: /ip6zone/eth0/ip6/fe80::1/tcp/1"),
        ("/ip6zone/eth0/ip6/fe80::1/tcp/1", None),
        ("/ip4/127.0.0.1/tcp/1", None),
        ("/dns4/example.com/tcp/1", None),
    ],
)
def test_what_about_the_address_may_be_why_a_dial_failed(text: str, hint: str | None) -> None:
    found = dial_hint(parse_address(text))
    assert (found is None) == (hint is None)
    assert str(hint) in str(found)
