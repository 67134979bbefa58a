"""Noise XX (`/noise`), revision 5 of the libp2p specification."""

from .channel import NoiseChannel
from .core import Handshake, Session, StaticKey
from .noise import Noise
from .wire import PROTOCOL_ID

__all__ = ["PROTOCOL_ID", "Handshake", "Noise", "NoiseChannel", "Session", "StaticKey"]
