"""A connection over a unix socket as a pipe."""

from __future__ import annotations

from peerstack.stack.net.sockets import SocketPipe


class UnixPipe(SocketPipe):
    """A connected unix socket."""

    __slots__ = ()
    kind = "unix socket"
