"""A listener that is deaf, so that the first packet of a dial to it is lost, as at a NAT that lets nothing in.

When the other side dials back from there, that packet meets a socket which is dialing itself: a TCP simultaneous open
(RFC 9293, figure 8), without a race and without privileges.
"""

from __future__ import annotations

import ctypes
import socket
import struct

from peerstack.transports.tcp import TcpListener

_SO_ATTACH_FILTER = 26  # Linux; the socket module has no name for it
_RETURN = 0x06


def make_deaf(*listeners: TcpListener) -> None:
    """Drop whatever the kernel would hand to listeners, by a BPF program that returns 0."""
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    for listener in listeners:
        listener._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
