"""The TCP transport."""

from .transport import TcpListener, TcpPipe, TcpTransport

__all__ = ["TcpListener", "TcpPipe", "TcpTransport"]
