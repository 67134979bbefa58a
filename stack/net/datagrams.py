"""Datagram sockets as QUIC and its like see them, and UDP ones by the calls that every system has."""

from __future__ import annotations

import errno
import logging
import socket
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import trio

_log = logging.getLogger(__name__)

SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""As Python's sockets name the ends of IPv4 and IPv6."""
RECEIVE_SIZE: Final = 65_536
_TOLD: Final = (
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
    errno.EINVAL,
    errno.EACCES,
    errno.EPERM,
    errno.EMSGSIZE,
)
"""What the kernel says of an address to which nothing can be sent from here, or nothing as large (EMSGSIZE)."""
MAX_BACKLOG: Final = 1024 * 1024
"""Bytes that wait for a full socket; what does not fit is lost, as it would be in a router."""
MAX_BATCH: Final = 65_000
"""Bytes of datagrams in one system call; with headers they must stay below 64 KiB."""
MAX_SEGMENTS: Final = 64
"""Datagrams in one system call (UDP_MAX_SEGMENTS of Linux before 6.7)."""


class Segments(NamedTuple):
    """Datagrams of one sender, one after another, as the kernel joins them."""

    data: bytes | memoryview
    """A view holds until the next call of the socket."""
    segment: int
    """Bytes of each datagram but the last, which may be shorter; at least 1."""
    address: SocketAddress


class DatagramSocket(Protocol):
    """A bound socket for datagrams."""

    address: SocketAddress
    """As bound."""

    def send(self, datagrams: Sequence[bytes], address: SocketAddress) -> OSError | None:
        """Send datagrams in order, without waiting; what cannot be sent is lost.

        Returns why, if nothing can be sent to that address at all, as without a route to it, or nothing as large
        as the largest of them (EMSGSIZE).
        """
        ...

    def send_segments(self, data: bytes, segment: int, address: SocketAddress) -> OSError | None:
        """Send `data` as datagrams of `segment` bytes, of which the last may be shorter; otherwise as `send`."""
        ...

    def receive_nowait(self) -> list[tuple[bytes, SocketAddress]]:
        """Return datagrams that are there, none if none are. Raises `trio.ClosedResourceError`, `OSError`."""
        ...

    def receive_segments(self) -> Segments | None:
        """Return datagrams of one sender that are there; None if none are. Raises as `receive_nowait`."""
        ...

    def unreachable(self) -> list[tuple[SocketAddress, int]]:
        """Return where datagrams did not get to, and why (errno), as far as the network said so meanwhile."""
        ...

    async def wait_readable(self) -> None:
        """Wait until receiving or `unreachable` is worth a try. Raises `trio.ClosedResourceError`."""
        ...

    async def flush(self) -> None:
        """Send what waits for room in the socket, until it is closed; one task at a time."""
        ...

    def close(self) -> None:
        """Close at once; idempotent."""
        ...


class UdpSocket:
    """A UDP socket; one datagram a system call."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.address: SocketAddress = sock.getsockname()
        self._backlog: deque[tuple[bytes, int, SocketAddress]] = deque()
        self._waiting = 0
        self._refusal: OSError | None = None
        self._full = trio.Event()
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))

    def send(self, datagrams: Sequence[bytes], address: SocketAddress) -> OSError | None:
        """Send datagrams, as few system calls as possible."""
        refusal = None
        for batch in group(datagrams):
            refusal = self.send_segments(b"".join(batch), len(batch[0]), address) or refusal
        return refusal

    def send_segments(self, data: bytes, segment: int, address: SocketAddress) -> OSError | None:
        """Send a batch of datagrams, as few system calls as possible."""
        self._refusal = None
        most = self._most(segment or 1)
        if len(data) <= most:
            self._send_or_wait(data, segment, address)
        else:
            for start in range(0, len(data), most):
                self._send_or_wait(data[start : start + most], segment, address)
        return self._refusal

    def _most(self, segment: int) -> int:
        """Return how many bytes of datagrams of this size go with one call."""
        return segment

    def _send_or_wait(self, batch: bytes, segment: int, address: SocketAddress) -> None:
        if (self._backlog or not self._send_batch(batch, segment, address)) and (
            self._waiting + len(batch) <= MAX_BACKLOG
        ):
            self._backlog.append((batch, segment, address))
            self._waiting += len(batch)
            self._full.set()

    def _send_batch(self, batch: bytes, segment: int, address: SocketAddress) -> bool:
        """Send a batch; False when the socket is full."""
        try:
            try:
                self._give(batch, segment, address)
            except ConnectionError:
                self._give(batch, segment, address)  # what was told is the fate of an earlier datagram, and told once
        except BlockingIOError:
            return False
        except OSError as error:
            self._not_sent(batch, segment, address, error)
        return True

    def _give(self, batch: bytes, segment: int, address: SocketAddress) -> None:
        self._socket.sendto(batch, address)

    def _not_sent(self, batch: bytes, segment: int, address: SocketAddress, error: OSError) -> None:
        # A datagram may always get lost: unreachable, filtered or too large comes to the same.
        _log.debug("a datagram to %s was not sent: %s", address, error)
        if error.errno in _TOLD:
            self._refusal = error

    def receive_nowait(self) -> list[tuple[bytes, SocketAddress]]:
        """Receive one datagram, or several of one sender that the kernel has joined."""
        received = self.receive_segments()
        return [] if received is None else split(received)

    def receive_segments(self) -> Segments | None:
        """Receive one datagram, or several that the kernel has joined."""
        try:
            size, segment, address = self._receive()
        except BlockingIOError:
            return None
        except OSError as error:
            if self._socket.fileno() == -1:
                raise trio.ClosedResourceError("this socket was closed") from error
            if error.errno in (errno.EBADF, errno.ENOTSOCK):
                raise
            return None  # the fate of an earlier datagram, of which `unreachable` tells more
        if len(address) == 4 and "%" in address[0]:
            # The zone is in the tuple's last number, too.
            address = (address[0].partition("%")[0], address[1], address[2], address[3])
        return Segments(self._buffer[:size], segment or 1, address)

    def _receive(self) -> tuple[int, int, SocketAddress]:
        """Receive into the buffer: the bytes, those of each datagram in them but the last, and the sender."""
        size, address = self._socket.recvfrom_into(self._buffer)
        return size, size, address

    def unreachable(self) -> list[tuple[SocketAddress, int]]:
        """Return nothing: without an error queue it is not known which datagram was lost."""
        return []

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
                self._waiting -= len(self._backlog.popleft()[0])
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


def split(received: Segments) -> list[tuple[bytes, SocketAddress]]:
    """Return each datagram by itself, with its sender."""
    data, segment, address = received
    return [(bytes(data[start : start + segment]), address) for start in range(0, len(data), segment)]
