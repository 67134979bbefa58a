"""Datagram sockets as QUIC and its like see them, and UDP ones by the calls that every system has."""

from __future__ import annotations

import errno
import logging
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeAlias

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


class UdpSocket:
    """A UDP socket; one datagram a system call."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.address: SocketAddress = sock.getsockname()
        self._backlog: deque[tuple[list[bytes], SocketAddress]] = deque()
        self._waiting = 0
        self._refusal: OSError | None = None
        self._full = trio.Event()
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))

    def send(self, datagrams: Sequence[bytes], address: SocketAddress) -> OSError | None:
        """Send datagrams, as few system calls as possible."""
        self._refusal = None
        for batch in self._batches(datagrams):
            if self._backlog or not self._send_batch(batch, address):
                self._wait_with(batch, address)
        return self._refusal

    def _batches(self, datagrams: Sequence[bytes]) -> Iterable[list[bytes]]:
        """Group what goes with one call."""
        return ([datagram] for datagram in datagrams)

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
            except ConnectionError:
                self._give(batch, address)  # what was told is the fate of an earlier datagram, and is told once
        except BlockingIOError:
            return False
        except OSError as error:
            self._not_sent(batch, address, error)
        return True

    def _give(self, batch: list[bytes], address: SocketAddress) -> None:
        self._socket.sendto(batch[0], address)

    def _not_sent(self, batch: list[bytes], address: SocketAddress, error: OSError) -> None:
        # A datagram may always get lost: unreachable, filtered or too large comes to the same.
        _log.debug("a datagram to %s was not sent: %s", address, error)
        if error.errno in _TOLD:
            self._refusal = error

    def receive_nowait(self) -> list[tuple[bytes, SocketAddress]]:
        """Receive one datagram, or several of one sender that the kernel has joined."""
        try:
            size, segment, address = self._receive()
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
        buffer = self._buffer
        if segment >= size:
            return [(bytes(buffer[:size]), address)] if size else []
        return [(bytes(buffer[start : min(start + segment, size)]), address) for start in range(0, size, segment)]

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
