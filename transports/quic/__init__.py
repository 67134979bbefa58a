"""The QUIC transport: version 1 with libp2p's certificates (libp2p specs, `quic/README.md` and `tls/tls.md`)."""

from .config import QuicConfig
from .connection import QuicConnection
from .stream import QuicStream
from .transport import QuicListener, QuicTransport

__all__ = ["QuicConfig", "QuicConnection", "QuicListener", "QuicStream", "QuicTransport"]
