"""The WebSocket transport, plain and secure (libp2p specs, `websockets/README.md`; RFC 6455)."""

from peerstack.stack.extras import how_to_install

try:
    import websockets as _websockets  # noqa: F401
except ImportError as error:  # pragma: no cover - a test runs it in another process
    raise ImportError(f"WebSocket needs the extra `websocket`: {how_to_install('websocket')}") from error

from .pipe import WebSocketPipe
from .tls import client_context, server_context
from .transport import WebSocketListener, WebSocketTransport

__all__ = ["WebSocketListener", "WebSocketPipe", "WebSocketTransport", "client_context", "server_context"]
