"""The engine made of aioquic; nothing outside this folder knows aioquic, and nothing in it does I/O."""

from .engine import AioquicEngine, EngineSettings
from .packets import Header, RetryTokens, encode_refusal, encode_version_negotiation, parse_header

__all__ = [
    "AioquicEngine",
    "EngineSettings",
    "Header",
    "RetryTokens",
    "encode_refusal",
    "encode_version_negotiation",
    "parse_header",
]
