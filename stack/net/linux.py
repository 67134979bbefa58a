"""UDP on Linux: several datagrams in one system call (GSO, GRO), and errors told with the address (ip(7), udp(7))."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from typing import Final

from .datagrams import MAX_BATCH, MAX_SEGMENTS, SocketAddress, UdpSocket

assert sys.platform != "win32"  # for type checkers: other systems lack some of the methods used

_log = logging.getLogger(__name__)

UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
"""Of linux/udp.h; Python's socket module has no names for them."""
IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25
MSG_ERRQUEUE: Final = 0x2000
IP_MTU_DISCOVER: Final = 10
IPV6_MTU_DISCOVER: Final = 23
PMTUDISC_PROBE: Final = 3
"""Of linux/in.h and its kin: never fragment, and let no router's message tell us to send less (CVE-2024-53259)."""
_ERRORS: Final = (IP_RECVERR, IPV6_RECVERR)


class LinuxUdpSocket(UdpSocket):
    """A UDP socket; several datagrams go through the kernel as one where it allows."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._segments = True
        if sock.family == socket.AF_INET6:
            level, choices = socket.IPPROTO_IPV6, ((IPV6_RECVERR, 1), (IPV6_MTU_DISCOVER, PMTUDISC_PROBE))
        else:
            level, choices = socket.IPPROTO_IP, ((IP_RECVERR, 1), (IP_MTU_DISCOVER, PMTUDISC_PROBE))
        for option, choice in choices:
            sock.setsockopt(level, option, choice)
        try:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        except OSError as error:
            _log.debug("no UDP receive offload: %s", error)

    def _most(self, segment: int) -> int:
        return min(MAX_SEGMENTS, max(1, MAX_BATCH // segment)) * segment if self._segments else segment

    def _give(self, batch: bytes, segment: int, address: SocketAddress) -> None:
        if len(batch) <= segment:
            self._socket.sendto(batch, address)
        else:
            control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", segment))]
            self._socket.sendmsg([batch], control, 0, address)

    def _not_sent(self, batch: bytes, segment: int, address: SocketAddress, error: OSError) -> None:
        if len(batch) > segment and error.errno in (errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.EMSGSIZE):
            # EIO: a network card without checksum offload (udp(7)); EMSGSIZE: a path too narrow; else an old kernel.
            _log.debug("no UDP segmentation offload: %s", error)
            self._segments = error.errno == errno.EMSGSIZE
            for start in range(0, len(batch), segment):
                self._send_batch(batch[start : start + segment], segment, address)
        else:
            super()._not_sent(batch, segment, address, error)

    def _receive(self) -> tuple[int, int, SocketAddress]:
        size, control, _, address = self._socket.recvmsg_into([self._buffer], 64)
        segment = size
        for level, kind, data in control:
            if level == socket.IPPROTO_UDP and kind == UDP_GRO:
                segment = struct.unpack_from("i", data)[0]
        return size, segment, address

    def unreachable(self) -> list[tuple[SocketAddress, int]]:
        """Read the socket's error queue (ip(7), IP_RECVERR)."""
        found: list[tuple[SocketAddress, int]] = []
        while self._socket.fileno() != -1:
            try:
                _, control, _, address = self._socket.recvmsg(0, 512, MSG_ERRQUEUE)
            except OSError:
                break
            found += [(address, struct.unpack_from("I", data)[0]) for _, kind, data in control if kind in _ERRORS]
        return found
