"""Mplex (`/mplex/6.7.0`): deprecated, off by default, for peers that have nothing else.

It has no flow control: a sender cannot learn how fast its stream is read. Only the connection, which all streams share,
can stop it: a stream that is read too slowly first stalls every other one, and is then reset. It has no pings either:
whether a silent peer is alive is asked by opening a stream. Prefer yamux.
"""

from .config import Config
from .connection import Mplex, MplexConnection, MplexStream
from .wire import PROTOCOL_ID

__all__ = ["PROTOCOL_ID", "Config", "Mplex", "MplexConnection", "MplexStream"]
