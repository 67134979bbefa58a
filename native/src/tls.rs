//! TLS 1.3 by libp2p's rules: both sides show one self-signed certificate, and the caller verifies it.
//!
//! The signature of the handshake is verified here, the certificate by the caller's function, once it is sure that the
//! peer has the certificate's key, and before the handshake can end. webpki cannot do either: it refuses unknown
//! critical extensions, and libp2p's may be one (tls/tls.md, "Peer Authentication").

use crate::padding::Padding;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::crypto::{ClientConfig, ServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer,
    UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
};
use std::fmt;
use std::sync::Arc;

const ALPN: &[u8] = b"libp2p";
const SEQUENCE: u8 = 0x30;
/// The tag of a certificate's version, which may be missing.
const VERSION: u8 = 0xa0;

/// Says whether the certificates shown (DER) may be the peer's; one is right, but the caller is told of more, too.
pub type CertificateCheck = Box<dyn Fn(&[&[u8]]) -> bool + Send + Sync>;

/// What this host shows, and with what algorithms it speaks.
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    shown: Arc<SingleCertAndKey>,
}

impl Credentials {
    /// `key` is the certificate's private key (PKCS #8, DER).
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Self, Error> {
        let mut provider = ring::default_provider();
        provider
            .cipher_suites
            .sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
        let chain = vec![CertificateDer::from(certificate.to_vec())];
        let certified = CertifiedKey::from_der(chain, key, &provider)?;
        Ok(Self {
            provider: Arc::new(provider),
            shown: Arc::new(SingleCertAndKey::from(certified)),
        })
    }

    /// The configuration of a connection that we dial.
    pub fn client(
        &self,
        check: CertificateCheck,
        padding: &Padding,
    ) -> Result<Arc<dyn ClientConfig>, Error> {
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(check))
            .with_client_cert_resolver(self.shown.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        let config = QuicClientConfig::try_from(config).map_err(unusable)?;
        Ok(padding.client(Arc::new(config)))
    }

    /// The configuration of a connection that arrived.
    pub fn server(
        &self,
        check: CertificateCheck,
        padding: &Padding,
    ) -> Result<Arc<dyn ServerConfig>, Error> {
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self.verifier(check))
            .with_cert_resolver(self.shown.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        let config = QuicServerConfig::try_from(config).map_err(unusable)?;
        Ok(padding.server(Arc::new(config)))
    }

    fn verifier(&self, check: CertificateCheck) -> Arc<Verifier> {
        Arc::new(Verifier {
            algorithms: self.provider.signature_verification_algorithms,
            check,
        })
    }
}

fn unusable(error: impl fmt::Display) -> Error {
    Error::General(error.to_string())
}

struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    check: CertificateCheck,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verifier")
    }
}

impl Verifier {
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = public_key_info(certificate).ok_or(bad_certificate())?;
        let key = SubjectPublicKeyInfoDer::from(key);
        let valid =
            verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)?;
        if (self.check)(&[certificate]) {
            Ok(valid)
        } else {
            Err(bad_certificate())
        }
    }

    /// Refuse a chain, of which the caller may want to know.
    fn check_alone(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        if others.is_empty() {
            return Ok(());
        }
        let mut chain: Vec<&[u8]> = vec![certificate];
        chain.extend(others.iter().map(|other| &**other));
        (self.check)(&chain);
        Err(bad_certificate())
    }
}

/// The error that tells the peer `bad_certificate`, as go-libp2p has it for all that is wrong with one.
fn bad_certificate() -> Error {
    Error::InvalidCertificate(CertificateError::BadEncoding)
}

fn no_tls12() -> Error {
    Error::General("QUIC has TLS 1.3".into())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_alone(certificate, others)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_alone(certificate, others)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The SubjectPublicKeyInfo of a certificate (RFC 5280, section 4.1), with its header.
fn public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let certificate = Element::read(certificate, Some(SEQUENCE))?;
    let to_be_signed = Element::read(certificate.content, Some(SEQUENCE))?;
    let mut rest = to_be_signed.content;
    if *rest.first()? == VERSION {
        rest = Element::read(rest, Some(VERSION))?.rest;
    }
    for _ in [
        "serial number",
        "signature",
        "issuer",
        "validity",
        "subject",
    ] {
        rest = Element::read(rest, None)?.rest;
    }
    Some(Element::read(rest, Some(SEQUENCE))?.whole)
}

/// One element of DER.
struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn read(der: &'a [u8], tag: Option<u8>) -> Option<Self> {
        if tag.is_some_and(|tag| der.first() != Some(&tag)) {
            return None;
        }
        let (header, length) = match *der.get(1)? {
            short @ 0..=0x7f => (2, usize::from(short)),
            0x81 => (3, usize::from(*der.get(2)?)),
            0x82 => (
                4,
                usize::from(u16::from_be_bytes(der.get(2..4)?.try_into().ok()?)),
            ),
            _ => return None, // 64 KiB or more, which no certificate needs
        };
        Some(Self {
            whole: der.get(..header + length)?,
            content: der.get(header..header + length)?,
            rest: &der[header + length..],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData;

    #[test]
    fn the_key_is_found_in_a_certificate() {
        let made = rcgen::generate_simple_self_signed(["peer".into()]).unwrap();
        let found = public_key_info(made.cert.der()).unwrap();
        assert!(found.ends_with(made.key_pair.der_bytes()));
        assert_eq!(found, made.key_pair.public_key_der());
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        let made = rcgen::generate_simple_self_signed(["peer".into()]).unwrap();
        let der = made.cert.der().to_vec();
        for size in 0..der.len() {
            public_key_info(&der[..size]);
        }
        for at in 0..der.len() {
            for value in [0, 0x7f, 0x80, 0x81, 0x82, 0x83, 0xff] {
                let mut changed = der.clone();
                changed[at] = value;
                public_key_info(&changed);
            }
        }
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let (one, other) = (
            rcgen::generate_simple_self_signed(["one".into()]).unwrap(),
            rcgen::generate_simple_self_signed(["other".into()]).unwrap(),
        );
        let key = one.key_pair.serialize_der();
        assert!(Credentials::new(one.cert.der(), &key).is_ok());
        assert!(Credentials::new(other.cert.der(), &key).is_err());
        assert!(Credentials::new(b"", b"").is_err());
    }
}
