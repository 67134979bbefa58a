"""What to say of an address that no transport can dial or listen on: what it is, and what works instead."""

from __future__ import annotations

from multiaddr import Multiaddr

from ..errors import InvalidAddress
from ..extras import how_to_install
from . import codec
from .codec import Component
from .interfaces import interface_index
from .match import transport_name
from .parse import components
from .reach import ip_of, is_broadcast, is_link_local, is_multicast, is_unspecified

_Parts = tuple[Component, ...]

_NAMED = {
    "webtransport": "it is WebTransport, which is for browsers",
    "webrtc-direct": "it is WebRTC, which is not spoken here; give a TCP, WebSocket or QUIC address of the peer",
    "webrtc": "it is WebRTC, which is not spoken here; give a TCP, WebSocket or QUIC address of the peer",
    "p2p-circuit": "it goes through a relay, which is not possible here; give an address of the peer itself",
    "onion": "it is a service of Tor, for which there is no transport here; give another address of the peer",
    "onion3": "it is a service of Tor, for which there is no transport here; give another address of the peer",
    "garlic32": "it is an address of I2P, for which there is no transport here; give another one of the peer",
    "garlic64": "it is an address of I2P, for which there is no transport here; give another one of the peer",
    "memory": "it holds inside one program only, between hosts with a MemoryTransport",
    "http": "it is an HTTP server; libp2p inside HTTP is WebSocket, whose addresses end in /ws or /tls/ws",
    "https": "it is an HTTP server; libp2p inside HTTP is WebSocket, whose addresses end in /ws or /tls/ws",
    "sctp": "there is no transport for SCTP; give a TCP, WebSocket or QUIC address of the peer",
    "dccp": "there is no transport for DCCP; give a TCP, WebSocket or QUIC address of the peer",
    "utp": "there is no transport for uTP; give a TCP, WebSocket or QUIC address of the peer",
    "udt": "there is no transport for UDT; give a TCP, WebSocket or QUIC address of the peer",
}
"""What one component says of the whole; the first that is in it counts."""
_ON_TOP = {
    "quic": "/ip4/127.0.0.1/udp/4001/quic-v1",
    "quic-v1": "/ip4/127.0.0.1/udp/4001/quic-v1",
    "ws": "/ip4/127.0.0.1/tcp/4001/ws",
    "wss": "/ip4/127.0.0.1/tcp/4001/tls/ws",
    "tls": "/ip4/127.0.0.1/tcp/4001/tls/ws",
    "sni": "/ip4/127.0.0.1/tcp/4001/tls/ws",
}
"""What runs over TCP or UDP, and an address with it."""
_HOSTS = frozenset({"ip4", "ip6", "dns", "dns4", "dns6"})
_WEBSOCKET = "WebSocketTransport(TcpTransport()) in transports=", "websocket"
_TAKES: dict[str, tuple[str, str | None]] = {
    "tcp": ("TcpTransport() in transports=", None),
    "unix": ("UnixTransport() in transports=", None),
    "memory": ("MemoryTransport(network) in transports=", None),
    "ws": _WEBSOCKET,
    "wss": _WEBSOCKET,
    "quic-v1": ("QuicTransport(identity) in native_transports=", "quic"),
}
"""What `open_host` has to be given for an address."""


def why_no_single_host(address: Multiaddr) -> str | None:
    """Return in one line why no single host is at `address`, whatever the transport; None if one can be."""
    if is_multicast(address):
        whose = "a group of hosts (multicast)"
    elif is_broadcast(address):
        whose = "all hosts of a network (broadcast)"
    else:
        return None
    return f"{ip_of(address)} is the address of {whose}, and a connection is with one: give its own"


def why_undialable(address: Multiaddr) -> str | None:
    """Return in one line why nothing dials `address`, and what to type instead; None if only a transport lacks."""
    parts = components(address)
    if any(part in (Component("tcp", "0"), Component("udp", "0")) for part in parts):
        return "port 0 is for listening, where it takes a free one; give the port that the peer tells"
    return _what_it_is(parts) or _unknown_zone(parts)


def why_unlistenable(address: Multiaddr) -> str | None:
    """Return in one line why nothing listens on `address`, and what to type instead; None if only a transport lacks."""
    parts = components(address)
    if parts and parts[0].name in ("dns", "dns4", "dns6", "dnsaddr"):
        return "to listen takes an IP address, such as /ip4/127.0.0.1/tcp/4001, or /ip4/0.0.0.0/tcp/4001 for all"
    if any(part.name == "p2p-circuit" for part in parts):
        return "it goes through a relay, which is not possible here"
    return _what_it_is(parts) or _unknown_zone(parts)


