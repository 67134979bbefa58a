"""Unix sockets: hosts on one machine that find each other by a file (`/unix/PATH`)."""

from .pipe import UnixPipe
from .transport import UnixListener, UnixTransport

__all__ = ["UnixListener", "UnixPipe", "UnixTransport"]
