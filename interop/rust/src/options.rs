//! The command line.

use libp2p::Multiaddr;

use crate::keys::KeyType;
use crate::layers::{can_listen, read_address, Layers, Muxer, Security};
use crate::pubsub::{Router, Settings, Signing};
use crate::{unsupported, Failure};

/// What the program was started with.
pub struct Options {
    pub key_type: KeyType,
    pub layers: Layers,
    pub listen: Vec<Multiaddr>,
    pub pubsub: Option<Settings>,
}

/// Read the command line; leave the program where rust-libp2p cannot do what it asks for.
pub fn from_command_line() -> Result<Options, Failure> {
    let mut key_type = KeyType::Ed25519;
    let mut layers = Layers {
        security: Security::Noise,
        muxer: Muxer::Yamux,
        cert: None,
        cert_key: None,
        ca: None,
        psk: None,
    };
    let mut listen = Vec::new();
    let mut router = None;
    let mut settings = Settings::default();
    let mut words = std::env::args().skip(1);
    while let Some(option) = words.next() {
        let value = words.next().ok_or(format!("{option} needs a value"))?;
        match option.as_str() {
            "--key-type" => {
                key_type = KeyType::named(&value).unwrap_or_else(|| {
                    unsupported(&format!("key-type {value}"), "no such key in rust-libp2p")
                });
            }
            "--listen" => listen.push(listen_address(&value)?),
            "--security" => layers.security = named_security(&value),
            "--muxer" => layers.muxer = named_muxer(&value),
            "--cert" => layers.cert = Some(value.into()),
            "--cert-key" => layers.cert_key = Some(value.into()),
            "--ca" => layers.ca = Some(value.into()),
            "--psk" => layers.psk = Some(std::fs::read_to_string(value)?.parse()?),
            "--pubsub" => router = Some(named_router(&value)?),
            "--pubsub-sign" => settings.signing = named_signing(&value)?,
            "--pubsub-backoff" => settings.backoff_seconds = Some(value.parse()?),
            "--pubsub-queues" => settings.stock_queues = value == "stock",
            "--pubsub-degree" => settings.degree = Some(value.parse()?),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let pubsub = router.map(|router| Settings { router, ..settings });
    if let Some((what, reason)) = pubsub.and_then(|settings| settings.complaint()) {
        unsupported(&what, &reason);
    }
    Ok(Options {
        key_type,
        layers,
        listen,
        pubsub,
    })
}

fn listen_address(text: &str) -> Result<Multiaddr, Failure> {
    let address = read_address(text)?;
    if !can_listen(&address) {
        let reason = "this peer speaks TCP, WebSocket and QUIC over IP, and unix sockets";
        unsupported(&format!("listen {text}"), reason);
    }
    Ok(address)
}

fn named_security(name: &str) -> Security {
    match name {
        "noise" => Security::Noise,
        "tls" => Security::Tls,
        _ => unsupported(&format!("security {name}"), "not one of this peer"),
    }
}

fn named_muxer(name: &str) -> Muxer {
    match name {
        "yamux" => Muxer::Yamux,
        "mplex" => Muxer::Mplex,
        _ => unsupported(&format!("muxer {name}"), "not one of this peer"),
    }
}

fn named_router(name: &str) -> Result<Router, Failure> {
    match name {
        "gossipsub" => Ok(Router::Gossipsub),
        "floodsub" => Ok(Router::Floodsub),
        _ => Err(format!("--pubsub {name} is unknown").into()),
    }
}

fn named_signing(name: &str) -> Result<Signing, Failure> {
    match name {
        "strict" => Ok(Signing::Strict),
        "none" => Ok(Signing::None),
        _ => Err(format!("--pubsub-sign {name} is unknown").into()),
    }
}
