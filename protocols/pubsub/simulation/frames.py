"""Frames of the simulation: an RPC with its length before it, as on a stream."""

from __future__ import annotations

from peerstack.stack.wire import varint


def content_of(frame: bytes) -> bytes:
    """Return the RPC in a frame."""
    size, start = varint.decode(frame, 0)
    assert start + size == len(frame), "frames are never split or joined here"
    return frame[start:]