def dial_hint(address: Multiaddr) -> str | None:
    """Return what in `address` itself may be why a dial of it failed, and what to dial instead; None if nothing."""
    parts = components(address)
    if is_unspecified(address):
        loopback = "127.0.0.1" if parts[0].name == "ip4" else "::1"
        here = _text((Component(parts[0].name, loopback), *parts[1:]))
        return f"{parts[0].value} is for listening: dial {here} on the same machine, else the address of the other one"
    return lacking_zone(address)


def lacking_zone(address: Multiaddr) -> str | None:
    """Return how to write a link-local address, where `address` does not say on which link; else None."""
    parts = components(address)
    if parts and parts[0].name == "ip6" and is_link_local(address):
        return f"an address of one link needs the interface it is on: /ip6zone/eth0{_text(parts)}"
    return None


def _what_it_is(parts: _Parts) -> str | None:
    names = [part.name for part in parts]
    where = _where(parts)
    if where is not None:
        return where
    named = next((name for name in _NAMED if name in names), None)
    if named == "webtransport":
        quic = _text(_without(parts[: names.index("webtransport")], parts))
        return f"{_NAMED[named]}; the same port may speak QUIC: {quic}"
    if named is not None:
        return _NAMED[named]
    if "quic" in names:
        version = [Component("quic-v1", None) if part.name == "quic" else part for part in parts]
        return f"it is the old draft of QUIC, which nothing speaks any more; type {_text(tuple(version))}"
    return _what_lacks(parts)


def _where(parts: _Parts) -> str | None:
    """Return what is wrong with how the address begins."""
    match parts:
        case (Component("ip6") as host, Component("ip6zone") as zone, *rest):
            return f"the zone goes in front: {_text((zone, host, *rest))}"
        case (Component("p2p") as peer, Component(name), *rest) if name in (*_HOSTS, "ip6zone"):
            return f"the peer id goes behind: {_text((parts[1], *rest, peer))}"
        case (Component("tcp" | "udp"), *_):
            return f"it does not say on which host; type /ip4/127.0.0.1{_text(parts)} for this one"
        case (Component(name), *_) if name in _ON_TOP:
            return f"it says neither host nor port; type them in front: {_ON_TOP[name]}"
    return None


def _what_lacks(parts: _Parts) -> str | None:
    bare = parts[:-1] if parts and parts[-1].name == "p2p" else parts
    peer = _text(parts[len(bare) :])
    match bare:
        case (*_, Component(name)) if name in _HOSTS and len(bare) <= 2:
            return f"it has no port; type {_text(bare)}/tcp/4001{peer} with the port of the peer, or …/udp/4001/quic-v1"
        case (_, Component("udp")) | (_, _, Component("udp")):
            return f"UDP alone carries no connection; for QUIC type {_text(bare)}/quic-v1{peer}"
        case (*below, Component("tls")) | (*below, Component("tls"), Component("sni")):
            plain = _text(tuple(below))
            return f"TLS is agreed on inside the connection; type {plain}{peer}, or {plain}/tls/ws{peer} for WebSocket"
        case (_, Component("tcp"), Component("quic-v1"), *_):
            return f"QUIC runs over UDP: {_text(bare).replace('/tcp/', '/udp/')}{peer}"
        case (_, Component("udp"), Component("ws" | "wss" | "tls"), *_):
            return f"WebSocket runs over TCP: {_text(bare).replace('/udp/', '/tcp/')}{peer}"
    return None


def _unknown_zone(parts: _Parts) -> str | None:
    try:
        interface_index(next((part.value for part in parts if part.name == "ip6zone"), None))
    except InvalidAddress as error:
        return str(error)
    return None


def _without(kept: _Parts, parts: _Parts) -> _Parts:
    """Put the peer id at the end of `parts` behind those that are kept."""
    return (*kept, parts[-1]) if parts[-1].name == "p2p" else kept


def _text(parts: _Parts) -> str:
    return codec.text(parts)


def what_it_takes(address: Multiaddr) -> str:
    """Return what `open_host` needs for this address, to follow what is wrong; "" if nothing helps."""
    taken = _TAKES.get(transport_name(address) or "")
    if taken is None:
        return ""
    transport, extra = taken
    where = "" if extra is None else f", of the extra `{extra}` ({how_to_install(extra)})"
    return f"; it takes {transport}{where}"
