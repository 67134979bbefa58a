"""Unix sockets: `/unix/PATH`. Every process that may open the file may connect; other machines cannot."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, RawConnection
from peerstack.stack.net.sockets import BACKLOG, SocketListener, SocketPipe, new_socket, socket_error

from .address import socket_path, unix_path

BUSY_DELAY = 0.01
"""Seconds to wait while the listener's backlog is full: the kernel has no event for that it has room again."""


class UnixPipe(SocketPipe):
    """A connected unix socket."""

    __slots__ = ()
    kind = "unix socket"


class UnixTransport:
    """Dials and listens on unix sockets; implements `abc.StreamTransport`.

    Connections have one address, that of the listener: a client of a unix socket has none of its own.
    """

    def __init__(self, *, mode: int = 0o600) -> None:
        """`mode` says which users may connect to sockets listened on: only the owner by default."""
        self._mode = mode

    def can_dial(self, address: Multiaddr) -> bool:
        """Return whether it is `/unix/PATH`."""
        return unix_path(address) is not None

    def can_listen(self, address: Multiaddr) -> bool:
        """Return whether it is `/unix/PATH`."""
        return unix_path(address) is not None

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        """Connect. Raises `OSError` with the cause, `InvalidAddress` for other addresses and paths too long."""
        path = socket_path(address)
        sock = _new_socket()
        try:
            await _connect(sock, path)
            return RawConnection(UnixPipe(sock), address, address)
        except BaseException:
            sock.close()
            raise

    async def listen(self, address: Multiaddr) -> UnixListener:
        """Bind, in place of a socket file that a dead process left behind.

        Raises `OSError` with the cause, `InvalidAddress` for other addresses and paths too long.
        """
        path = socket_path(address)
        await trio.lowlevel.checkpoint()
        sock = _new_socket()
        try:
            _bind(sock, path)
            # The mode is set before `listen`: no process can connect with the mode that the umask left.
            os.chmod(path, self._mode)
            listener = UnixListener(sock, address, path)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
        return listener


class UnixListener(SocketListener):
    """A bound unix socket; the file goes with it."""

    def __init__(self, sock: socket.socket, address: Multiaddr, path: str) -> None:
        super().__init__(sock, address)
        self._path = path
        self._file = _identity(path)

    def raw_connection(self, sock: socket.socket, remote: str) -> RawConnection:
        """See `SocketListener.raw_connection`."""
        return RawConnection(UnixPipe(sock), self.address, self.address)

    async def aclose(self) -> None:
        """Stop listening, and remove the file unless another process has replaced it."""
        if self._socket.fileno() != -1:
            with suppress(OSError):
                if _identity(self._path) == self._file:
                    os.unlink(self._path)
        await super().aclose()


def _new_socket() -> socket.socket:
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise OSError(errno.EAFNOSUPPORT, "Python has no unix sockets on this system; use TCP on 127.0.0.1")
    return new_socket(family, socket.SOCK_STREAM)


def _bind(sock: socket.socket, path: str) -> None:
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not _remove_if_stale(path):
            raise
        sock.bind(path)


def _remove_if_stale(path: str) -> bool:
    """Remove a socket file that no process listens on any more; return whether it was one."""
    try:
        found = _identity(path)
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
        with _new_socket() as probe:
            if probe.connect_ex(path) != errno.ECONNREFUSED:
                return False
        if _identity(path) == found:  # another process may have found it stale, too, and be quicker
            os.unlink(path)
    except FileNotFoundError:
        pass
    return True


def _identity(path: str) -> tuple[int, int, int]:
    """Return what tells a file from another one at the same path, which may have got its inode."""
    status = os.lstat(path)
    return status.st_dev, status.st_ino, status.st_ctime_ns


async def _connect(sock: socket.socket, path: str) -> None:
    await trio.lowlevel.checkpoint()
    while (result := sock.connect_ex(path)) == errno.EAGAIN:  # noqa: ASYNC110 - there is no event, see BUSY_DELAY
        await trio.sleep(BUSY_DELAY)
    if result == errno.ENOENT:
        raise ConnectionRefusedError(errno.ECONNREFUSED, f"there is no socket at {path}")
    if result:
        raise socket_error(result, path)
