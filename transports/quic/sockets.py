"""Datagram sockets as the QUIC endpoint sees them, and UDP ones with segmentation offload where the kernel has it."""

from __future__ import annotations

import errno
import logging
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from .interface import SocketAddress

_log = logging.getLogger(__name__)

UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
"""Of linux/udp.h; Python's socket module has no names for them."""
SOCKET_BUFFER: Final = 4 * 1024 * 1024
"""Bytes the kernel is asked to hold in each direction: what comes while Python does something else must fit in."""
IP_RECVERR: Final = 11
IPV6_RECVERR: Final = 25
MSG_ERRQUEUE: Final = 0x2000
IP_MTU_DISCOVER: Final = 10
IPV6_MTU_DISCOVER: Final = 23
PMTUDISC_PROBE: Final = 3
"""Of linux/in.h and its kin: never fragment, and let no router's message tell us to send less (CVE-2024-53259)."""
RECEIVE_SIZE: Final = 65_536
MAX_BATCH: Final = 65_000
"""Bytes of datagrams in one system call; with headers they must stay below 64 KiB."""
MAX_SEGMENTS: Final = 64
"""Datagrams in one system call (UDP_MAX_SEGMENTS of Linux before 6.7)."""
_ERRORS: Final = (IP_RECVERR, IPV6_RECVERR)
_IMPOSSIBLE: Final = (
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.EINVAL,
    errno.EACCES,
    errno.EPERM,
)
"""What the kernel says of an address to which nothing can be sent from here, rather than of one datagram."""
MAX_BACKLOG: Final = 1024 * 1024
"""Bytes that wait for a full socket; what does not fit is lost, as it would be in a router."""


class DatagramSocket(Protocol):
    """A bound socket for datagrams."""

    address: SocketAddress
    """As bound."""

    def send(self, datagrams: Sequence[bytes], address: SocketAddress) -> OSError | None:
        """Send datagrams in order, without waiting; what can not be sent is lost.

        Returns why, if nothing can be sent to that address at all, as without a route to it.
        """
        ...

    def receive_nowait(self) -> list[tuple[bytes, SocketAddress]]:
        """Return datagrams that are there, none if none are. Raises `trio.ClosedResourceError`, `OSError`."""
        ...

    def unreachable(self) -> list[tuple[SocketAddress, int]]:
        """Return where datagrams did not get to, and why (errno), as far as the network said so meanwhile."""
        ...

    async def wait_readable(self) -> None:
        """Wait until `receive_nowait` or `unreachable` is worth a try. Raises `trio.ClosedResourceError`."""
        ...

    async def flush(self) -> None:
        """Send what waits for room in the socket, until it is closed; one task at a time."""
        ...

    def close(self) -> None:
        """Close at once; idempotent."""
        ...


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
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                wanted = (
                    (socket.IPPROTO_IPV6, IPV6_RECVERR, 1),
                    (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE),
                )
            else:
                wanted = ((socket.IPPROTO_IP, IP_RECVERR, 1), (socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE))
            for choice in wanted if sys.platform == "linux" else ():
                sock.setsockopt(*choice)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
            sock.bind(address)
            return UdpSocket(sock)
        except BaseException:
            sock.close()
            raise


