"""WebSocket addresses: `/ip4|ip6/…/tcp/N` and then `/ws`, `/wss`, `/tls/ws` or `/tls/sni/NAME/ws`, and a path.

A name that was looked up for a plain one is handed down as `/sni/NAME/ws`. It is for this dial only: what it names is
known to all others as `/ws`.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

from multiaddr import Multiaddr
from websockets.uri import WebSocketURI

from peerstack.stack.addressing import components, parse_address, tcp_endpoint
from peerstack.stack.addressing.codec import Component


@dataclass(frozen=True, slots=True)
class WebSocketAddress:
    """A WebSocket address taken apart."""

    below: Multiaddr
    """The TCP address that carries it."""
    suffix: bytes
    """The rest, in bytes, without the name of a plain one."""
    secure: bool
    host: str
    """The name of the server, which its certificate must prove: that in `/sni`, else the IP address."""
    port: int
    path: str

    @property
    def uri(self) -> WebSocketURI:
        """What the client asks the server for."""
        return WebSocketURI(self.secure, self.host, self.port, self.path, "")

    def on(self, below: Multiaddr) -> Multiaddr:
        """Return the address of the same kind on another TCP address."""
        return Multiaddr(below.to_bytes() + self.suffix)


def websocket_address(address: Multiaddr) -> WebSocketAddress | None:
    """Take a WebSocket address apart, or return None if it is none."""
    parts = components(address)
    at = next((index + 1 for index, part in enumerate(parts) if part.name == "tcp"), 0)
    below = parse_address(_text(parts[:at])) if at else None
    endpoint = None if below is None else tcp_endpoint(below)
    kind = _kind(parts[at:])
    if below is None or endpoint is None or kind is None:
        return None
    secure, name, path = kind
    if name is not None and not secure:
        at += 1
    suffix = address.to_bytes()[len(parse_address(_text(parts[:at])).to_bytes()) :]
    return WebSocketAddress(below, suffix, secure, name or endpoint.host, endpoint.port, path)


def _kind(parts: tuple[Component, ...]) -> tuple[bool, str | None, str] | None:
    """Return whether it is secure, the name it is for, and the path."""
    path = "/"
    if parts and parts[-1].name == "http-path":
        path = quote("/" + unquote(parts[-1].value or "").lstrip("/"))
        parts = parts[:-1]
    match parts:
        case (Component("ws"),):
            return False, None, path
        case (Component("sni", str(name)), Component("ws")):
            return False, name, path
        case (Component("wss"),) | (Component("tls"), Component("ws")):
            return True, None, path
        case (Component("tls"), Component("sni", str(name)), Component("ws")):
            return True, name, path
    return None


def _text(parts: tuple[Component, ...]) -> str:
    return "".join(f"/{name}" if value is None else f"/{name}/{value}" for name, value in parts)
