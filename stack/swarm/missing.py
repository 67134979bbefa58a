"""Which transport an address takes, for a host that was opened without it."""

from __future__ import annotations

from multiaddr import Multiaddr

from ..addressing import transport_name
from ..extras import how_to_install

_WEBSOCKET = "WebSocketTransport(TcpTransport()) in transports=", "websocket"
_TAKES: dict[str, tuple[str, str | None]] = {
    "tcp": ("TcpTransport() in transports=", None),
    "unix": ("UnixTransport() in transports=", None),
    "memory": ("MemoryTransport(network) in transports=", None),
    "ws": _WEBSOCKET,
    "wss": _WEBSOCKET,
    "quic-v1": ("QuicTransport(identity) in native_transports=", "quic"),
}


def what_it_takes(address: Multiaddr) -> str:
    """Return what `open_host` needs for this address, to follow what is wrong; "" if nothing helps."""
    taken = _TAKES.get(transport_name(address) or "")
    if taken is None:
        return ""
    transport, extra = taken
    where = "" if extra is None else f", of the extra `{extra}` ({how_to_install(extra)})"
    return f"; it takes {transport}{where}"
