//! The commands of publish/subscribe.

use std::ops::Range;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use serde_json::{json, Value};

use crate::node::Node;
use crate::Failure;

const RPC_ENTRIES: [&str; 7] = [
    "subscriptions",
    "publish",
    "ihave",
    "iwant",
    "graft",
    "prune",
    "idontwant",
];

/// The messages of one `publish`.
pub struct Burst {
    pub author: PeerId,
    pub numbers: Range<u64>,
    pub bytes: usize,
    pub interval: Duration,
}

/// Subscribe; what comes from now on is counted.
pub async fn subscribe(node: &Node, topic: &str) -> Result<Value, Failure> {
    let topic = topic.to_owned();
    node.route(move |router| router.subscribe(&topic)).await?;
    Ok(json!({}))
}

/// Unsubscribe; the counts stay.
pub async fn unsubscribe(node: &Node, topic: &str) -> Result<Value, Failure> {
    let topic = topic.to_owned();
    node.route(move |router| router.unsubscribe(&topic)).await?;
    Ok(json!({}))
}

/// Publish one message after the other, counting those the router refuses.
pub async fn publish(node: &Node, topic: &str, burst: Burst) -> Result<Value, Failure> {
    let (mut published, mut failed, mut first_error) = (0, 0, None);
    let started = Instant::now();
    for number in burst.numbers.clone() {
        if number > burst.numbers.start && !burst.interval.is_zero() {
            tokio::time::sleep(burst.interval).await;
        }
        let data = message(burst.author, number, burst.bytes);
        let topic = topic.to_owned();
        match node.route(move |router| router.publish(&topic, data)).await {
            Ok(()) => published += 1,
            Err(error) => {
                failed += 1;
                first_error.get_or_insert(error);
            }
        }
    }
    Ok(json!({
        "published": published,
        "failed": failed,
        "first_error": first_error,
        "seconds": started.elapsed().as_secs_f64(),
    }))
}

/// Wait for `count` different messages or until `patience` is over; return what came.
pub async fn wait_received(
    node: &Node,
    topic: &str,
    count: usize,
    patience: Duration,
) -> Result<Value, Failure> {
    let started = Instant::now();
    node.ledger().wait(topic, count, patience).await;
    let seconds = started.elapsed().as_secs_f64();
    let mut counts = received(node, topic);
    counts["seconds"] = json!(seconds);
    Ok(counts)
}

/// Return the counts of `topic`.
pub fn received(node: &Node, topic: &str) -> Value {
    node.ledger().counts(topic)
}

/// Return the connected peers known to subscribe.
pub fn topic_peers(node: &Node, topic: &str) -> Value {
    json!({ "peers": texts(&node.ledger().subscribers(topic)) })
}

/// Return the peers in our mesh; floodsub has none.
pub async fn mesh(node: &Node, topic: &str) -> Result<Value, Failure> {
    let topic = topic.to_owned();
    let mesh = node.route(move |router| Ok(router.mesh(&topic))).await?;
    Ok(json!({ "peers": mesh.map(|peers| texts(&peers)) }))
}

/// Return the form of the counts without numbers: rust-libp2p does not expose its RPCs.
pub fn rpc_counts() -> Value {
    let unknown: serde_json::Map<String, Value> = RPC_ENTRIES
        .iter()
        .map(|entry| (entry.to_string(), Value::Null))
        .collect();
    json!({ "received": unknown, "sent": unknown })
}

fn message(author: PeerId, number: u64, bytes: usize) -> Vec<u8> {
    let mut data = format!("{author}:{number}:").into_bytes();
    let filled = data.len().max(bytes);
    data.resize(filled, b'x');
    data
}

fn texts(peers: &[PeerId]) -> Vec<String> {
    peers.iter().map(ToString::to_string).collect()
}
