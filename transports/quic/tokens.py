"""Stateless reset tokens that outlive the process (RFC 9000, section 10.3)."""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from peerstack.stack.identity import Identity

TOKEN_SIZE: Final = 16
_PURPOSE: Final = b"libp2p QUIC stateless reset key"


def reset_key(identity: Identity) -> bytes:
    """Derive the key of all tokens from the identity, so that after a restart connections can still be reset.

    It is HKDF-SHA256 of the private key's protobuf: no other peer can compute a token, and a token tells nothing of
    the private key.
    """
    kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_PURPOSE)
    return kdf.derive(identity.encode())


def reset_token(key: bytes, connection_id: bytes) -> bytes:
    """Return the token of a connection id."""
    return hmac.digest(key, connection_id, "sha256")[:TOKEN_SIZE]
