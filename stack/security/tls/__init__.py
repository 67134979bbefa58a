"""TLS 1.3 with certificates that carry a peer's identity (libp2p specs, `tls/tls.md`)."""

from ...extras import how_to_install

try:
    import OpenSSL as _openssl  # noqa: F401
except ModuleNotFoundError as error:  # pragma: no cover - a test runs it in another process
    raise ModuleNotFoundError(f"TLS needs the extra `tls`: {how_to_install('tls')}", name="OpenSSL") from error

from .certificate import CertificateError, make_certificate, verify_certificate
from .tls import PROTOCOL_ID, Tls

__all__ = ["PROTOCOL_ID", "CertificateError", "Tls", "make_certificate", "verify_certificate"]
