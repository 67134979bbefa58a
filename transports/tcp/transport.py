"""TCP: `/ip4|ip6/ADDRESS/tcp/PORT`, names resolved before it is asked."""

from __future__ import annotations

import errno
import socket
import sys
from ipaddress import ip_address
from typing import TypeAlias

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, Direction, RawConnection
from peerstack.stack.addressing import interface_index, tcp_address, tcp_endpoint
from peerstack.stack.errors import InvalidAddress
from peerstack.stack.net.sockets import BACKLOG, SocketListener, SocketPipe, new_socket, socket_error

_Name: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
_NOT_FROM_THERE = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EINVAL)
"""What `bind` and `connect` say where a listener's port does not lead to an address, or is connected to it already."""
_TAKEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
"""Of these, what may mean that the port is connected to the address already."""
_UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN, errno.EWOULDBLOCK)
"""What `connect` returns at once; the last is Windows' word, another number there than EAGAIN."""


class TcpPipe(SocketPipe):
    """A connected TCP socket."""

    __slots__ = ()
    kind = "TCP"

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock)


class TcpTransport:
    """Dials and listens on TCP; implements `abc.StreamTransport`."""

    def __init__(self, *, reuse_port: bool = False) -> None:
        """`reuse_port` makes every dial one `from_listener`, as in go-libp2p and rust-libp2p.

        It is off, since two hosts that dial one another at the same moment, each from its listener's port, as after
        they have discovered one another, may get one TCP connection of which both are the client; no handshake of
        theirs succeeds then. A dial that needs to be seen from the listener's port, as to a relay or a server that
        tells what it sees, says so in its options; of a hole punch they also say who is the server.
        """
        self._reuse_port = reuse_port
        self._listeners: list[TcpListener] = []

    def can_dial(self, address: Multiaddr) -> bool:
        """Return whether the address is a TCP socket with its IP address known."""
        endpoint = tcp_endpoint(address)
        return endpoint is not None and endpoint.family in ("ip4", "ip6") and endpoint.port != 0

    def can_listen(self, address: Multiaddr) -> bool:
        """Return whether the address is a local TCP socket; port 0 takes a free one."""
        endpoint = tcp_endpoint(address)
        return endpoint is not None and endpoint.family in ("ip4", "ip6")

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        """Connect. Raises `OSError` with the cause, `InvalidAddress` for other addresses.

        `from_listener` dials from the port of a listener of the same IP version, where the system can (not Windows).
        Where that port has a connection to the same address already, or cannot be used, the system chooses one; but
        not for `INBOUND`: the peer would be met from there only, and that may be its own connection.
        """
        family, target = _socket_address(address)
        source = self._source(target) if options.from_listener or self._reuse_port else None
        sock = None
        if source is not None:
            try:
                sock = await _dialed(family, target, source)
            except OSError as error:
                if options.direction is Direction.INBOUND and error.errno in _TAKEN:
                    what = "our listener's port is connected there already: the peer's own dial may have been first"
                    raise OSError(errno.EADDRINUSE, what) from error
                if options.direction is Direction.INBOUND or error.errno not in _NOT_FROM_THERE:
                    raise
        sock = sock or await _dialed(family, target, None)
        try:
            return RawConnection(TcpPipe(sock), _multiaddr(sock.getsockname()), address)
        except BaseException:
            sock.close()
            raise

    def _source(self, target: _Name) -> TcpListener | None:
        """Return a listener to dial from; None for a port of the system's choice."""
        if not hasattr(socket, "SO_REUSEPORT"):
            return None
        return next((listener for listener in self._open_listeners() if _leads_to(listener.name, target)), None)

    def _open_listeners(self) -> list[TcpListener]:
        return [listener for listener in self._listeners if listener.open]

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
            self._listeners = [*self._open_listeners(), listener]
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

    def lend_port(self, sock: socket.socket) -> None:
        """Bind a socket that will dial to the port of this listener.

        Until then the listener does not share its port: a second listener gets EADDRINUSE, also one of a program
        such as kubo, which shares every port of its own. From then on Linux lets such a program of the same user in.
        """
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _share_port(sock)
        _share_port(self._socket)
        try:
            sock.bind(self.name)
        finally:
            _share_port(self._socket, False)

    def raw_connection(
        self, sock: socket.socket, remote: tuple[str, int] | tuple[str, int, int, int] | None
    ) -> RawConnection:
        """See `SocketListener.raw_connection`."""
        if not remote:  # macOS accepts what was reset in the backlog, and has no address for it
            raise socket_error(errno.ECONNABORTED)
        return RawConnection(TcpPipe(sock), _multiaddr(sock.getsockname()), _multiaddr(remote))


def _own_port() -> int:
    """Return the option with which a port is free again as soon as its listener is gone, and no sooner."""
    if sys.platform == "win32":
        # It frees the port by itself; SO_REUSEADDR would let any program take it from us while we listen.
        return socket.SO_EXCLUSIVEADDRUSE
    return socket.SO_REUSEADDR


def _share_port(sock: socket.socket, share: bool = True) -> None:
    """Let other sockets have the same port, or no more; not called on Windows."""
    if sys.platform != "win32":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, share)


async def _dialed(family: int, target: _Name, source: TcpListener | None) -> socket.socket:
    """Return a socket connected to `target`, from the port of `source` if that is given. Raises `OSError`."""
    sock = new_socket(family, socket.SOCK_STREAM)
    try:
        if source is not None:
            source.lend_port(sock)
        await _connect(sock, target)
        if source is not None and sock.getsockname() == sock.getpeername():  # it met itself instead of our listener
            raise socket_error(errno.EADDRINUSE)
    except BaseException:
        sock.close()
        raise
    return sock


def _leads_to(source: _Name, target: _Name) -> bool:
    """Return whether a socket bound to `source` may connect to `target`."""
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
    return socket.AF_INET6, (endpoint.host, endpoint.port, 0, interface_index(endpoint.zone))


def _multiaddr(name: tuple[str, int] | tuple[str, int, int, int]) -> Multiaddr:
    return tcp_address(name[0], name[1])
