//! A rust-libp2p peer driven by JSON lines; see CONTRACT.md in the folder above.

mod exchange;
mod hosts;
mod keys;
mod layers;
mod ledger;
mod node;
mod options;
mod pubsub;
mod serve;
mod streams;
mod topics;

use std::io::Write;
use std::ops::Range;
use std::process::exit;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use serde_json::{json, Value};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::keys::KeyType;
use crate::layers::Layers;
use crate::node::Node;

/// Why a command failed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The version of the crate `libp2p` that Cargo.toml asks for.
const LIBP2P_VERSION: &str = "0.57.1";
const EXIT_UNSUPPORTED: i32 = 3;
const DEFAULT_CHUNK: u64 = 64 * 1024;
const DEFAULT_PERF_CHUNK: u64 = 256 * 1024;

struct Peer {
    node: Node,
    peer_id: PeerId,
    key_type: KeyType,
    layers: Layers,
    publishes: bool,
    idle: Mutex<Vec<Node>>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = options::from_command_line()?;
    let key = options.key_type.generate()?;
    let peer_id = key.public().to_peer_id();
    let (node, addresses) =
        Node::start(key, &options.layers, options.listen, options.pubsub).await?;
    let addresses: Vec<String> = addresses.iter().map(layers::write_address).collect();
    emit(&json!({
        "event": "listening",
        "implementation": "rust-libp2p",
        "version": LIBP2P_VERSION,
        "peer_id": peer_id.to_string(),
        "addresses": addresses,
    }));
    let peer = Arc::new(Peer {
        node,
        peer_id,
        key_type: options.key_type,
        layers: options.layers,
        publishes: options.pubsub.is_some(),
        idle: Mutex::default(),
    });
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if !line.trim().is_empty() {
            tokio::spawn(answer(peer.clone(), line));
        }
    }
    exit(0)
}

fn unsupported(what: &str, reason: &str) -> ! {
    emit(&json!({"event": "unsupported", "what": what, "reason": reason}));
    exit(EXIT_UNSUPPORTED)
}

/// Write one JSON line; the reader has gone if that fails.
fn emit(line: &Value) {
    let mut output = std::io::stdout().lock();
    if writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .is_err()
    {
        exit(0);
    }
}

