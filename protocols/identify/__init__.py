"""Identify: peers tell each other who they are, what they speak, and where they are (`/ipfs/id/1.0.0` and push)."""

from .identify import PROTOCOL, PUSH_PROTOCOL, identify, push, serve, serve_push
from .service import IdentifyConfig, IdentifyHost, IdentifyService, open_identify
from .wire import MAX_TEXT as MAX_AGENT
from .wire import Identify

__all__ = [
    "MAX_AGENT",
    "PROTOCOL",
    "PUSH_PROTOCOL",
    "Identify",
    "IdentifyConfig",
    "IdentifyHost",
    "IdentifyService",
    "identify",
    "open_identify",
    "push",
    "serve",
    "serve_push",
]
