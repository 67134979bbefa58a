//! The commands that work on streams to one connected peer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::try_join;
use futures::{stream, AsyncReadExt, AsyncWriteExt, StreamExt, TryStreamExt};
use libp2p::swarm::{Stream, StreamProtocol};
use libp2p::PeerId;
use rand::Rng;
use serde_json::{json, Value};
use sha2::{Digest, Sha256};

use crate::node::Node;
use crate::{serve, Failure};

const PING: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");
const PING_BYTES: usize = 32;
/// Streams opened before an answer has come: more of them make js-libp2p drop a young connection.
const OPENING_AT_ONCE: usize = 8;
/// How long the swarm's own first ping may take before ours starts regardless.
const FIRST_PING_PATIENCE: Duration = Duration::from_secs(2);

/// Time `count` echoes of 32 bytes on one ping stream.
pub async fn ping(node: &Node, peer: PeerId, count: u64) -> Result<Value, Failure> {
    // rust-libp2p serves one ping stream a connection and drops it for a newer one, so the stream that the swarm
    // opens by itself has to come first.
    let _ = tokio::time::timeout(FIRST_PING_PATIENCE, node.first_ping(peer)).await;
    let mut stream = node.open(peer, PING).await?;
    let mut round_trips = Vec::new();
    for _ in 0..count {
        round_trips.push(ping_once(&mut stream).await?.as_secs_f64() * 1e6);
    }
    stream.close().await?;
    Ok(json!({ "rtt_us": round_trips }))
}

async fn ping_once(stream: &mut Stream) -> Result<Duration, Failure> {
    let sent: [u8; PING_BYTES] = rand::random();
    let mut received = [0; PING_BYTES];
    let started = Instant::now();
    stream.write_all(&sent).await?;
    stream.flush().await?;
    stream.read_exact(&mut received).await?;
    let elapsed = started.elapsed();
    if received != sent {
        return Err("the ping came back changed".into());
    }
    Ok(elapsed)
}

/// Send random bytes on an echo stream and read them back at the same time.
pub async fn echo(node: &Node, peer: PeerId, bytes: u64, chunk: usize) -> Result<Value, Failure> {
    let sent = random_bytes(bytes as usize);
    let mut stream = node.open(peer, serve::ECHO).await?;
    let started = Instant::now();
    let received = echo_exchange(&mut stream, &sent, chunk).await?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(json!({
        "bytes": received.len(),
        "sha256_sent": sha256_hex(&sent),
        "sha256_received": sha256_hex(&received),
        "seconds": seconds,
    }))
}

/// Open `count` echo streams, hold them all, then do an echo of `bytes` on each.
pub async fn streams(node: &Node, peer: PeerId, count: u64, bytes: u64) -> Result<Value, Failure> {
    let opened: Vec<Stream> = stream::iter(0..count)
        .map(|_| node.open(peer, serve::ECHO))
        .buffer_unordered(OPENING_AT_ONCE)
        .try_collect()
        .await?;
    let sent = random_bytes(bytes as usize);
    let echoes = opened.into_iter().map(|stream| comes_back(stream, &sent));
    let completed = futures::future::join_all(echoes).await;
    let completed = completed.into_iter().filter(|right| *right).count();
    Ok(json!({ "completed": completed }))
}

async fn comes_back(mut stream: Stream, sent: &[u8]) -> bool {
    match echo_exchange(&mut stream, sent, sent.len().max(1)).await {
        Ok(received) => received == sent,
        Err(error) => {
            eprintln!("streams: {error}");
            false
        }
    }
}

/// Open, use and close `count` echo streams, `concurrency` at a time.
pub async fn bench_streams(
    node: &Node,
    peer: PeerId,
    count: u64,
    concurrency: u64,
) -> Result<Value, Failure> {
    let next = AtomicU64::new(0);
    let started = Instant::now();
    let workers = (0..concurrency).map(|_| async {
        while next.fetch_add(1, Ordering::Relaxed) < count {
            let mut stream = node.open(peer, serve::ECHO).await?;
            let sent: [u8; 32] = rand::random();
            if echo_exchange(&mut stream, &sent, sent.len()).await? != sent {
                return Err(Failure::from("an echo came back changed"));
            }
        }
        Ok(())
    });
    futures::future::try_join_all(workers).await?;
    Ok(json!({ "seconds": started.elapsed().as_secs_f64() }))
}

/// Send bytes, half-close, and read what the other side computed over them.
pub async fn digest(node: &Node, peer: PeerId, bytes: u64) -> Result<Value, Failure> {
    let sent = random_bytes(bytes as usize);
    let mut stream = node.open(peer, serve::DIGEST).await?;
    stream.write_all(&sent).await?;
    stream.close().await?;
    let mut remote = Vec::new();
    stream.take(33).read_to_end(&mut remote).await?;
    if remote.len() != 32 {
        return Err(format!("a digest of {} bytes", remote.len()).into());
    }
    Ok(json!({ "sha256_sent": sha256_hex(&sent), "sha256_remote": hex(&remote) }))
}

/// Ask for a reset and tell how the stream ended.
pub async fn reset(node: &Node, peer: PeerId) -> Result<Value, Failure> {
    let mut stream = node.open(peer, serve::RESET).await?;
    stream.write_all(&[1]).await?;
    stream.flush().await?;
    let outcome = match stream.read(&mut [0]).await {
        Err(_) => "reset",
        Ok(0) => how_it_ended(&mut stream).await,
        Ok(_) => "data",
    };
    Ok(json!({ "outcome": outcome }))
}

/// Tell RST from FIN: rust-yamux reads both as an end, but only after RST it refuses to write.
async fn how_it_ended(stream: &mut Stream) -> &'static str {
    match stream.write_all(&[1]).await {
        Err(_) => "reset",
        Ok(()) => "eof",
    }
}

/// One perf exchange: send `upload` bytes, then receive `download`.
pub async fn perf(
    node: &Node,
    peer: PeerId,
    upload: u64,
    download: u64,
    chunk: usize,
) -> Result<Value, Failure> {
    let mut stream = node.open(peer, serve::PERF).await?;
    let mut block = vec![0; chunk];
    let started = Instant::now();
    stream.write_all(&download.to_be_bytes()).await?;
    serve::write_block_by_block(&mut stream, &block, upload).await?;
    stream.close().await?;
    let mut length = stream.read(&mut block).await?;
    let uploaded = Instant::now();
    let mut received = 0;
    while length > 0 {
        received += length as u64;
        length = stream.read(&mut block).await?;
    }
    let downloaded = Instant::now();
    if received != download {
        return Err(format!("{received} bytes came, {download} were asked for").into());
    }
    Ok(json!({
        "upload_seconds": (uploaded - started).as_secs_f64(),
        "download_seconds": (downloaded - uploaded).as_secs_f64(),
    }))
}

/// Send `sent` in chunks and half-close, reading meanwhile; return as many bytes as came back.
async fn echo_exchange(stream: &mut Stream, sent: &[u8], chunk: usize) -> Result<Vec<u8>, Failure> {
    let (mut reader, mut writer) = stream.split();
    let write = async {
        for part in sent.chunks(chunk) {
            writer.write_all(part).await?;
        }
        writer.close().await
    };
    let read = async {
        let mut received = vec![0; sent.len() + 1];
        let mut length = 0;
        while length < received.len() {
            match reader.read(&mut received[length..]).await? {
                0 => break,
                more => length += more,
            }
        }
        received.truncate(length);
        Ok(received)
    };
    let ((), received) = try_join(write, read).await?;
    Ok(received)
}

fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
