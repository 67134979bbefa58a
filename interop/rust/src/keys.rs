//! Fresh host keys of the four libp2p kinds.

use libp2p::identity::Keypair;
use rsa::pkcs8::EncodePrivateKey;

use crate::Failure;

const RSA_BITS: usize = 2048;

/// The kind of a host key.
#[derive(Clone, Copy)]
pub enum KeyType {
    Ed25519,
    Secp256k1,
    Ecdsa,
    Rsa,
}

impl KeyType {
    /// Return the key type that the command line calls `name`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ed25519" => Some(Self::Ed25519),
            "secp256k1" => Some(Self::Secp256k1),
            "ecdsa" => Some(Self::Ecdsa),
            "rsa" => Some(Self::Rsa),
            _ => None,
        }
    }

    /// Make a fresh key.
    pub fn generate(self) -> Result<Keypair, Failure> {
        match self {
            Self::Ed25519 => Ok(Keypair::generate_ed25519()),
            Self::Secp256k1 => Ok(Keypair::generate_secp256k1()),
            Self::Ecdsa => Ok(Keypair::generate_ecdsa()),
            Self::Rsa => rsa_key(),
        }
    }
}

/// Make an RSA key; libp2p signs with RSA keys but does not make them.
fn rsa_key() -> Result<Keypair, Failure> {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS)?;
    let mut encoded = key.to_pkcs8_der()?.as_bytes().to_vec();
    Ok(Keypair::rsa_from_pkcs8(&mut encoded)?)
}
