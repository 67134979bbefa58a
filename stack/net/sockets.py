"""Stream sockets of the operating system as pipes and listeners; TCP and unix sockets differ in their names only.

Bytes move without waiting where they can, so that no task switch is spent on them.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import math
import os
import socket
import sys
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import trio
from multiaddr import Multiaddr

from ..abc import Buffer, RawConnection, StreamListener
from .pipes import GuardedPipe

_log = logging.getLogger(__name__)

_Wait: TypeAlias = Callable[[int], Awaitable[None]]

BACKLOG = 1024
"""Connections the kernel holds until we accept them; it cuts the number to its own limit."""
RECEIVE_SIZE = 64 * 1024  # what `receive_some` asks for by default; trio's own choice for sockets
RETRY_DELAY = 0.1
"""Seconds to wait when the process is out of file descriptors, as trio's own `serve_listeners` does."""
SHORTAGE_LOG_INTERVAL = 60.0
"""Seconds between two log lines that say so: a process at its limit runs out again with every file that it closes."""


def _numbers(*names: str) -> frozenset[int]:
    """Return the numbers of errors; no system has all of them."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


# Errors of one arriving connection, not of the listener (accept(2), "Error handling"; ECONNRESET is Windows' word).
_THEIRS = _numbers("ECONNABORTED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENONET")
_THEIRS |= _numbers("ENOPROTOOPT", "EOPNOTSUPP", "EPERM", "EPROTO", "ETIMEDOUT")
_EXHAUSTED = _numbers("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "WSAEMFILE", "WSAENOBUFS")


def new_socket(family: int, kind: int) -> socket.socket:
    """Return a socket that never blocks, and that no child process inherits (PEP 446).

    Linux could be told so in the call that makes it (SOCK_NONBLOCK), macOS and Windows could not.
    """
    sock = socket.socket(family, kind)
    sock.setblocking(False)
    return sock


def socket_error(number: int, context: str = "") -> OSError:
    """Return the error of a socket by its number, of the subclass that belongs to it."""
    if sys.platform == "win32":  # which has numbers of its own for sockets, of which strerror knows nothing
        reason = ctypes.FormatError(number).strip()
    else:
        reason = os.strerror(number)
    return OSError(number, f"{reason}: {context}" if context else reason)


class SocketPipe(GuardedPipe):
    """A connected socket.

    It works on the plain non-blocking socket with trio's `wait_readable` and `wait_writable`: trio's own socket
    objects have no way to send what fits and go on.
    """

    kind = "socket"
    """What errors call it."""

    __slots__ = ("_sent_eof", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        sock.setblocking(False)
        self._socket = sock
        self._sent_eof = False

    @property
    def socket(self) -> socket.socket:
        """The socket itself, for options and addresses."""
        return self._socket

    def send_nowait(self, data: Buffer) -> int:
        """Send what fits at once; see `Pipe.send_nowait`."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._translate(error) from error

    async def _wait_sendable(self) -> None:
        await self._wait(trio.lowlevel.wait_writable)

    async def send_eof(self) -> None:
        """End our direction; the other may go on."""
        with self._sending:
            self._check_open()
            await trio.lowlevel.checkpoint()
            self._sent_eof = True
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                raise self._translate(error) from error

    def receive_nowait(self, buffer: memoryview) -> int:
        """Receive into `buffer`; see `Pipe.receive_nowait`."""
        if self._replay:
            return self._receive_unread(buffer)
        try:
            return self._socket.recv_into(buffer)
        except BlockingIOError:
            raise trio.WouldBlock from None
        except OSError as error:
            raise self._translate(error) from error

    async def wait_receive_might_not_block(self) -> None:
        """Wait until there is something to receive."""
        if self._replay:
            await trio.lowlevel.checkpoint()
        else:
            # As `_wait` does, without a call for it: this runs once for every message.
            descriptor = self._socket.fileno()
            if descriptor == -1:
                self._check_open()
            await trio.lowlevel.wait_readable(descriptor)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive at least one byte, or `b""` at the end."""
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            self._check_open()
            await trio.lowlevel.checkpoint()
            size = max_bytes or RECEIVE_SIZE
            if self._replay:
                data, self._replay = self._replay[:size], self._replay[size:]
                return data
            while True:
                try:
                    return self._socket.recv(size)
                except BlockingIOError:
                    await self._wait(trio.lowlevel.wait_readable)
                except OSError as error:
                    raise self._translate(error) from error

    async def aclose(self) -> None:
        """Close the socket."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError("this connection was closed")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._sent_eof:
            raise trio.ClosedResourceError("the end of this connection was already sent")

    async def _wait(self, wait: _Wait) -> None:
        self._check_open()
        await wait(self._socket.fileno())

    def _translate(self, error: OSError) -> Exception:
        if self._socket.fileno() == -1:
            return trio.ClosedResourceError("this connection was closed")
        if self._sent_eof and error.errno == errno.EPIPE:
            return trio.ClosedResourceError("the end of this connection was already sent")
        return trio.BrokenResourceError(f"{self.kind}: {error.strerror or error}")


class SocketListener(StreamListener):
    """A bound socket that listens."""

    def __init__(self, sock: socket.socket, address: Multiaddr) -> None:
        self._socket = sock
        self.addresses = (address,)
        self._shortage_told = -math.inf
        self._short = False

    @abstractmethod
    def raw_connection(self, sock: socket.socket, remote: Any) -> RawConnection:
        """Return the raw connection of an accepted socket, whose other end the kernel calls `remote`."""

    async def accept(self) -> RawConnection:
        """Wait for the next connection; what goes wrong with one that arrives is its own affair."""
        while True:
            await self._wait()
            try:
                sock, remote = self._socket.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                await self._survive(error)
                continue
            if self._short:
                self._short = False
                _log.warning("accepting on %s again", self.address)
            try:
                return self.raw_connection(sock, remote)
            except OSError as error:
                sock.close()
                _log.debug("a connection from %s was gone before it was accepted: %s", remote, error)

    async def aclose(self) -> None:
        """Stop listening; connections accepted before live on."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket.fileno())
            self._socket.close()
        await trio.lowlevel.checkpoint()

    async def _wait(self) -> None:
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError("this listener was closed")
        await trio.lowlevel.wait_readable(self._socket.fileno())

    async def _survive(self, error: OSError) -> None:
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError("this listener was closed") from None
        if error.errno in _EXHAUSTED:
            self._tell_shortage(os.strerror(error.errno))
            await trio.sleep(RETRY_DELAY)
        elif error.errno not in _THEIRS:
            raise error

    def _tell_shortage(self, what: str) -> None:
        now = trio.current_time()
        if now - self._shortage_told >= SHORTAGE_LOG_INTERVAL:
            self._shortage_told, self._short = now, True
            _log.error("cannot accept on %s: %s; waiting for files to be closed", self.address, what)
