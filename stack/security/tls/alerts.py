"""What the peer's TLS alerts mean (RFC 8446, section 6.2)."""

from __future__ import annotations

from typing import Final

_OUR_CERTIFICATE: Final = "it does not accept our certificate"
_IN_COMMON: Final = "it found no version, cipher or key exchange of TLS in common with us"
_MEANINGS: Final = {
    "handshake_failure": _IN_COMMON,
    "bad_certificate": _OUR_CERTIFICATE,
    "unsupported_certificate": _OUR_CERTIFICATE,
    "certificate_revoked": _OUR_CERTIFICATE,
    "certificate_expired": f"{_OUR_CERTIFICATE}, as out of date: compare the clocks",
    "certificate_unknown": _OUR_CERTIFICATE,
    "unknown_ca": f"{_OUR_CERTIFICATE}, for it asks authorities instead of libp2p's rules",
    "access_denied": "it does not want us, by a rule of its own",
    "decrypt_error": "it could not verify a signature of ours",
    "protocol_version": _IN_COMMON,
    "insufficient_security": _IN_COMMON,
    "internal_error": "something failed on its side",
    "certificate_required": "it got no certificate of ours",
    "no_application_protocol": "it has no application protocol in common with us: perhaps it is not a libp2p peer",
}


def describe_alert(name: str) -> str:
    """Return the meaning of a peer's alert, with its name; alerts that are not listed say that we broke TLS."""
    return f"{_MEANINGS.get(name, 'it says that we broke TLS')} (TLS alert {name})"


def alert_in(reason: str) -> str | None:
    """Return the name of the alert in a reason of OpenSSL's, such as `ssl/tls alert bad certificate`; None without."""
    _, found, name = reason.partition(" alert ")
    return name.replace(" ", "_") if found else None
