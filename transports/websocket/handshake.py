"""The HTTP upgrade that begins a WebSocket (RFC 6455, section 4), by the `websockets` library.

Only the head of a request or answer is fed to the library; what came behind it is frames already, and goes back to the
pipe. Any path and Host are served and Origin is not asked about: who the peer is, the security protocol inside proves.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from typing import Final

import trio
from websockets.client import ClientProtocol
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import WebSocketURI

from peerstack.stack.abc import Pipe
from peerstack.stack.errors import ConnectionLost, RemoteProtocolError

from .pipe import WebSocketPipe

MAX_HEAD: Final = 8 * 1024
"""Bytes of a request or answer with its headers, as many servers have it; browsers send about 500."""
_SHOWN: Final = 60

_END: Final = b"\r\n\r\n"
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([ -~]*))?")

# Peers must not write into the application's log; what went wrong is raised.
_library_log = logging.getLogger(f"{__name__}.library")
_library_log.setLevel(logging.WARNING)


async def connect_websocket(below: Pipe, uri: WebSocketURI) -> WebSocketPipe:
    """Ask the server for a WebSocket. Raises RemoteProtocolError with the check that failed, ConnectionLost."""
    protocol = ClientProtocol(uri, logger=_library_log)
    protocol.send_request(protocol.connect())
    await below.send_all(b"".join(protocol.data_to_send()))
    head = await _read_head(below, b"HTTP/1.", "an answer")
    status = _STATUS.match(head)
    if status is not None and status[1] != b"101":
        raise _refused(f"the server answered {_show(status[1] + b' ' + (status[2] or b''))}, not 101")
    protocol.receive_data(head)
    if protocol.state is not State.OPEN:
        raise _refused(_reason(protocol.handshake_exc))
    return WebSocketPipe(below, client=True)


async def accept_websocket(below: Pipe) -> WebSocketPipe:
    """Wait for a client to ask for a WebSocket, and agree. Raises RemoteProtocolError, ConnectionLost.

    A request that is refused is answered in HTTP; the caller closes the pipe.
    """
    protocol = ServerProtocol(logger=_library_log)
    try:
        head = await _read_head(below, b"", "a request")
    except _TooLarge:
        _answer(below, protocol.reject(431, "The headers are too large.\n"))
        raise
    protocol.receive_data(head)
    for request in protocol.events_received():
        assert isinstance(request, Request), "nothing but a request comes before the handshake is done"
        protocol.send_response(protocol.accept(request))
    output = b"".join(protocol.data_to_send())
    if protocol.state is not State.OPEN:
        with suppress(trio.BrokenResourceError):
            below.send_nowait(output or protocol.reject(400, "This is not a request for a WebSocket.\n").serialize())
        raise _refused(_reason(protocol.handshake_exc))
    await below.send_all(output)
    return WebSocketPipe(below, client=False)


class _TooLarge(RemoteProtocolError):
    """The head does not end where it should have."""


async def _read_head(below: Pipe, prefix: bytes, what: str) -> bytes:
    """Read up to the empty line, and give back what is behind it."""
    head = b""
    while (end := head.find(_END)) < 0:
        if len(head) > MAX_HEAD:
            raise _TooLarge(f"WebSocket handshake: {what} with headers of more than {MAX_HEAD} bytes")
        data = await below.receive_some(MAX_HEAD)
        if not data:
            perhaps = "" if head else "; it may not speak WebSocket here"
            raise ConnectionLost(f"WebSocket handshake: the peer closed the connection{perhaps}")
        head += data
        _check_http(head, prefix, what)
    end += len(_END)
    if end > MAX_HEAD:
        raise _TooLarge(f"WebSocket handshake: {what} with headers of more than {MAX_HEAD} bytes")
    below.unread(head[end:])
    return head[:end]


def _check_http(head: bytes, prefix: bytes, what: str) -> None:
    """Refuse at once what is no HTTP: waiting for the end of its line could take until the deadline."""
    if head[0] == 0x16 or head[:2] == b"\x15\x03":
        raise _refused("the peer speaks TLS here; without it the address ends in /ws, with it in /tls/ws")
    size = min(len(head), len(prefix))
    if head[:size] != prefix[:size] or not 0x41 <= head[0] <= 0x5A:
        raise _refused(f"{what} in HTTP was expected, but {_show(head)} came")


def _refused(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"WebSocket handshake: {reason}")


def _answer(below: Pipe, response: Response) -> None:
    with suppress(trio.BrokenResourceError):
        below.send_nowait(response.serialize())


def _reason(error: BaseException | None) -> str:
    """Join what the library says in a chain of exceptions, which holds what the peer sent."""
    words: list[str] = []
    while error is not None:
        words.append(str(error))
        error = error.__cause__
    return _show(": ".join(words).encode(), 3 * _SHOWN)


def _show(data: bytes, size: int = _SHOWN) -> str:
    """Show what a peer sent in one line of printable characters."""
    return ascii(data[:size].decode("latin-1"))[1:-1] + ("..." if len(data) > size else "")
