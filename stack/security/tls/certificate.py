"""Certificates that bind a key for TLS to the identity of a peer (tls/tls.md, "Peer Authentication").

    extension 1.3.6.1.4.1.53594.1.1 = SEQUENCE { publicKey OCTET STRING, signature OCTET STRING }

publicKey is the protobuf of the identity's key, and the signature is the identity's, over `libp2p-tls-handshake:` and
the certificate's own key (SubjectPublicKeyInfo, DER). QUIC uses the same certificates.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature as InvalidCertificateSignature
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

from ...errors import InvalidKey, InvalidSignature, RemoteProtocolError
from ...identity import Identity, PublicKey

EXTENSION: Final = x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.1")
SIGNATURE_PREFIX: Final = b"libp2p-tls-handshake:"
MAX_CERTIFICATE: Final = 8 * 1024
"""Bytes; with an RSA key of 8192 bits inside it has 4 KiB. Parsing is linear, but no honest peer needs more."""

_VALID_BEFORE = timedelta(hours=1)  # clocks differ
_VALID_FOR = timedelta(days=100 * 365)  # go-libp2p and js-libp2p: 100 years; the key lives as long as the process
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_MIN_RSA, _MAX_RSA = 2048, 8192
_SEQUENCE, _OCTET_STRING = 0x30, 0x04


class CertificateError(RemoteProtocolError):
    """A certificate does not prove the peer's identity; the message says which check failed."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate and the private key that belongs to it, which is not the identity's."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_certificate(identity: Identity, *, now: datetime | None = None) -> Credentials:
    """Return a fresh key and a self-signed certificate of it that names the identity; `now` is aware of its zone."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    signature = identity.sign(SIGNATURE_PREFIX + _public_info(key.public_key()))
    signed_key = _der(_SEQUENCE, _der(_OCTET_STRING, identity.public_key.encode()) + _der(_OCTET_STRING, signature))
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, str(serial))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - _VALID_BEFORE)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.UnrecognizedExtension(EXTENSION, signed_key), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Credentials(certificate, key)


def verify_certificate(der: bytes, *, now: datetime | None = None) -> PublicKey:
    """Return the identity key that a peer's only certificate proves. Raises CertificateError.

    That the peer has the certificate's private key is for the TLS handshake to check.
    """
    if len(der) > MAX_CERTIFICATE:
        raise CertificateError(f"the certificate has {len(der)} bytes; the limit is {MAX_CERTIFICATE}")
    try:
        with warnings.catch_warnings():
            # What the library warns of is refused: a peer must not fill our log, and later versions refuse it.
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            certificate = x509.load_der_x509_certificate(der)
            extensions = certificate.extensions
            key = certificate.public_key()
    except x509.DuplicateExtension as error:
        raise CertificateError(f"the certificate has extension {error.oid.dotted_string} twice") from None
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion, CryptographyDeprecationWarning) as error:
        raise CertificateError(f"the certificate cannot be read: {error}") from None
    _check_time(certificate, now or datetime.now(UTC))
    _check_own_signature(certificate, key)
    public_key, signature = _read_signed_key(_find_extension(extensions))
    return _check_identity(public_key, signature, _public_info(key))


def _check_time(certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise CertificateError(
            f"the certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        )
    if now > certificate.not_valid_after_utc:
        raise CertificateError(f"the certificate expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")


def _check_own_signature(certificate: x509.Certificate, key: object) -> None:
    try:
        algorithm = certificate.signature_hash_algorithm
        parameters = certificate.signature_algorithm_parameters
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"the certificate is signed in an unknown way: {error}") from None
    if algorithm is not None and not isinstance(algorithm, _HASHES):
        raise CertificateError(f"the certificate is signed with {algorithm.name}, which is too weak")
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        match key, parameters:
            case ec.EllipticCurvePublicKey(), ec.ECDSA():
                key.verify(signature, signed, parameters)
            case rsa.RSAPublicKey(), parameters if not isinstance(parameters, ec.ECDSA) and algorithm is not None:
                if not _MIN_RSA <= key.key_size <= _MAX_RSA:
                    raise CertificateError(f"the certificate's RSA key has {key.key_size} bits")
                assert parameters is not None
                key.verify(signature, signed, parameters, algorithm)
            case ed25519.Ed25519PublicKey(), None:
                key.verify(signature, signed)
            case _:
                raise CertificateError("the certificate is not signed with its own kind of key")
    except InvalidCertificateSignature:
        raise CertificateError("the certificate is not signed by its own key") from None


def _find_extension(extensions: x509.Extensions) -> bytes:
    found = None
    for extension in extensions:
        if extension.oid == EXTENSION and isinstance(extension.value, x509.UnrecognizedExtension):
            found = extension.value.value
        elif extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            oid = extension.oid.dotted_string
            raise CertificateError(f"the certificate has the unknown critical extension {oid}")
    if found is None:
        raise CertificateError("the certificate has no libp2p extension, so it says nothing of the peer's identity")
    return found


def _read_signed_key(der: bytes) -> tuple[bytes, bytes]:
    sequence = _Der(der, "libp2p extension")
    inside = _Der(sequence.take(_SEQUENCE), "SignedKey")
    sequence.end()
    public_key, signature = inside.take(_OCTET_STRING), inside.take(_OCTET_STRING)
    inside.end()
    return public_key, signature


def _check_identity(encoded: bytes, signature: bytes, public_info: bytes) -> PublicKey:
    try:
        key = PublicKey.decode(encoded)
        key.verify(SIGNATURE_PREFIX + public_info, signature)
    except InvalidKey as error:
        raise CertificateError(f"the identity key in the certificate is not usable: {error}") from None
    except InvalidSignature:
        raise CertificateError("the identity's signature does not cover the certificate's key") from None
    return key


def _public_info(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey | object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise CertificateError("the certificate's key is of an unknown kind")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# ---- the little DER that is needed


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


class _Der:
    """Reads elements one after the other; all lengths must be definite and minimal."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._position = 0

    def take(self, tag: int) -> bytes:
        data, start = self._data, self._position
        if len(data) < start + 2 or data[start] != tag:
            raise CertificateError(f"the {self._name} is not the DER it should be")
        size, start = data[start + 1], start + 2
        if size >= 0x80:
            digits = size & 0x7F
            length = data[start : start + digits]
            size, start = int.from_bytes(length, "big"), start + digits
            if not 1 <= digits <= 2 or len(length) != digits or size < 0x80 or length[0] == 0:
                raise CertificateError(f"the {self._name} has a length that is no DER")
        if start + size > len(data):
            raise CertificateError(f"the {self._name} is cut off")
        self._position = start + size
        return data[start : self._position]

    def end(self) -> None:
        if self._position != len(self._data):
            raise CertificateError(f"the {self._name} has {len(self._data) - self._position} bytes behind its end")
