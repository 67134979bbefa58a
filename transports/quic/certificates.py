"""Which certificate of a peer is accepted: one implementation of libp2p's rules for every engine."""

from __future__ import annotations

from collections.abc import Sequence

from peerstack.stack.errors import PeerIdMismatch, StackError
from peerstack.stack.identity import PeerId, PublicKey
from peerstack.stack.security.tls.certificate import CertificateError, verify_certificate


class CertificateVerifier:
    """Says whether a peer may be who it says; an engine asks once for each connection, before the handshake ends."""

    def __init__(self, expect: PeerId | None) -> None:
        self._expect = expect
        self.key: PublicKey | None = None
        """The identity that was proved."""
        self.failure: StackError | None = None
        """What is wrong with what the peer showed."""

    def verify(self, certificates: Sequence[bytes]) -> bool:
        """Say whether the certificates that the peer showed (DER) prove the expected peer; keep the key or the failure.

        The engine asks once it knows that the peer has the certificate's private key, or when it showed none.
        """
        if len(certificates) != 1:
            count = "a chain of certificates instead of one" if certificates else "no certificate"
            return self._refuse(f"the peer showed {count}")
        try:
            key = verify_certificate(certificates[0])
        except CertificateError as error:
            return self._refuse(str(error))
        if self._expect is not None and key.peer_id != self._expect:
            self.failure = PeerIdMismatch(self._expect, key.peer_id)
            return False
        self.key = key
        return True

    def _refuse(self, reason: str) -> bool:
        self.failure = CertificateError(f"QUIC handshake: {reason}")
        return False
