"""Where datagram sockets come from: the operating system, or a test."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import Final, Protocol

from .datagrams import DatagramSocket, SocketAddress, UdpSocket
from .sockets import new_socket

if sys.platform != "win32":  # for type checkers; it is used on Linux only
    from .linux import LinuxUdpSocket

SOCKET_BUFFER: Final = 4 * 1024 * 1024
"""Bytes the kernel is asked to hold in each direction: what comes while Python does something else must fit in."""
LEAST_BUFFER: Final = 64 * 1024
"""Below this no system is asked for less: what it does by itself will do."""
_DONT_FRAGMENT: Final = {
    ("darwin", socket.AF_INET): (socket.IPPROTO_IP, 28),  # IP_DONTFRAG, since macOS 11
    ("darwin", socket.AF_INET6): (socket.IPPROTO_IPV6, 62),  # IPV6_DONTFRAG
    ("win32", socket.AF_INET): (socket.IPPROTO_IP, 14),  # IP_DONTFRAGMENT
    ("win32", socket.AF_INET6): (socket.IPPROTO_IPV6, 14),  # IPV6_DONTFRAG
}
"""As RFC 9000, section 14, wants where it can be had; Python has no names for them. Linux: see `linux.py`."""


class DatagramNetwork(Protocol):
    """Where sockets come from: the operating system, or a test."""

    def bind(self, address: SocketAddress) -> DatagramSocket:
        """Return a socket bound to an address; port 0 takes a free one. Raises `OSError`."""
        ...


class UdpNetwork:
    """The operating system's UDP."""

    def bind(self, address: SocketAddress) -> UdpSocket:
        """Bind a UDP socket; see `DatagramNetwork.bind`."""
        family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
        sock = new_socket(family, socket.SOCK_DGRAM)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if choice := _DONT_FRAGMENT.get((sys.platform, family)):
                with suppress(OSError):
                    sock.setsockopt(*choice, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                _enlarge(sock, option)
            sock.bind(address)
            if sys.platform == "linux":
                return LinuxUdpSocket(sock)
            return UdpSocket(sock)
        except BaseException:
            sock.close()
            raise


def _enlarge(sock: socket.socket, option: int) -> None:
    """Ask for a large buffer; Linux cuts the number to its limit, macOS and the BSDs refuse what is over theirs."""
    size = SOCKET_BUFFER
    while size >= LEAST_BUFFER:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, size)
            return
        size //= 2