/// Carry out one command and write its answer.
async fn answer(peer: Arc<Peer>, line: String) {
    let command: Value = serde_json::from_str(&line).unwrap_or_default();
    let leaves = command["op"] == "exit";
    let mut fields = match execute(&peer, &command).await {
        Ok(mut fields) => {
            fields["ok"] = json!(true);
            fields
        }
        Err(error) => json!({"ok": false, "error": one_line(&error.to_string())}),
    };
    fields["id"] = command["id"].clone();
    emit(&fields);
    if leaves {
        exit(0);
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn execute(peer: &Peer, command: &Value) -> Result<Value, Failure> {
    let node = &peer.node;
    let number = |name| number(command, name, None);
    match command["op"].as_str().ok_or("a command needs an op")? {
        "connect" => {
            let connected = node.connect(address(command)?).await?;
            Ok(json!({"peer_id": connected.to_string()}))
        }
        "disconnect" => {
            node.disconnect(remote(command)?).await?;
            Ok(json!({}))
        }
        "identify" => identify(node, remote(command)?).await,
        "ping" => exchange::ping(node, remote(command)?, number("count")?).await,
        "echo" => {
            let chunk = chunk(command, DEFAULT_CHUNK)?;
            exchange::echo(node, remote(command)?, number("bytes")?, chunk).await
        }
        "streams" => {
            exchange::streams(node, remote(command)?, number("count")?, number("bytes")?).await
        }
        "digest" => exchange::digest(node, remote(command)?, number("bytes")?).await,
        "reset" => exchange::reset(node, remote(command)?).await,
        "perf" => {
            let chunk = chunk(command, DEFAULT_PERF_CHUNK)?;
            let (upload, download) = (number("upload")?, number("download")?);
            exchange::perf(node, remote(command)?, upload, download, chunk).await
        }
        "bench_dial" => {
            let (count, concurrency) = (number("count")?, concurrency(command)?);
            let to = address(command)?;
            hosts::bench_dial(to, count, concurrency, peer.key_type, &peer.layers).await
        }
        "bench_streams" => {
            let (count, concurrency) = (number("count")?, concurrency(command)?);
            exchange::bench_streams(node, remote(command)?, count, concurrency).await
        }
        "idle_connections" => idle_connections(peer, address(command)?, number("count")?).await,
        "exit" => Ok(json!({})),
        other if peer.publishes => execute_on_topic(peer, other, command).await,
        unknown => Err(format!("unknown op {unknown}, or one that needs --pubsub").into()),
    }
}

async fn execute_on_topic(peer: &Peer, op: &str, command: &Value) -> Result<Value, Failure> {
    let node = &peer.node;
    let topic = || text(command, "topic");
    match op {
        "subscribe" => topics::subscribe(node, topic()?).await,
        "unsubscribe" => topics::unsubscribe(node, topic()?).await,
        "publish" => {
            let burst = topics::Burst {
                author: peer.peer_id,
                numbers: numbers(command)?,
                bytes: number(command, "bytes", None)? as usize,
                interval: Duration::from_millis(number(command, "interval_ms", Some(0))?),
            };
            topics::publish(node, topic()?, burst).await
        }
        "wait_received" => {
            let patience = Duration::try_from_secs_f64(real(command, "seconds")?)?;
            let count = number(command, "count", None)? as usize;
            topics::wait_received(node, topic()?, count, patience).await
        }
        "received" => Ok(topics::received(node, topic()?)),
        "topic_peers" => Ok(topics::topic_peers(node, topic()?)),
        "mesh" => topics::mesh(node, topic()?).await,
        "rpc_counts" => Ok(topics::rpc_counts()),
        unknown => Err(format!("unknown op {unknown}").into()),
    }
}

async fn identify(node: &Node, remote: PeerId) -> Result<Value, Failure> {
    let info = node.identify(remote).await?;
    let protocols: Vec<&str> = info.protocols.iter().map(AsRef::as_ref).collect();
    Ok(json!({
        "agent": info.agent_version,
        "protocol_version": info.protocol_version,
        "protocols": protocols,
        "listen_addresses": info.listen_addrs,
        "observed_address": (!info.observed_addr.is_empty()).then_some(&info.observed_addr),
        "signed_record": info.signed_peer_record.is_some(),
    }))
}

async fn idle_connections(peer: &Peer, to: Multiaddr, count: u64) -> Result<Value, Failure> {
    let hosts = hosts::connect_many(to, count, &peer.layers).await?;
    let open = hosts.len();
    let mut idle = peer.idle.lock().unwrap_or_else(PoisonError::into_inner);
    idle.extend(hosts);
    Ok(json!({ "open": open }))
}

fn number(command: &Value, name: &str, default: Option<u64>) -> Result<u64, Failure> {
    match &command[name] {
        Value::Null => default.ok_or_else(|| format!("the command needs {name}").into()),
        value => value
            .as_u64()
            .ok_or_else(|| format!("{name} is no whole number").into()),
    }
}

fn real(command: &Value, name: &str) -> Result<f64, Failure> {
    command[name]
        .as_f64()
        .ok_or_else(|| format!("the command needs the number {name}").into())
}

/// The numbers of the messages to publish.
fn numbers(command: &Value) -> Result<Range<u64>, Failure> {
    let start = number(command, "start", Some(0))?;
    Ok(start..start + number(command, "count", None)?)
}

fn chunk(command: &Value, default: u64) -> Result<usize, Failure> {
    Ok(number(command, "chunk", Some(default))?.max(1) as usize)
}

fn concurrency(command: &Value) -> Result<u64, Failure> {
    Ok(number(command, "concurrency", Some(1))?.max(1))
}

fn text<'a>(command: &'a Value, name: &str) -> Result<&'a str, Failure> {
    command[name]
        .as_str()
        .ok_or_else(|| format!("the command needs {name}").into())
}

fn address(command: &Value) -> Result<Multiaddr, Failure> {
    layers::read_address(text(command, "address")?)
}

fn remote(command: &Value) -> Result<PeerId, Failure> {
    Ok(text(command, "peer")?.parse()?)
}
