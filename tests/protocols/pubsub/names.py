"""Peers by name, for tests that need no keys."""

from __future__ import annotations

import hashlib

from peerstack.stack.identity import PeerId


def named(name: str) -> PeerId:
    """Return the peer of that name, always the same."""
    return PeerId(b"\x12\x20" + hashlib.sha256(name.encode()).digest())


A, B, C, D = map(named, "ABCD")
