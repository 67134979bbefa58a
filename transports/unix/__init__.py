"""Unix sockets: hosts on one machine that find each other by a file (`/unix/PATH`)."""

from .transport import UnixListener, UnixPipe, UnixTransport

__all__ = ["UnixListener", "UnixPipe", "UnixTransport"]