class UdpSocket:
    """A UDP socket; several datagrams go through the kernel as one where it allows (UDP GSO and GRO)."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.address: SocketAddress = sock.getsockname()
        self._segments = True
        self._backlog: deque[tuple[list[bytes], SocketAddress]] = deque()
        self._waiting = 0
        self._impossible: OSError | None = None
        self._full = trio.Event()
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))
        try:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        except OSError as error:
            _log.debug("no UDP receive offload: %s", error)

    def send(self, datagrams: Sequence[bytes], address: SocketAddress) -> OSError | None:
        """Send datagrams, as few system calls as possible."""
        self._impossible = None
        for batch in _batches(datagrams) if self._segments else ([datagram] for datagram in datagrams):
            if self._backlog or not self._send_batch(batch, address):
                self._wait_with(batch, address)
        return self._impossible

    def _wait_with(self, batch: list[bytes], address: SocketAddress) -> None:
        size = sum(map(len, batch))
        if self._waiting + size <= MAX_BACKLOG:
            self._backlog.append((batch, address))
            self._waiting += size
            self._full.set()

    def _send_batch(self, batch: list[bytes], address: SocketAddress) -> bool:
        """Send a batch; False when the socket is full."""
        try:
            try:
                self._give(batch, address)
            except ConnectionRefusedError:
                self._give(batch, address)  # what was told is the fate of an earlier datagram, and is told once
        except BlockingIOError:
            return False
        except OSError as error:
            return self._not_sent(batch, address, error)
        return True

    def _give(self, batch: list[bytes], address: SocketAddress) -> None:
        if len(batch) == 1:
            self._socket.sendto(batch[0], address)
        else:
            control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", len(batch[0])))]
            self._socket.sendmsg(batch, control, 0, address)

    def _not_sent(self, batch: list[bytes], address: SocketAddress, error: OSError) -> bool:
        if len(batch) > 1 and error.errno in (errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.EMSGSIZE):
            # EIO: a network card without checksum offload (udp(7)); EMSGSIZE: a path too narrow; else an old kernel.
            _log.debug("no UDP segmentation offload: %s", error)
            self._segments = error.errno == errno.EMSGSIZE
            for datagram in batch:
                self._send_batch([datagram], address)
            return True
        # A datagram may always get lost: unreachable, filtered or too large comes to the same.
        _log.debug("a datagram to %s was not sent: %s", address, error)
        if error.errno in _IMPOSSIBLE:
            self._impossible = error
        return True

    def receive_nowait(self) -> list[tuple[bytes, SocketAddress]]:
        """Receive one datagram, or several of one sender that the kernel has joined."""
        try:
            size, control, _, address = self._socket.recvmsg_into([self._buffer], 64)
        except BlockingIOError:
            return []
        except OSError as error:
            if self._socket.fileno() == -1:
                raise trio.ClosedResourceError("this socket was closed") from error
            if error.errno in (errno.EBADF, errno.ENOTSOCK):
                raise
            return []  # the fate of an earlier datagram, of which `unreachable` tells more
        if "%" in address[0]:
            address = (address[0].partition("%")[0], *address[1:])  # the zone is in the tuple's last number, too
        segment = size
        for level, kind, data in control:
            if level == socket.IPPROTO_UDP and kind == UDP_GRO:
                segment = struct.unpack_from("i", data)[0]
        buffer = self._buffer
        if segment >= size:
            return [(bytes(buffer[:size]), address)] if size else []
        return [(bytes(buffer[start : min(start + segment, size)]), address) for start in range(0, size, segment)]

    def unreachable(self) -> list[tuple[SocketAddress, int]]:
        """Read the socket's error queue (ip(7), IP_RECVERR)."""
        found: list[tuple[SocketAddress, int]] = []
        while sys.platform == "linux" and self._socket.fileno() != -1:
            try:
                _, control, _, address = self._socket.recvmsg(0, 512, MSG_ERRQUEUE)
            except OSError:
                break
            found += [(address, struct.unpack_from("I", data)[0]) for _, kind, data in control if kind in _ERRORS]
        return found

    async def wait_readable(self) -> None:
        """Wait for datagrams."""
        self._check_open()
        await trio.lowlevel.wait_readable(self._socket.fileno())

    async def flush(self) -> None:
        """Send what waits for room, until the socket is closed."""
        while True:
            await self._full.wait()
            try:
                self._check_open()
                await trio.lowlevel.wait_writable(self._socket.fileno())
            except trio.ClosedResourceError:
                return
            while self._backlog and self._send_batch(*self._backlog[0]):
                batch, _ = self._backlog.popleft()
                self._waiting -= sum(map(len, batch))
            if not self._backlog:
                self._full = trio.Event()

    def close(self) -> None:
        """Close at once."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()

    def _check_open(self) -> None:
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError("this socket was closed")


def _batches(datagrams: Sequence[bytes]) -> list[list[bytes]]:
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
