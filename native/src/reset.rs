//! Stateless reset tokens that outlive the process (RFC 9000, section 10.3).

use quinn_proto::crypto::HmacKey;
use ring::hmac;
use std::sync::Arc;

/// The key of which the token of a connection id is the first 16 bytes of HMAC-SHA256(secret, id).
///
/// So is it in `transports/quic/tokens.py`: a host may change its engine and can still say "forgotten".
pub fn key(secret: &[u8]) -> Arc<dyn HmacKey> {
    Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_the_python_engine() {
        // hmac.digest(bytes(range(32)), b"12345678", "sha256")[:16]
        let expected = TOKEN;
        let key = key(&(0..32).collect::<Vec<u8>>());
        let mut signature = vec![0; key.signature_len()];
        key.sign(b"12345678", &mut signature);
        assert_eq!(signature[..16], expected);
    }

    const TOKEN: [u8; 16] = [
        0xb2, 0xbe, 0x66, 0xf7, 0x97, 0xc5, 0x11, 0xbd, 0x2a, 0x34, 0xdf, 0xb0, 0x60, 0x83, 0x86,
        0x61,
    ];
}
