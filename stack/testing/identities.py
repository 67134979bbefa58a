"""Identities from a seed: what peers decide by comparing their ids is then the same in each run."""

from __future__ import annotations

from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..identity import Identity

_PREFIX = bytes([0x08, 1, 0x12, 64])  # PrivateKey { Type: Ed25519, Data: 64 bytes }, peer-ids/peer-ids.md


def seeded_identity(random: Random) -> Identity:
    """Return the next Ed25519 identity of a random generator. Anybody can compute it: for tests only."""
    secret = random.randbytes(32)
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    return Identity.decode(_PREFIX + secret + public)
