"""A TCP connection as a pipe."""

from __future__ import annotations

import socket

from peerstack.stack.net.sockets import SocketPipe


class TcpPipe(SocketPipe):
    """A connected TCP socket."""

    __slots__ = ()
    kind = "TCP"

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock)
