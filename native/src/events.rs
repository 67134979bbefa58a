//! What the engine tells its caller.

use quinn_proto::ConnectionError;
use std::net::{IpAddr, SocketAddr};

/// Something happened. Connections, arrivals and streams are numbers; those of connections are never used again.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A peer wants a connection: accept, refuse, retry or ignore it.
    Arrived {
        arrival: u64,
        remote: SocketAddr,
        local: Option<IpAddr>,
        /// Whether the peer proved that it receives what is sent to its address.
        validated: bool,
    },
    /// The peer answered: the first time, and once after each `ping`.
    Answered { connection: u64 },
    /// The handshake is over, and the certificate was accepted.
    Connected { connection: u64 },
    /// The peer's address changed, as by a NAT that forgot it.
    Moved { connection: u64, remote: SocketAddr },
    /// The peer opened a stream.
    Opened { connection: u64, stream: u64 },
    /// After `read` said that there is nothing: there is.
    Readable { connection: u64, stream: u64 },
    /// After `write` did not take all: it may take more now.
    Writable { connection: u64, stream: u64 },
    /// Everything sent on a stream, and its end, was acknowledged.
    Finished { connection: u64, stream: u64 },
    /// The peer gave up sending on a stream (RESET_STREAM), and what arrived before was read.
    Reset {
        connection: u64,
        stream: u64,
        code: u64,
    },
    /// The peer stopped listening to a stream (STOP_SENDING).
    Stopped {
        connection: u64,
        stream: u64,
        code: u64,
    },
    /// The peer allows more streams.
    Available { connection: u64 },
    /// All stream data and ends written before this mark were acknowledged, or their streams reset.
    Acknowledged { connection: u64, mark: u64 },
    /// The connection ended, not by our `close`.
    Lost { connection: u64, loss: Loss },
}

impl Event {
    /// The connection that it belongs to.
    pub fn connection(&self) -> Option<u64> {
        match *self {
            Self::Arrived { .. } => None,
            Self::Answered { connection }
            | Self::Connected { connection }
            | Self::Moved { connection, .. }
            | Self::Opened { connection, .. }
            | Self::Readable { connection, .. }
            | Self::Writable { connection, .. }
            | Self::Finished { connection, .. }
            | Self::Reset { connection, .. }
            | Self::Stopped { connection, .. }
            | Self::Available { connection }
            | Self::Acknowledged { connection, .. }
            | Self::Lost { connection, .. } => Some(connection),
        }
    }
}

/// Why a connection ended: whose fault it is, and the code and words that came with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    pub cause: Cause,
    /// A transport error code (RFC 9000, section 20.1), 0x100 + the alert for TLS, or the peer's own.
    pub code: u64,
    pub reason: String,
}

/// Who ended a connection, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// The peer's application closed it; the code is its own.
    Closed = 0,
    /// The peer's QUIC gave up, for what we sent; the code is QUIC's.
    Aborted = 1,
    /// The peer broke QUIC or TLS, or was refused; the code is QUIC's.
    Broken = 2,
    /// The peer has forgotten the connection (a stateless reset).
    Reset = 3,
    /// Nothing was heard for too long.
    TimedOut = 4,
    /// The peer does not speak QUIC version 1.
    Version = 5,
    /// A bug in the engine.
    Bug = 6,
}

impl Loss {
    /// A bug in the engine ended the connection.
    pub fn bug(reason: String) -> Self {
        Self {
            cause: Cause::Bug,
            code: 0,
            reason,
        }
    }
}

impl From<ConnectionError> for Loss {
    fn from(error: ConnectionError) -> Self {
        let words = error.to_string();
        let (cause, code, reason) = match error {
            ConnectionError::ApplicationClosed(close) => (
                Cause::Closed,
                close.error_code.into_inner(),
                String::from_utf8_lossy(&close.reason).into_owned(),
            ),
            ConnectionError::ConnectionClosed(close) => (
                Cause::Aborted,
                close.error_code.into(),
                String::from_utf8_lossy(&close.reason).into_owned(),
            ),
            ConnectionError::TransportError(error) => {
                (Cause::Broken, error.code.into(), error.reason)
            }
            ConnectionError::Reset => (Cause::Reset, 0, words),
            ConnectionError::TimedOut => (Cause::TimedOut, 0, words),
            ConnectionError::VersionMismatch => (Cause::Version, 0, words),
            // Never told: the first is no news, and ids of 8 bytes do not run out.
            ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => {
                (Cause::Bug, 0, words)
            }
        };
        Self {
            cause,
            code,
            reason,
        }
    }
}
