"""Agreement on a protocol over a stream: multistream-select 1.0."""

from .select import (
    MAX_PROPOSALS,
    Replay,
    Unreadable,
    negotiate_inbound,
    negotiate_outbound,
    optimistic_prefix,
    read_answer,
)
from .wire import HEADER, greeting

__all__ = [
    "HEADER",
    "MAX_PROPOSALS",
    "Replay",
    "Unreadable",
    "greeting",
    "negotiate_inbound",
    "negotiate_outbound",
    "optimistic_prefix",
    "read_answer",
]
