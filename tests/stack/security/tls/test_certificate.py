"""Certificates that name a peer: the vectors of the specification, and every way in which one can be wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from peerstack.stack.identity import Identity, KeyType, PeerId
from peerstack.stack.security.tls import CertificateError, make_certificate, verify_certificate
from peerstack.stack.security.tls.certificate import EXTENSION, MAX_CERTIFICATE, SIGNATURE_PREFIX

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "tls.json").read_text())
NOW = datetime(2026, 6, 1, tzinfo=UTC)
IDENTITY = Identity.generate()
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
HASH = hashes.SHA256()


def octets(data: bytes) -> bytes:
    return b"\x04" + length(len(data)) + data


def sequence(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return b"\x30" + length(len(content)) + content


def length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(digits)]) + digits


def signature_over(key: CertificateIssuerPrivateKeyTypes, identity: Identity = IDENTITY) -> bytes:
    info = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return identity.sign(SIGNATURE_PREFIX + info)


def signed_key(key: CertificateIssuerPrivateKeyTypes = KEY) -> bytes:
    return sequence(octets(IDENTITY.public_key.encode()), octets(signature_over(key)))


def certificate(
    *,
    key: CertificateIssuerPrivateKeyTypes = KEY,
    signer: CertificateIssuerPrivateKeyTypes | None = None,
    extension: bytes | None = None,
    more: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    begins: datetime = NOW - timedelta(days=1),
    ends: datetime = NOW + timedelta(days=1),
    algorithm: hashes.HashAlgorithm | None = HASH,
    critical: bool = False,
) -> bytes:
    """Return a certificate in DER that is right but for what was asked for."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    content = signed_key(key) if extension is None else extension
    if content:
        builder = builder.add_extension(x509.UnrecognizedExtension(EXTENSION, content), critical=critical)
    for kind, is_critical in more:
        builder = builder.add_extension(kind, critical=is_critical)
    # mypy: cryptography wants one of a few classes, of which `algorithm` always is one.
    return builder.sign(signer or key, algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]


# ---- the vectors


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda vector: vector["peer_id"][:8])
def test_a_valid_certificate_of_the_specification_names_its_peer(vector: dict[str, str]) -> None:
    key = verify_certificate(bytes.fromhex(vector["certificate"]), now=NOW)
    assert key.peer_id == PeerId.parse(vector["peer_id"])


def test_the_invalid_certificate_of_the_specification_is_refused() -> None:
    with pytest.raises(CertificateError, match="does not cover the certificate's key"):
        verify_certificate(bytes.fromhex(VECTORS["invalid"]), now=NOW)


# ---- our own


@pytest.mark.parametrize("key_type", list(KeyType), ids=lambda key_type: key_type.name)
def test_our_certificate_names_us_whatever_our_key(key_type: KeyType) -> None:
    identity = Identity.generate(key_type)
    der = make_certificate(identity).certificate.public_bytes(Encoding.DER)
    assert verify_certificate(der) == identity.public_key


def test_our_certificate_is_as_others_make_theirs() -> None:
    made = make_certificate(IDENTITY, now=NOW)
    assert isinstance(made.key.curve, ec.SECP256R1)
    assert made.certificate.not_valid_before_utc == NOW - timedelta(hours=1)
    assert made.certificate.not_valid_after_utc.year >= NOW.year + 99
    assert made.certificate.extensions.get_extension_for_oid(EXTENSION).critical is False
    assert made.certificate.public_key() == made.key.public_key()
    assert make_certificate(IDENTITY).key.private_numbers() != made.key.private_numbers()


# ---- what is accepted of others


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
        (rsa.generate_private_key(65537, 2048), hashes.SHA256()),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ],
    ids=["p384", "rsa", "ed25519"],
)
def test_other_kinds_of_certificate_keys_are_fine(
    key: CertificateIssuerPrivateKeyTypes, algorithm: hashes.HashAlgorithm | None
) -> None:
    assert verify_certificate(certificate(key=key, algorithm=algorithm), now=NOW) == IDENTITY.public_key


def test_the_extension_may_be_critical() -> None:
    assert verify_certificate(certificate(critical=True), now=NOW) == IDENTITY.public_key


def test_unknown_extensions_that_are_not_critical_are_ignored() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x")
    known = x509.BasicConstraints(ca=False, path_length=None)
    der = certificate(more=((unknown, False), (known, True)))
    assert verify_certificate(der, now=NOW) == IDENTITY.public_key


# ---- what is refused, and the words that say why

UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x")
LARGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(MAX_CERTIFICATE))
ENCODED = IDENTITY.public_key.encode()
GOOD = signature_over(KEY)
HUGE_RSA = b"\x08\x00\x12\x80\x40" + bytes(8192)

