"""What carries a connection, and the files it needs: certificates, keys of private networks, unix sockets."""

import datetime
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LISTENS = {
    "tcp": "/ip4/127.0.0.1/tcp/0",
    "ws": "/ip4/127.0.0.1/tcp/0/ws",
    "wss": "/ip4/127.0.0.1/tcp/0/tls/ws",
    "unix": "/unix/{path}",
    "quic-v1": "/ip4/127.0.0.1/udp/0/quic-v1",
}
SECURITY = ("noise", "tls")
MUXERS = ("yamux", "mplex")
NETWORK_KEY_BYTES = 32
VALID = datetime.timedelta(days=1)
CLOCKS = datetime.timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Layers:
    """A transport, the security protocol and muxer on it, which are empty for QUIC, and whether a private network."""

    transport: str = "tcp"
    security: str = "noise"
    muxer: str = "yamux"
    private: bool = False

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.transport, self.security, self.muxer, "private" * self.private)))

    def listen(self, folder: Path) -> str:
        """Return what a peer is told to listen on; a unix socket is a new file in `folder`."""
        return LISTENS[self.transport].format(path=quote(str(folder / f"{secrets.token_hex(4)}.sock"), safe=""))

    def options(self, certificates: "Certificates", network: Path | None = None) -> list[str]:
        """Return the further words of a peer's command line; `network` is the key file, where it is private."""
        words: list[str] = []
        if self.security:
            words += ["--security", self.security, "--muxer", self.muxer]
        if self.transport == "wss":
            words += ["--cert", str(certificates.shown), "--cert-key", str(certificates.key)]
            words += ["--ca", str(certificates.authority)]
        if self.private:
            words += ["--psk", str(network)]
        return words


PLAIN = Layers()
"""What the other suites run over."""


def all_layers(muxers: Sequence[str] = MUXERS) -> list[Layers]:
    """Return every combination but PLAIN, and private networks, which are below security, with one of it each."""
    layered = [
        Layers(transport=transport, security=security, muxer=muxer)
        for transport in LISTENS
        if transport != "quic-v1"
        for security in SECURITY
        for muxer in muxers
    ]
    quic = Layers(transport="quic-v1", security="", muxer="")
    private = [Layers(transport=transport, private=True) for transport in ("tcp", "ws")]
    return [layers for layers in (*layered, quic, *private) if layers != PLAIN]


def write_network_key(file: Path) -> Path:
    """Write the fresh key of a private network, as go-libp2p's `swarm.key`, for its owner only; return the file."""
    file.touch(mode=0o600)
    file.write_text(f"/key/swarm/psk/1.0.0/\n/base16/\n{secrets.token_hex(NETWORK_KEY_BYTES)}\n")
    return file


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """PEM files of an authority of our own, and of what it certifies: 127.0.0.1 and localhost."""

    authority: Path
    shown: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Write fresh ones, valid for a day."""
        made = cls(authority=folder / "ca.pem", shown=folder / "cert.pem", key=folder / "key.pem")
        issuer, own = _name("interop authority"), _name("interop peer")
        authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        signed = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        authority = (
            _builder(issuer, issuer, authority_key.public_key(), authority_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(signed, critical=True)
        )
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        shown = (
            _builder(own, issuer, key.public_key(), authority_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        for file, builder in ((made.authority, authority), (made.shown, shown)):
            certificate = builder.sign(authority_key, hashes.SHA256())
            file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return made


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, issuer_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS)
        .not_valid_after(now + VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )
