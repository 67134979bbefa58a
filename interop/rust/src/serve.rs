//! What the peer serves besides identify and ping: echo, digest, reset and perf.

use std::io;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::swarm::{Stream, StreamProtocol};
use sha2::{Digest, Sha256};

pub const ECHO: StreamProtocol = StreamProtocol::new("/interop/echo/1.0.0");
pub const DIGEST: StreamProtocol = StreamProtocol::new("/interop/digest/1.0.0");
pub const RESET: StreamProtocol = StreamProtocol::new("/interop/reset/1.0.0");
pub const PERF: StreamProtocol = StreamProtocol::new("/perf/1.0.0");

/// Every protocol a connection offers beside the implementation's own.
pub const PROTOCOLS: [StreamProtocol; 4] = [ECHO, DIGEST, RESET, PERF];

/// Bytes read at a time where a thousand streams may be open.
const SMALL_BLOCK: usize = 64 * 1024;
/// Bytes read and written at a time by perf.
const PERF_BLOCK: usize = 256 * 1024;

/// Serve one inbound stream until it ends; its failures go to standard error.
pub async fn serve(protocol: StreamProtocol, stream: Stream) {
    let served = match protocol.as_ref() {
        "/interop/echo/1.0.0" => echo(stream).await,
        "/interop/digest/1.0.0" => digest(stream).await,
        "/interop/reset/1.0.0" => reset(stream).await,
        _ => perf(stream).await,
    };
    if let Err(error) = served {
        eprintln!("{protocol}: {error}");
    }
}

async fn echo(mut stream: Stream) -> io::Result<()> {
    let mut block = vec![0; SMALL_BLOCK];
    loop {
        let length = stream.read(&mut block).await?;
        if length == 0 {
            return stream.close().await;
        }
        stream.write_all(&block[..length]).await?;
        stream.flush().await?;
    }
}

async fn digest(mut stream: Stream) -> io::Result<()> {
    let mut block = vec![0; SMALL_BLOCK];
    let mut hasher = Sha256::new();
    loop {
        let length = stream.read(&mut block).await?;
        if length == 0 {
            break;
        }
        hasher.update(&block[..length]);
    }
    stream.write_all(&hasher.finalize()).await?;
    stream.close().await
}

/// Read one byte, then leave both directions open and drop the stream: rust-yamux answers that with RST.
async fn reset(mut stream: Stream) -> io::Result<()> {
    stream.read_exact(&mut [0]).await
}

async fn perf(mut stream: Stream) -> io::Result<()> {
    let mut wanted = [0; 8];
    stream.read_exact(&mut wanted).await?;
    let mut block = vec![0; PERF_BLOCK];
    while stream.read(&mut block).await? > 0 {}
    write_block_by_block(&mut stream, &block, u64::from_be_bytes(wanted)).await?;
    stream.close().await
}

/// Write `total` bytes, `block` again and again.
pub async fn write_block_by_block(stream: &mut Stream, block: &[u8], total: u64) -> io::Result<()> {
    let mut left = total;
    while left > 0 {
        let length = left.min(block.len() as u64);
        stream.write_all(&block[..length as usize]).await?;
        left -= length;
    }
    Ok(())
}
