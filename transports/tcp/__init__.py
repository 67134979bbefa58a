"""The TCP transport."""

from .pipe import TcpPipe
from .transport import TcpListener, TcpTransport

__all__ = ["TcpListener", "TcpPipe", "TcpTransport"]
