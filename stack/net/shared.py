"""One UDP socket for several users, as QUIC, WebRTC and hole punching are at one port."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from ..background import contained
from .datagrams import DatagramSocket, Segments, SocketAddress
from .udp import DatagramNetwork, UdpNetwork

_log = logging.getLogger(__name__)

Classifier = Callable[[bytes, SocketAddress], bool]
"""Says whether a datagram belongs to a user, by its first bytes or its sender; called for each, so it must be quick."""

MAX_QUEUED: Final = 1024 * 1024
"""Bytes read by one user that wait for another; what is beyond is lost, as it would be in a full socket."""
MAX_UNREACHABLE: Final = 64
"""Addresses that could not be reached of which a user has not asked yet; the latest are kept."""


class SharedNetwork:
    """A `DatagramNetwork` whose sockets others may share, each user with the datagrams that are its own."""

    def __init__(self, below: DatagramNetwork | None = None) -> None:
        """`below` is where sockets come from: the operating system's UDP by default."""
        self._below = below or UdpNetwork()
        self._sockets: dict[SocketAddress, _Shared] = {}

    def bind(self, address: SocketAddress) -> DatagramSocket:
        """Return a socket of its own, or a part in a shared one: all datagrams that no classifier takes.

        Port 0 takes a free one. Raises `OSError`, also when another user has that part (EADDRINUSE).
        """
        shared = self._sockets.get(address)
        if shared is None or shared.has_rest:
            shared = self._open(address)
        return shared.join(None)

    def share(self, address: SocketAddress, classify: Classifier) -> DatagramSocket:
        """Return a part in the socket bound to an address, which is bound if it is not yet. Raises `OSError`.

        Of classifiers that say yes, the one that was registered first gets the datagram.
        """
        return (self._sockets.get(address) or self._open(address)).join(classify)

    def _open(self, address: SocketAddress) -> _Shared:
        sock = self._below.bind(address)
        shared = self._sockets[sock.address] = _Shared(sock, partial(self._sockets.pop, sock.address, None))
        return shared


class _Shared:
    """A socket and its users. One user at a time waits for the kernel, and hands the others what is theirs."""

    def __init__(self, sock: DatagramSocket, closed: Callable[[], object]) -> None:
        self.socket = sock
        self.users: list[_User] = []
        self.reading = False
        """Whether a user waits for the kernel."""
        self.flushing = trio.Lock()
        self._closed = closed

    @property
    def has_rest(self) -> bool:
        return any(user.classify is None for user in self.users)

    def join(self, classify: Classifier | None) -> _User:
        user = _User(self, classify)
        self.users.append(user)
        return user

    def leave(self, user: _User) -> None:
        self.users.remove(user)
        if not self.users:
            self._closed()
            self.socket.close()
        self.wake_all()

    def wake_all(self) -> None:
        for user in self.users:
            user.woken.set()

    def hand_out(self) -> None:
        """Read once, and give each datagram to its user."""
        datagrams = self.socket.receive_nowait()
        for datagram, address in datagrams:
            user = self._owner(datagram, address)
            if user is not None:
                user.queue(datagram, address)
        if not datagrams:
            for unreachable in self.socket.unreachable():
                for user in self.users:
                    user.failures.append(unreachable)
                    user.wake()

    def _owner(self, datagram: bytes, address: SocketAddress) -> _User | None:
        rest = None
        for user in self.users:
            if user.classify is None:
                rest = user
                continue
            with contained(_classifier_failed):
                if user.classify(datagram, address):
                    return user
        return rest


class _User:
    """The part of one user in a shared socket; implements `DatagramSocket`.

    A user alone reads and sends as if the socket were its own.
    """

    def __init__(self, shared: _Shared, classify: Classifier | None) -> None:
        self.address = shared.socket.address
        self.classify = classify
        self.failures: deque[tuple[SocketAddress, int]] = deque(maxlen=MAX_UNREACHABLE)
        self.woken = trio.Event()
        self._shared = shared
        self._queue: deque[tuple[bytes, SocketAddress]] = deque()
        self._queued = 0
        self._closed = False
        self._waiting: trio.CancelScope | None = None

    def send(self, datagrams: Sequence[bytes], address: SocketAddress) -> OSError | None:
        return None if self._closed else self._shared.socket.send(datagrams, address)

    def send_segments(self, data: bytes, segment: int, address: SocketAddress) -> OSError | None:
        return None if self._closed else self._shared.socket.send_segments(data, segment, address)

    def queue(self, datagram: bytes, address: SocketAddress) -> None:
        """Keep a datagram until the user reads it."""
        if self._queued + len(datagram) <= MAX_QUEUED:
            self._queue.append((datagram, address))
            self._queued += len(datagram)
            self.wake()

    def wake(self) -> None:
        """Let the user read what it was handed, also while it waits for the kernel."""
        self.woken.set()
        if self._waiting is not None:
            self._waiting.cancel()

    def receive_nowait(self) -> list[tuple[bytes, SocketAddress]]:
        if self._reads_alone():
            return self._shared.socket.receive_nowait()
        found = list(self._queue)
        self._queue.clear()
        self._queued = 0
        return found

    def receive_segments(self) -> Segments | None:
        if self._reads_alone():
            return self._shared.socket.receive_segments()
        if not self._queue:
            return None
        datagram, address = self._queue.popleft()
        self._queued -= len(datagram)
        return Segments(datagram, len(datagram) or 1, address)

    def _reads_alone(self) -> bool:
        """Say whether what the kernel has is all for this user; if not, see to it that the queue has what there is."""
        if self._closed:
            raise trio.ClosedResourceError("this socket was closed")
        if self._queue:
            return False
        if self.classify is None and len(self._shared.users) == 1:
            return True
        self._shared.hand_out()
        return False

    def unreachable(self) -> list[tuple[SocketAddress, int]]:
        found = [*self.failures]
        self.failures.clear()
        if not self._closed:
            latest = self._shared.socket.unreachable()
            for user in self._shared.users:
                if user is not self and latest:
                    user.failures.extend(latest)
                    user.wake()
            found += latest
        return found

    async def wait_readable(self) -> None:
        while True:
            if self._closed:
                raise trio.ClosedResourceError("this socket was closed")
            if self._queue or self.failures:
                await trio.lowlevel.checkpoint()
                return
            if not self._shared.reading:
                await self._wait_for_kernel()
                if not self._closed:
                    return
            else:
                self.woken = trio.Event()
                await self.woken.wait()

    async def _wait_for_kernel(self) -> None:
        self._shared.reading = True
        try:
            with trio.CancelScope() as self._waiting, suppress(trio.ClosedResourceError):
                await self._shared.socket.wait_readable()
        finally:
            self._waiting = None
            self._shared.reading = False
            self._shared.wake_all()  # another may wait for the kernel while this one works

    async def flush(self) -> None:
        async with self._shared.flushing:
            await self._shared.socket.flush()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._queue.clear()
            self.wake()
            self._shared.leave(self)


def _classifier_failed(error: Exception) -> None:
    _log.error("a classifier of datagrams failed, which is a bug; it gets none", exc_info=error)
