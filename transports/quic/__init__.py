"""The QUIC transport: version 1 with libp2p's certificates (libp2p specs, `quic/README.md` and `tls/tls.md`)."""

from peerstack.stack.extras import how_to_install

try:
    from .engines import find_engine
    from .transport import QuicTransport

    find_engine(None)
except ModuleNotFoundError as error:
    if not (error.name or "").startswith(("aioquic", "OpenSSL")):
        raise
    raise ImportError(f"QUIC needs the extra `quic`: {how_to_install('quic')}") from error

from .config import QuicConfig
from .connection import QuicConnection
from .listener import QuicListener
from .stream import QuicStream

__all__ = ["QuicConfig", "QuicConnection", "QuicListener", "QuicStream", "QuicTransport"]
