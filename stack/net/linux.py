"""UDP on Linux: several datagrams in one system call (GSO, GRO), and errors told with the address (ip(7), udp(7))."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from .datagrams import SocketAddress, UdpSocket

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
MAX_BATCH: Final = 65_000
"""Bytes of datagrams in one system call; with headers they must stay below 64 KiB."""
MAX_SEGMENTS: Final = 64
"""Datagrams in one system call (UDP_MAX_SEGMENTS of Linux before 6.7)."""
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

    def _batches(self, datagrams: Sequence[bytes]) -> Iterable[list[bytes]]:
        return group(datagrams) if self._segments else super()._batches(datagrams)

    def _give(self, batch: list[bytes], address: SocketAddress) -> None:
        if len(batch) == 1:
            self._socket.sendto(batch[0], address)
        else:
            control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", len(batch[0])))]
            self._socket.sendmsg(batch, control, 0, address)

    def _not_sent(self, batch: list[bytes], address: SocketAddress, error: OSError) -> None:
        if len(batch) > 1 and error.errno in (errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.EMSGSIZE):
            # EIO: a network card without checksum offload (udp(7)); EMSGSIZE: a path too narrow; else an old kernel.
            _log.debug("no UDP segmentation offload: %s", error)
            self._segments = error.errno == errno.EMSGSIZE
            for datagram in batch:
                self._send_batch([datagram], address)
        else:
            super()._not_sent(batch, address, error)

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


def group(datagrams: Sequence[bytes]) -> list[list[bytes]]:
    """Group datagrams for segmentation: all of one size, but for the last, which may be shorter."""
    batches: list[list[bytes]] = []
    batch: list[bytes] = []
    segment = total = 0
    for datagram in datagrams:
        size = len(datagram)
        fits = batch and size <= segment and total + size <= MAX_BATCH and len(batch) < MAX_SEGMENTS
        if fits and len(batch[-1]) == segment:
            batch.append(datagram)
            total += size
        else:
            batch = [datagram]
            batches.append(batch)
            segment = total = size
    return batches
