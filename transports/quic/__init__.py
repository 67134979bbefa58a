"""The QUIC transport: version 1 with libp2p's certificates (libp2p specs, `quic/README.md` and `tls/tls.md`)."""

try:
    from .transport import QuicListener, QuicTransport
except ModuleNotFoundError as error:
    if not (error.name or "").startswith(("aioquic", "OpenSSL")):
        raise
    raise ImportError("QUIC needs the extra `quic`: pip install 'peerstack[quic]'") from error

from .config import QuicConfig
from .connection import QuicConnection
from .stream import QuicStream

__all__ = ["QuicConfig", "QuicConnection", "QuicListener", "QuicStream", "QuicTransport"]
