"""QUIC multiaddrs: `/ip4|ip6/ADDRESS/udp/PORT/quic-v1`, names resolved before."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from multiaddr import Multiaddr

from peerstack.stack.addressing import Component, components, interface_index, parse_address
from peerstack.stack.net.datagrams import SocketAddress


def socket_address(address: Multiaddr) -> SocketAddress | None:
    """Match `[/ip6zone/ZONE]/ip4|ip6/HOST/udp/PORT/quic-v1[/p2p/ID]` and nothing else.

    Raises InvalidAddress for a zone that is no network interface.
    """
    parts = components(address)
    if parts and parts[-1].name == "p2p":
        parts = parts[:-1]
    zone = None
    if len(parts) == 4 and parts[0].name == "ip6zone" and parts[1].name == "ip6":
        zone, parts = parts[0].value, parts[1:]
    match parts:
        case (Component("ip4", str(host)), Component("udp", str(port)), Component("quic-v1")):
            return host, int(port)
        case (Component("ip6", str(host)), Component("udp", str(port)), Component("quic-v1")):
            return host, int(port), 0, interface_index(zone)
    return None


def quic_address(address: SocketAddress) -> Multiaddr:
    """Build the multiaddr of one end of a QUIC connection."""
    host = address[0].partition("%")[0]
    zone = socket.if_indextoname(address[3]) if len(address) == 4 and address[3] else None
    prefix = f"/ip6zone/{zone}" if zone else ""
    return parse_address(f"{prefix}/ip{ip_address(host).version}/{host}/udp/{address[1]}/quic-v1")
