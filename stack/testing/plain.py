"""Pairs of channels without security, so that muxers can be tested on their own."""

from __future__ import annotations

from ..memory import DEFAULT_CAPACITY, memory_pipe_pair
from ..security.plaintext import PlainChannel

__all__ = ["PlainChannel", "plain_channel_pair"]


def plain_channel_pair(capacity: int = DEFAULT_CAPACITY) -> tuple[PlainChannel, PlainChannel]:
    """Return two connected channels; each direction holds `capacity` bytes before the sender waits."""
    one, other = memory_pipe_pair(capacity)
    return PlainChannel(one), PlainChannel(other)
