"""Paths of unix sockets in multiaddrs: `/unix/PATH`, which takes the rest of the address, is always absolute.

/unix/run/app.sock      /run/app.sock
/unix/tmp/a%20b.sock    /tmp/a b.sock       escaped as in URLs; `%2F` is the same as `/`
"""

from __future__ import annotations

import os
import sys
from urllib.parse import quote, unquote

from multiaddr import Multiaddr

from peerstack.stack.addressing import components, parse_address
from peerstack.stack.errors import InvalidAddress

MAX_PATH = 107 if sys.platform == "linux" else 103
"""Bytes of a path that the system has room for: fewer on macOS and the BSDs than on Linux."""


def unix_path(address: Multiaddr) -> str | None:
    """Return the path of a unix socket's address, None for any other address."""
    match components(address):
        case (("unix", str(path)),):
            return unquote(path)
    return None


def unix_address(path: str) -> Multiaddr:
    """Return the address of the socket at an absolute path. Raises InvalidAddress."""
    return parse_address(f"/unix{quote(path)}")


def socket_path(address: Multiaddr) -> str:
    """Return the path in an address, if a socket can have it. Raises InvalidAddress."""
    path = unix_path(address)
    if path is None:
        raise InvalidAddress(f"{address} is not the address of a unix socket such as /unix/run/app.sock")
    size = len(os.fsencode(path))
    if size > MAX_PATH:
        raise InvalidAddress(f"the path of a unix socket has at most {MAX_PATH} bytes, that of {address} has {size}")
    return path
