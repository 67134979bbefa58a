"""TLS 1.3 with certificates that carry a peer's identity (libp2p specs, `tls/tls.md`)."""

from .certificate import CertificateError, make_certificate, verify_certificate
from .tls import PROTOCOL_ID, Tls

__all__ = ["PROTOCOL_ID", "CertificateError", "Tls", "make_certificate", "verify_certificate"]
