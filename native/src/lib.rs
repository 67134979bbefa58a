//! The QUIC engine of peerstack: quinn-proto and rustls behind a Python module.
//!
//! One `Engine` holds all connections of one UDP socket. It does no I/O unless it is given a descriptor, reads no clock
//! and starts no threads: datagrams and the time are arguments, so it runs under simulated clocks as well.

// Without the Python module only tests use the engine.
#![cfg_attr(not(feature = "python"), allow(dead_code))]

mod addresses;
mod clock;
mod connection;
mod engine;
mod events;
mod padding;
mod reset;
mod settings;
#[cfg(target_os = "linux")]
mod socket;
mod streams;
#[cfg(test)]
mod testing;
mod tls;

#[cfg(feature = "python")]
mod python;
