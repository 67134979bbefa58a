"""libp2p's certificates in aioquic's TLS: both sides show one, and it is verified before the handshake can end."""

from __future__ import annotations

import ssl
from typing import Final

from aioquic import tls

from peerstack.stack.errors import PeerIdMismatch, StackError
from peerstack.stack.identity import PeerId, PublicKey
from peerstack.stack.security.tls.certificate import MAX_CERTIFICATE, CertificateError, verify_certificate

CONTEXT_NAMES: Final = (
    "_check_certificate_verify_signature",
    "_peer_certificate",
    "_request_client_certificate",
    "_server_expect_finished",
    "_set_peer_certificate",
    "_verify_mode",
)
"""The private names of `tls.Context` that this module overrides, reads or sets."""


class CertificateVerifier:
    """Decides whether the peer may be who it says; asked once, while the handshake is still open."""

    def __init__(self, expect: PeerId | None) -> None:
        self._expect = expect
        self.key: PublicKey | None = None
        self.failure: StackError | None = None

    def verify(self, certificate: bytes) -> bool:
        """Say whether the certificate (DER) names the expected peer, and keep the key or the failure."""
        try:
            key = verify_certificate(certificate)
        except CertificateError as error:
            self.refuse(str(error))
            return False
        if self._expect is not None and key.peer_id != self._expect:
            self.failure = PeerIdMismatch(self._expect, key.peer_id)
            return False
        self.key = key
        return True

    def refuse(self, reason: str) -> None:
        """Keep what is wrong with the certificate."""
        self.failure = CertificateError(f"QUIC handshake: {reason}")


class CertificateRequired(tls.Alert):
    """The peer showed no certificate."""

    description = tls.AlertDescription.certificate_required


class CertificateContext(tls.Context):
    """aioquic's TLS that asks every peer for a certificate, and has it verified by libp2p's rules, not the web's."""

    verifier: CertificateVerifier
    shown: bytes

    @classmethod
    def adopt(cls, context: tls.Context, verifier: CertificateVerifier) -> None:
        """Make a fresh context one of ours: aioquic has no way to be given one."""
        context.__class__ = cls
        assert isinstance(context, cls)
        context.verifier = verifier
        context.shown = b""
        context._request_client_certificate = True
        context._verify_mode = ssl.CERT_NONE

    def _set_peer_certificate(self, certificate: tls.Certificate) -> None:
        shown = certificate.certificates
        if len(shown) != 1:
            self.verifier.refuse("the peer sent a chain of certificates instead of one")
            raise tls.AlertBadCertificate("one certificate is wanted, not a chain")
        self.shown = shown[0][0]
        if len(self.shown) > MAX_CERTIFICATE:
            self.verifier.verify(self.shown)
            raise tls.AlertBadCertificate("the certificate is too large")
        super()._set_peer_certificate(certificate)

    def _check_certificate_verify_signature(self, verify: tls.CertificateVerify) -> None:
        super()._check_certificate_verify_signature(verify)
        # Only now is it sure that the peer has the certificate's key.
        if not self.verifier.verify(self.shown):
            raise tls.AlertBadCertificate("the certificate does not prove the expected peer")

    def _server_expect_finished(self) -> None:
        if self._peer_certificate is None:
            self.verifier.refuse("the peer showed no certificate")
            raise CertificateRequired("a certificate is required")
        super()._server_expect_finished()
