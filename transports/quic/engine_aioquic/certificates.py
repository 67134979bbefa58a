"""libp2p's certificates in aioquic's TLS: both sides show one, and it is verified before the handshake can end."""

from __future__ import annotations

import ssl
from typing import Final

from aioquic import tls

from peerstack.stack.security.tls.certificate import MAX_CERTIFICATE

from ..certificates import CertificateVerifier

CONTEXT_NAMES: Final = (
    "_check_certificate_verify_signature",
    "_peer_certificate",
    "_request_client_certificate",
    "_server_expect_finished",
    "_set_peer_certificate",
    "_verify_mode",
)
"""The private names of `tls.Context` that this module overrides, reads or sets."""


class CertificateRequired(tls.Alert):
    """The peer showed no certificate."""

    description = tls.AlertDescription.certificate_required


class CertificateContext(tls.Context):
    """aioquic's TLS that asks every peer for a certificate, and has it verified by libp2p's rules, not the web's."""

    verifier: CertificateVerifier
    shown: list[bytes]

    @classmethod
    def adopt(cls, context: tls.Context, verifier: CertificateVerifier) -> None:
        """Make a fresh context one of ours: aioquic has no way to be given one."""
        context.__class__ = cls
        assert isinstance(context, cls)
        context.verifier = verifier
        context.shown = []
        context._request_client_certificate = True
        context._verify_mode = ssl.CERT_NONE

    def _set_peer_certificate(self, certificate: tls.Certificate) -> None:
        self.shown = [each[0] for each in certificate.certificates]
        if len(self.shown) > 1 or any(len(each) > MAX_CERTIFICATE for each in self.shown):
            # aioquic would parse it.
            self._verify()
        super()._set_peer_certificate(certificate)

    def _check_certificate_verify_signature(self, verify: tls.CertificateVerify) -> None:
        super()._check_certificate_verify_signature(verify)
        # Only now is it sure that the peer has the certificate's key.
        self._verify()

    def _server_expect_finished(self) -> None:
        if self._peer_certificate is None:
            self.verifier.verify([])
            raise CertificateRequired("a certificate is required")
        super()._server_expect_finished()

    def _verify(self) -> None:
        if not self.verifier.verify(self.shown):
            raise tls.AlertBadCertificate("the certificate does not prove the expected peer")
