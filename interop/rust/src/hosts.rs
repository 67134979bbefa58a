//! The commands that need hosts of their own: dialing again and again, and holding many connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use futures::{stream, StreamExt, TryStreamExt};
use libp2p::Multiaddr;
use serde_json::{json, Value};

use crate::keys::KeyType;
use crate::layers::Layers;
use crate::node::Node;
use crate::Failure;

const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Dials at a time while connections are gathered: the listener's backlog is finite.
const CONNECTING_AT_ONCE: usize = 16;

/// Dial, ping once and hang up `count` times in all, from `concurrency` hosts side by side.
pub async fn bench_dial(
    address: Multiaddr,
    count: u64,
    concurrency: u64,
    key_type: KeyType,
    layers: &Layers,
) -> Result<Value, Failure> {
    let mut hosts = Vec::new();
    for _ in 0..concurrency {
        let (host, _) = Node::start(key_type.generate()?, layers, Vec::new(), None).await?;
        hosts.push(host);
    }
    let next = AtomicU64::new(0);
    let started = Instant::now();
    let workers = hosts.iter().map(|host| async {
        while next.fetch_add(1, Ordering::Relaxed) < count {
            dial_once(host, address.clone()).await?;
        }
        Ok::<(), Failure>(())
    });
    try_join_all(workers).await?;
    Ok(json!({ "seconds": started.elapsed().as_secs_f64() }))
}

/// Dial, wait for the answer to the ping that the swarm starts by itself, and hang up.
async fn dial_once(host: &Node, address: Multiaddr) -> Result<(), Failure> {
    let peer = host.connect(address).await?;
    tokio::time::timeout(PING_TIMEOUT, host.first_ping(peer)).await??;
    host.disconnect(peer).await?;
    Ok(())
}

/// Connect `count` fresh hosts to `address`; each holds its connection while it is kept.
pub async fn connect_many(
    address: Multiaddr,
    count: u64,
    layers: &Layers,
) -> Result<Vec<Node>, Failure> {
    stream::iter(0..count)
        .map(|_| async {
            // Ed25519 whatever the main host's key is: 500 RSA keys would take minutes.
            let key = KeyType::Ed25519.generate()?;
            let (host, _) = Node::start(key, layers, Vec::new(), None).await?;
            host.connect(address.clone()).await?;
            Ok(host)
        })
        .buffer_unordered(CONNECTING_AT_ONCE)
        .try_collect()
        .await
}
