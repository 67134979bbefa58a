//! PINGs that are large enough to be answered by a stateless reset.
//!
//! Who has forgotten a connection answers with less than it got, so that two hosts cannot keep each other busy, and
//! quic-go not at all to less than 43 bytes (RFC 9000, 10.3.3). quinn-proto's PINGs have about 30 and no option for
//! more. But it fills packets up to what header protection samples, and that it asks of the keys: so keys that ask for
//! more while a PING is written make it larger. Not always: an acknowledgement with padding would be congestion
//! controlled (RFC 9000, 13.2.1).

use quinn_proto::crypto::{
    ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig,
    Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// With it a packet has 43 bytes even if the peer chose ids of no bytes: 1 of flags, then 4 and this.
const PADDED_SAMPLE: usize = 38;

/// The switch of one connection.
#[derive(Clone, Default)]
pub struct Padding(Arc<AtomicBool>);

impl Padding {
    /// Make the packets written from now on large, or no longer.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    /// Whether packets are made large.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A client configuration whose sessions heed this switch.
    pub fn client(&self, config: Arc<dyn ClientConfig>) -> Arc<dyn ClientConfig> {
        Arc::new(Padded {
            inner: config,
            padding: self.clone(),
        })
    }

    /// A server configuration whose sessions heed this switch.
    pub fn server(&self, config: Arc<dyn ServerConfig>) -> Arc<dyn ServerConfig> {
        Arc::new(Padded {
            inner: config,
            padding: self.clone(),
        })
    }

    fn session(&self, inner: Box<dyn Session>) -> Box<dyn Session> {
        Box::new(Padded {
            inner,
            padding: self.clone(),
        })
    }
}

struct Padded<T> {
    inner: T,
    padding: Padding,
}

impl ClientConfig for Padded<Arc<dyn ClientConfig>> {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let inner = self.inner.clone();
        let session = inner.start_session(version, server_name, params)?;
        Ok(self.padding.session(session))
    }
}

impl ServerConfig for Padded<Arc<dyn ServerConfig>> {
    fn initial_keys(&self, version: u32, id: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.inner.initial_keys(version, id)
    }

    fn retry_tag(&self, version: u32, original_id: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.inner.retry_tag(version, original_id, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn Session> {
        let inner = self.inner.clone();
        self.padding.session(inner.start_session(version, params))
    }
}

impl Session for Padded<Box<dyn Session>> {
    fn write_handshake(&mut self, buffer: &mut Vec<u8>) -> Option<Keys> {
        let mut keys = self.inner.write_handshake(buffer)?;
        keys.header.local = Box::new(Padded {
            inner: keys.header.local,
            padding: self.padding.clone(),
        });
        Some(keys)
    }

    fn initial_keys(&self, id: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(id, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn read_handshake(&mut self, message: &[u8]) -> Result<bool, TransportError> {
        self.inner.read_handshake(message)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, original_id: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(original_id, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

impl HeaderKey for Padded<Box<dyn HeaderKey>> {
    fn decrypt(&self, number_offset: usize, packet: &mut [u8]) {
        self.inner.decrypt(number_offset, packet);
    }

    fn encrypt(&self, number_offset: usize, packet: &mut [u8]) {
        self.inner.encrypt(number_offset, packet);
    }

    fn sample_size(&self) -> usize {
        if self.padding.is_on() {
            PADDED_SAMPLE
        } else {
            self.inner.sample_size()
        }
    }
}
