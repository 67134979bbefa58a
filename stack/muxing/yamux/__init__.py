"""Yamux (`/yamux/1.0.0`)."""

from .config import Config
from .connection import Statistics, Yamux, YamuxConnection, YamuxStream
from .wire import PROTOCOL_ID, GoAwayCode

__all__ = [
    "PROTOCOL_ID",
    "Config",
    "GoAwayCode",
    "Statistics",
    "Yamux",
    "YamuxConnection",
    "YamuxStream",
]
