"""TCP: `/ip4|ip6/ADDRESS/tcp/PORT`, names resolved before it is asked."""

from __future__ import annotations

import errno
import socket
import sys
from ipaddress import ip_address
from typing import TypeAlias

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import RawConnection
from peerstack.stack.addressing import TcpEndpoint, tcp_address, tcp_endpoint
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.net.sockets import BACKLOG, SocketListener, new_socket, socket_error

from .pipe import TcpPipe

_Name: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
_NOT_FROM_THERE = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EINVAL)
"""What `bind` and `connect` say where a listener's port does not lead to an address, or is connected to it already."""
_UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN, errno.EWOULDBLOCK)
"""What `connect` returns at once; the last is Windows' word, another number there than EAGAIN."""


class TcpTransport:
    """Dials and listens on TCP; implements `abc.StreamTransport`."""

    def __init__(self, *, reuse_port: bool = False) -> None:
        """`reuse_port` dials from the port of a listener of the same IP version, where the system can (not Windows).

        Peers, and NATs on the way, then see an address that leads to the listener. Where that port has a connection to
        the same address already, or cannot be used, the system chooses one.
        """
        self._reuse_port = reuse_port and hasattr(socket, "SO_REUSEPORT")
        self._listeners: list[TcpListener] = []

    def can_dial(self, address: Multiaddr) -> bool:
        """Say whether the address is a TCP socket with its IP address known."""
        endpoint = tcp_endpoint(address)
        return endpoint is not None and endpoint.family in ("ip4", "ip6") and endpoint.port != 0

    def can_listen(self, address: Multiaddr) -> bool:
        """Say whether the address is a local TCP socket; port 0 takes a free one."""
        endpoint = tcp_endpoint(address)
        return endpoint is not None and endpoint.family in ("ip4", "ip6")

    async def dial(self, address: Multiaddr) -> RawConnection:
        """Connect. Raises `OSError` with the cause, `InvalidAddress` for other addresses."""
        family, target = _socket_address(address)
        source = self._source(target)
        sock = None
        if source is not None:
            try:
                sock = await _dialed(family, target, source)
            except OSError as error:
                if error.errno not in _NOT_FROM_THERE:
                    raise
        sock = sock or await _dialed(family, target, None)
        try:
            return RawConnection(TcpPipe(sock), _multiaddr(sock.getsockname()), address)
        except BaseException:
            sock.close()
            raise

    def _source(self, target: _Name) -> _Name | None:
        """Return the name of a listener to dial from; None for a port of the system's choice."""
        if not self._reuse_port:
            return None
        self._listeners = [listener for listener in self._listeners if listener.open]
        return next((item.name for item in self._listeners if _leads_to(item.name, target)), None)

    async def listen(self, address: Multiaddr) -> TcpListener:
        """Bind. Raises `OSError` with the cause, `InvalidAddress` for other addresses."""
        family, target = _socket_address(address)
        await trio.lowlevel.checkpoint()
        sock = new_socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _own_port(), 1)
            if family == socket.AF_INET6:
                # /ip6/:: means IPv6; who wants both listens on both.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(target)
            sock.listen(BACKLOG)
            listener = TcpListener(sock)
            if self._reuse_port:
                # Only now, so that two listeners do not share a port unawares: the second gets EADDRINUSE as ever.
                _share_port(sock)
                self._listeners.append(listener)
            return listener
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error


class TcpListener(SocketListener):
    """A bound TCP socket."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock, _multiaddr(sock.getsockname()))
        self.name: _Name = sock.getsockname()
        """As the system calls it."""

    @property
    def open(self) -> bool:
        """Whether it listens still."""
        return self._socket.fileno() != -1

    def wire(self, sock: socket.socket, remote: tuple[str, int] | tuple[str, int, int, int] | None) -> RawConnection:
        """See `SocketListener.wire`."""
        if not remote:  # macOS accepts what was reset in the backlog, and has no address for it
            raise socket_error(errno.ECONNABORTED)
        return RawConnection(TcpPipe(sock), _multiaddr(sock.getsockname()), _multiaddr(remote))


def _own_port() -> int:
    """Return the option with which a port is free again as soon as its listener is gone, and no sooner."""
    if sys.platform == "win32":
        # It frees the port by itself; SO_REUSEADDR would let any program take it from us while we listen.
        return socket.SO_EXCLUSIVEADDRUSE
    return socket.SO_REUSEADDR


def _share_port(sock: socket.socket) -> None:
    """Let other sockets have the same port; `reuse_port` is off on Windows."""
    if sys.platform != "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


async def _dialed(family: int, target: _Name, source: _Name | None) -> socket.socket:
    """Return a socket connected to `target`, from `source` if that is given. Raises `OSError`."""
    sock = new_socket(family, socket.SOCK_STREAM)
    try:
        if source is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _share_port(sock)
            sock.bind(source)
        await _connect(sock, target)
        if source is not None and sock.getsockname() == sock.getpeername():  # it met itself instead of our listener
            raise socket_error(errno.EADDRINUSE)
    except BaseException:
        sock.close()
        raise
    return sock


def _leads_to(source: _Name, target: _Name) -> bool:
    """Say whether a socket bound to `source` may connect to `target`."""
    if len(source) != len(target):
        return False
    here, there = (ip_address(name[0].partition("%")[0]) for name in (source, target))
    return here.is_unspecified or here.is_loopback == there.is_loopback


async def _connect(sock: socket.socket, target: tuple[str, int] | tuple[str, int, int, int]) -> None:
    await trio.lowlevel.checkpoint_if_cancelled()
    result = sock.connect_ex(target)
    if result in _UNDER_WAY:
        await trio.lowlevel.wait_writable(sock.fileno())
        result = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    else:
        await trio.lowlevel.cancel_shielded_checkpoint()
    if result:
        raise socket_error(result)


def _socket_address(address: Multiaddr) -> tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]:
    endpoint = tcp_endpoint(address)
    if endpoint is None or endpoint.family not in ("ip4", "ip6"):
        raise InvalidAddress(f"{address} is not a TCP address such as /ip4/127.0.0.1/tcp/4001")
    if endpoint.family == "ip4":
        return socket.AF_INET, (endpoint.host, endpoint.port)
    return socket.AF_INET6, (endpoint.host, endpoint.port, 0, _scope_id(endpoint))


def _scope_id(endpoint: TcpEndpoint) -> int:
    if endpoint.zone is None:
        return 0
    if endpoint.zone.isdecimal():
        return int(endpoint.zone)
    try:
        return socket.if_nametoindex(endpoint.zone)
    except OSError:
        raise InvalidAddress(f"there is no network interface {endpoint.zone!r}") from None


def _multiaddr(name: tuple[str, int] | tuple[str, int, int, int]) -> Multiaddr:
    return tcp_address(name[0], name[1])
