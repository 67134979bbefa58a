"""Mplex (`/mplex/6.7.0`): deprecated, off by default, for peers that have nothing else.

It has no flow control: a sender never hears how fast its stream is read. All that can hold it up is the wire, which all
streams share: a stream that is read too slowly first holds up every other one, and is then reset. It has no pings
either, so that a peer that vanished is missed only when bytes for it are not taken. Prefer yamux.
"""

from .config import Config
from .connection import Mplex, MplexConnection, MplexStream
from .wire import PROTOCOL_ID

__all__ = ["PROTOCOL_ID", "Config", "Mplex", "MplexConnection", "MplexStream"]