WRONG = {
    "expired": (certificate(ends=NOW - timedelta(hours=1)), "expired at 2026-05-31 23:00 UTC"),
    "not yet valid": (certificate(begins=NOW + timedelta(hours=1)), "not valid before 2026-06-01 01:00 UTC"),
    "signed by another key": (certificate(signer=OTHER_KEY), "not signed by its own key"),
    "signed by another kind of key": (
        certificate(signer=ed25519.Ed25519PrivateKey.generate(), algorithm=None),
        "not signed with its own kind of key",
    ),
    "no extension": (certificate(extension=b""), "no libp2p extension"),
    "critical unknown extension": (certificate(more=((UNKNOWN, True),)), r"critical extension .*1\.2\.3\.4"),
    "too large": (certificate(more=((LARGE, False),)), "the limit is 8192"),
    "for another certificate": (
        certificate(extension=sequence(octets(ENCODED), octets(signature_over(OTHER_KEY)))),
        "does not cover the certificate's key",
    ),
    "by another identity": (
        certificate(extension=sequence(octets(ENCODED), octets(signature_over(KEY, Identity.generate())))),
        "does not cover the certificate's key",
    ),
    "empty signature": (certificate(extension=sequence(octets(ENCODED), octets(b""))), "does not cover"),
    "garbage for a key": (certificate(extension=sequence(octets(b"key"), octets(GOOD))), "key .* is not usable"),
    "huge RSA key": (certificate(extension=sequence(octets(HUGE_RSA[:5000]), octets(GOOD))), "over the limit of 4096"),
    "trailing bytes": (certificate(extension=signed_key() + b"\0"), "libp2p extension has 1 bytes behind its end"),
    "trailing element": (
        certificate(extension=sequence(octets(ENCODED), octets(GOOD), octets(b"more"))),
        "SignedKey has 6 bytes behind its end",
    ),
    "no sequence": (certificate(extension=octets(ENCODED)), "libp2p extension is not the DER"),
    "one element": (certificate(extension=sequence(octets(ENCODED))), "SignedKey is not the DER"),
    "cut off": (certificate(extension=signed_key()[:-1]), "libp2p extension is cut off"),
    "length not minimal": (
        certificate(extension=b"\x30\x82" + (len(signed_key()) - 2).to_bytes(2, "big") + signed_key()[2:]),
        "a length that is no DER",
    ),
    "indefinite length": (certificate(extension=b"\x30\x80" + signed_key()[2:] + b"\0\0"), "a length that is no DER"),
    "no certificate": (b"hello", "cannot be read"),
    "nothing": (b"", "cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_certificate_is_refused_by_the_check_that_it_fails(name: str) -> None:
    der, words = WRONG[name]
    with pytest.raises(CertificateError, match=words):
        verify_certificate(der, now=NOW)


def test_a_second_extension_is_refused() -> None:
    once = certificate(
        extension=b"\x05\x00",
        more=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.53594.1.2"), signed_key()), False),),
    )
    twice = once.replace(bytes.fromhex("2b0601040183a25a0102"), bytes.fromhex("2b0601040183a25a0101"))
    assert twice != once
    with pytest.raises(CertificateError, match=r"has extension 1\.3\.6\.1\.4\.1\.53594\.1\.1 twice"):
        verify_certificate(twice, now=NOW)


def test_a_weak_hash_is_refused() -> None:
    # SHA-1 cannot be made any more, so the name of SHA-256 (…04 03 02) becomes that of SHA-1 (…04 01) in a made one.
    der = certificate()
    sha256, sha1 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040301")
    assert der.count(sha256) == 2
    with pytest.raises(CertificateError, match=r"too weak|unknown way|cannot be read"):
        verify_certificate(der.replace(sha256, sha1), now=NOW)


@given(position=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_in_what_is_signed_is_found(position: int, bit: int) -> None:
    der = bytearray(FLIPPABLE)
    start = FLIPPABLE.index(SIGNED)
    der[start + position % len(SIGNED)] ^= 1 << bit
    with pytest.raises(CertificateError):
        verify_certificate(bytes(der), now=NOW)


@given(position=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_anywhere_never_names_another_peer(position: int, bit: int) -> None:
    der = bytearray(FLIPPABLE)
    der[position % len(der)] ^= 1 << bit
    # The number of unused bits behind a signature, for one, may be another without harm.
    with suppress(CertificateError):
        assert verify_certificate(bytes(der), now=NOW) == IDENTITY.public_key


@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_certificate_error(data: bytes) -> None:
    with pytest.raises(CertificateError):
        verify_certificate(data, now=NOW)


FLIPPABLE = certificate()
SIGNED = x509.load_der_x509_certificate(FLIPPABLE).tbs_certificate_bytes
