"""Stateless reset tokens that outlive the process (RFC 9000, section 10.3)."""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from peerstack.stack.identity import Identity

TOKEN_SIZE: Final = 16
_PURPOSE: Final = b"libp2p QUIC stateless reset key"


class ResetTokens:
    """Derives the token of each connection id from the identity, so that after a restart we can still say "forgotten".

    The key is HKDF-SHA256 of the private key's protobuf: nobody else can compute a token, and a token tells nothing of
    the key.
    """

    def __init__(self, identity: Identity) -> None:
        kdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=_PURPOSE)
        self._key = kdf.derive(identity.encode())

    def token(self, connection_id: bytes) -> bytes:
        """Return the token of a connection id."""
        return hmac.digest(self._key, connection_id, "sha256")[:TOKEN_SIZE]
