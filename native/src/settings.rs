//! What a caller chooses for all connections of an engine.

use crate::streams::Ahead;
use quinn_proto::congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig};
use quinn_proto::{IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use std::sync::Arc;
use std::time::Duration;

/// The least size of a datagram in QUIC (RFC 9000, section 14).
pub const LEAST_DATAGRAM: u16 = 1200;
/// The most that UDP carries.
pub const LARGEST_DATAGRAM: u16 = 65_527;

/// What may be under way before anything was acknowledged (RFC 9002, section 7.2).
const INITIAL_WINDOW: u64 = 14_720;
/// The same for BBR, as quinn-proto has it.
const BBR_WINDOW: u64 = 200 * 1200;

/// Sizes in bytes.
pub struct Settings {
    /// After that long without a sign of the peer a connection is lost.
    pub idle_timeout: Duration,
    /// After that long without a sign of the peer it is asked for one, if at all.
    pub keep_alive: Option<Duration>,
    /// Streams that a peer may hold open.
    pub max_streams: u64,
    /// What a peer may send on a stream beyond what was read.
    pub stream_window: u64,
    /// The same on all streams together; may be changed for each connection.
    pub connection_window: u64,
    /// What is kept of streams beyond these windows, for a peer that resets them.
    pub ahead: Ahead,
    /// What waits to be acknowledged, on all streams together.
    pub send_window: u64,
    /// Out-of-order TLS messages, which are kept before the peer is authenticated.
    pub crypto_buffer: usize,
    /// The largest datagram that path MTU discovery tries; none is tried without it.
    pub discovery: Option<u16>,
    /// The algorithm of congestion control.
    pub congestion: Congestion,
    /// Connections that arrived and were not decided on; more are ignored.
    pub backlog: usize,
    /// Answers a second to what belongs to no connection.
    pub answers: f64,
    /// Copies of the datagram that says that we close.
    pub close_copies: u32,
}

/// An algorithm of congestion control.
#[derive(Clone, Copy)]
pub enum Congestion {
    Cubic,
    NewReno,
    /// Experimental in quinn.
    Bbr,
}

impl Congestion {
    /// Find an algorithm by its name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "cubic" => Some(Self::Cubic),
            "newreno" => Some(Self::NewReno),
            "bbr" => Some(Self::Bbr),
            _ => None,
        }
    }

    fn factory(self, datagram: u16) -> Arc<dyn ControllerFactory + Send + Sync> {
        // RFC 9002, section 7.2; quinn-proto's default is less than one datagram on loopback, and nothing would go.
        let window = INITIAL_WINDOW.max(2 * u64::from(datagram));
        match self {
            Self::Cubic => {
                let mut config = CubicConfig::default();
                config.initial_window(window);
                Arc::new(config)
            }
            Self::NewReno => {
                let mut config = NewRenoConfig::default();
                config.initial_window(window);
                Arc::new(config)
            }
            Self::Bbr => {
                let mut config = BbrConfig::default();
                config.initial_window(window.max(BBR_WINDOW));
                Arc::new(config)
            }
        }
    }
}

/// What is wrong with settings.
pub type Wrong = &'static str;

impl Settings {
    /// The settings of a connection whose path takes datagrams of `size` bytes.
    pub fn transport(&self, size: u16) -> Result<TransportConfig, Wrong> {
        if !(LEAST_DATAGRAM..=LARGEST_DATAGRAM).contains(&size) {
            return Err("datagrams have 1200 to 65527 bytes");
        }
        let mut config = TransportConfig::default();
        let idle =
            IdleTimeout::try_from(self.idle_timeout).map_err(|_| "idle_timeout is too long")?;
        config
            .max_idle_timeout(Some(idle))
            .max_concurrent_bidi_streams(variable(self.max_streams)?)
            // Unidirectional streams mean nothing in libp2p.
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(variable(self.stream_window)?)
            .receive_window(variable(self.connection_window)?)
            .send_window(self.send_window)
            .crypto_buffer_size(self.crypto_buffer)
            .datagram_receive_buffer_size(None)
            .initial_mtu(size)
            .min_mtu(LEAST_DATAGRAM)
            .mtu_discovery_config(self.mtu_discovery(size))
            .congestion_controller_factory(self.congestion.factory(size));
        Ok(config)
    }

    fn mtu_discovery(&self, size: u16) -> Option<MtuDiscoveryConfig> {
        let largest = self.discovery.filter(|&largest| largest > size)?;
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(largest);
        Some(discovery)
    }
}

/// A number that fits into QUIC's variable-length integers (RFC 9000, section 16).
pub fn variable(number: u64) -> Result<VarInt, Wrong> {
    VarInt::from_u64(number).map_err(|_| "numbers of QUIC are less than 2**62")
}

#[cfg(test)]
impl Default for Settings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            keep_alive: Some(Duration::from_secs(15)),
            max_streams: 256,
            stream_window: 1 << 20,
            connection_window: 3 << 19,
            ahead: Ahead {
                of_stream: 128 << 10,
                of_connection: 512 << 10,
            },
            send_window: 4 << 20,
            crypto_buffer: 64 * 1024,
            discovery: None,
            congestion: Congestion::Cubic,
            backlog: 128,
            answers: 100.0,
            close_copies: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_told() {
        let settings = Settings::default();
        assert!(settings.transport(1199).is_err());
        assert!(settings.transport(65_528).is_err());
        assert!(settings.transport(1200).is_ok());
        let settings = Settings {
            stream_window: 1 << 62,
            ..Settings::default()
        };
        assert!(settings.transport(1200).is_err());
    }

    #[test]
    fn discovery_never_looks_for_less() {
        let settings = Settings {
            discovery: Some(1452),
            ..Settings::default()
        };
        assert!(settings.mtu_discovery(1350).is_some());
        assert!(settings.mtu_discovery(16_000).is_none());
    }
}
