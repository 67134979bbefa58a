"""Keys of TLS 1.3 records, from a traffic secret (RFC 8446, sections 5 and 7), and constants of the record layer."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HEADER: Final = struct.Struct(">BHH")
"""Type, version (always that of TLS 1.2) and length of what follows."""
VERSION: Final = 0x0303
MAX_PLAINTEXT: Final = 16 * 1024
"""Bytes of content in a record."""
TAG_SIZE: Final = 16
MIN_CIPHERTEXT: Final = 1 + TAG_SIZE
MAX_CIPHERTEXT: Final = MAX_PLAINTEXT + 256
NONCE_SIZE: Final = 12

ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23

NEW_SESSION_TICKET: Final = 4
KEY_UPDATE: Final = 24

CLOSE_NOTIFY: Final = 0
UNEXPECTED_MESSAGE: Final = 10
BAD_RECORD_MAC: Final = 20
RECORD_OVERFLOW: Final = 22
ILLEGAL_PARAMETER: Final = 47
DECODE_ERROR: Final = 50
USER_CANCELED: Final = 90
ALERTS: Final = {
    CLOSE_NOTIFY: "close_notify",
    UNEXPECTED_MESSAGE: "unexpected_message",
    BAD_RECORD_MAC: "bad_record_mac",
    RECORD_OVERFLOW: "record_overflow",
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    ILLEGAL_PARAMETER: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    DECODE_ERROR: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    USER_CANCELED: "user_canceled",
    109: "missing_extension",
    110: "unsupported_extension",
    116: "certificate_required",
    120: "no_application_protocol",
}
"""Names of alerts (RFC 8446, section 6)."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A cipher suite: the cipher of records, the size of its key in bytes, and the hash that keys are derived with."""

    cipher: type[AESGCM] | type[ChaCha20Poly1305]
    key_size: int
    hash: type[SHA256] | type[SHA384]
    max_records: int
    """Records to be sealed with one key, at most (RFC 8446, section 5.5)."""


SUITES: Final = {
    "TLS_AES_128_GCM_SHA256": Suite(AESGCM, 16, SHA256, 1 << 24),
    "TLS_AES_256_GCM_SHA384": Suite(AESGCM, 32, SHA384, 1 << 24),
    "TLS_CHACHA20_POLY1305_SHA256": Suite(ChaCha20Poly1305, 32, SHA256, (1 << 64) - 1),
}


class TrafficKeys:
    """Seals or opens the records of one direction, until a key update."""

    __slots__ = ("_secret", "_suite", "decrypt_into", "encrypt_into", "iv", "limit", "sequence")

    def __init__(self, suite: Suite, secret: bytes) -> None:
        self._suite = suite
        self._secret = secret
        cipher = suite.cipher(self._derive(b"key", suite.key_size))
        self.encrypt_into = cipher.encrypt_into
        self.decrypt_into = cipher.decrypt_into
        self.iv = int.from_bytes(self._derive(b"iv", NONCE_SIZE), "big")
        self.sequence = 0
        """Of the next record; its nonce is `iv ^ sequence`."""
        self.limit = suite.max_records

    def next(self) -> TrafficKeys:
        """Return the keys of the next generation (section 7.2)."""
        return TrafficKeys(self._suite, self._derive(b"traffic upd", self._suite.hash().digest_size))

    def _derive(self, label: bytes, size: int) -> bytes:
        return expand_label(self._suite.hash(), self._secret, label, size)


def expand_label(algorithm: HashAlgorithm, secret: bytes, label: bytes, size: int) -> bytes:
    """Return HKDF-Expand-Label of the secret, with an empty context (section 7.1)."""
    full = b"tls13 " + label
    info = struct.pack(">HB", size, len(full)) + full + b"\0"
    return HKDFExpand(algorithm, size, info).derive(secret)


def name_of(alert: int) -> str:
    """Return the name of an alert, or its number."""
    return ALERTS.get(alert, f"number {alert}")
