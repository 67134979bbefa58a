"""Error codes that say why a stream was reset, where the muxer carries them (go-libp2p's numbers, not in the spec)."""

from __future__ import annotations

from enum import IntEnum


class StreamCode(IntEnum):
    """Why a stream was reset."""

    NONE = 0
    NEGOTIATION_FAILED = 0x1001
    RESOURCE_LIMIT = 0x1002
    RATE_LIMITED = 0x1003
    PROTOCOL_VIOLATION = 0x1004
    SUPPLANTED = 0x1005
    GARBAGE_COLLECTED = 0x1006
    SHUTDOWN = 0x1007
    GATED = 0x1008
    OUT_OF_RANGE = 0x1009


def describe_code(code: int) -> str:
    """Return a code in words."""
    try:
        return StreamCode(code).name.lower().replace("_", " ")
    except ValueError:
        return f"code {code:#x}"
