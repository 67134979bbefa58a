//! What a host speaks below its protocols: TCP, WebSocket, QUIC and unix sockets, one security protocol, one muxer.

use std::path::{Path, PathBuf};

use futures::future::Either;
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::pnet::{PnetConfig, PnetError, PreSharedKey};
use libp2p::{noise, quic, tcp, tls, websocket, yamux, Multiaddr, PeerId, Transport};
use libp2p_mplex as mplex;
use libp2p_uds as uds;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::node::MAX_STREAMS;
use crate::Failure;

/// Frames of mplex kept for a stream that is not read: 16 MiB of the 8 KiB frames that rust-libp2p sends.
const MPLEX_FRAMES: usize = 2048;

/// The security protocol offered.
#[derive(Clone, Copy)]
pub enum Security {
    Noise,
    Tls,
}

/// The muxer offered.
#[derive(Clone, Copy)]
pub enum Muxer {
    Yamux,
    Mplex,
}

/// The choices of the command line.
#[derive(Clone)]
pub struct Layers {
    pub security: Security,
    pub muxer: Muxer,
    /// Certificate and key shown by secure WebSocket listeners, PEM.
    pub cert: Option<PathBuf>,
    pub cert_key: Option<PathBuf>,
    /// Certificates that secure WebSocket dials trust, PEM.
    pub ca: Option<PathBuf>,
    /// Key of the private network to be in, which QUIC cannot be part of.
    pub psk: Option<PreSharedKey>,
}

type Upgraded = Boxed<(PeerId, StreamMuxerBox)>;

macro_rules! muxed {
    ($secured:expr, $muxer:expr) => {
        $secured
            .multiplex($muxer)
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed()
    };
}

impl Layers {
    /// Make the transport that dials and listens on all of TCP, WebSocket, unix sockets and, unless private, QUIC.
    pub fn transport(&self, key: &Keypair) -> Result<Upgraded, Failure> {
        let mut web = websocket::Config::new(tcp_transport());
        web.set_tls_config(self.websocket_tls()?);
        let unix = uds::Config::new().map(|socket, _| socket.compat());
        let streams = self
            .upgrade(web, key)?
            .or_transport(self.upgrade(tcp_transport(), key)?)
            .map(|either, _| either.into_inner())
            .or_transport(self.upgrade(unix, key)?)
            .map(|either, _| either.into_inner());
        if self.psk.is_some() {
            return Ok(streams.boxed());
        }
        let mut quic = quic::Config::new(key);
        quic.max_concurrent_stream_limit = MAX_STREAMS as u32;
        let quic = quic::tokio::Transport::new(quic)
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        Ok(streams
            .or_transport(quic)
            .map(|either, _| either.into_inner())
            .boxed())
    }

    fn upgrade<T>(&self, raw: T, key: &Keypair) -> Result<Upgraded, Failure>
    where
        T: Transport + Send + Unpin + 'static,
        T::Output: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T::Error: Send + Sync + 'static,
        T::Dial: Send + 'static,
        T::ListenerUpgrade: Send + 'static,
    {
        let psk = self.psk;
        let raw = raw
            .and_then(move |socket, _| protect(psk, socket))
            .upgrade(Version::V1Lazy);
        let noise = noise::Config::new(key)?;
        let tls = tls::Config::new(key)?;
        Ok(match (self.security, self.muxer) {
            (Security::Noise, Muxer::Yamux) => muxed!(raw.authenticate(noise), yamux_config()),
            (Security::Noise, Muxer::Mplex) => muxed!(raw.authenticate(noise), mplex_config()),
            (Security::Tls, Muxer::Yamux) => muxed!(raw.authenticate(tls), yamux_config()),
            (Security::Tls, Muxer::Mplex) => muxed!(raw.authenticate(tls), mplex_config()),
        })
    }

    fn websocket_tls(&self) -> Result<websocket::tls::Config, Failure> {
        let mut config = websocket::tls::Config::builder();
        if let (Some(cert), Some(key)) = (&self.cert, &self.cert_key) {
            let key = blocks(key)?.pop().ok_or("--cert-key holds no key")?;
            let chain = blocks(cert)?
                .into_iter()
                .map(websocket::tls::Certificate::new);
            config.server(websocket::tls::PrivateKey::new(key), chain)?;
        }
        if let Some(ca) = &self.ca {
            for trusted in blocks(ca)? {
                config.add_trust(&websocket::tls::Certificate::new(trusted))?;
            }
        }
        Ok(config.finish())
    }
}

/// Take a fresh connection into the private network, if there is one.
async fn protect<S>(
    psk: Option<PreSharedKey>,
    socket: S,
) -> Result<Either<impl AsyncRead + AsyncWrite + Unpin + Send, S>, PnetError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    Ok(match psk {
        Some(key) => Either::Left(PnetConfig::new(key).handshake(socket).await?),
        None => Either::Right(socket),
    })
}

/// Whether a transport here listens on addresses of this form.
pub fn can_listen(address: &Multiaddr) -> bool {
    use Protocol::{Ip4, Ip6, QuicV1, Tcp, Tls, Udp, Unix, Ws, Wss};
    let parts: Vec<Protocol> = address.iter().collect();
    matches!(
        parts[..],
        [Ip4(_) | Ip6(_), Tcp(_)]
            | [Ip4(_) | Ip6(_), Tcp(_), Ws(_) | Wss(_)]
            | [Ip4(_) | Ip6(_), Tcp(_), Tls, Ws(_)]
            | [Ip4(_) | Ip6(_), Udp(_), QuicV1]
            | [Unix(_)]
    )
}

/// Return the address that the contract writes so: a path of a unix socket has `%2F` for its slashes.
pub fn read_address(text: &str) -> Result<Multiaddr, Failure> {
    let written: Multiaddr = text.parse()?;
    Ok(with_paths(&written, |path| path.replace("%2F", "/")))
}

/// Return an address as the contract writes it.
pub fn write_address(address: &Multiaddr) -> String {
    with_paths(address, |path| path.replace('/', "%2F")).to_string()
}

fn with_paths(address: &Multiaddr, change: fn(&str) -> String) -> Multiaddr {
    let changed = address.iter().map(|part| match part {
        Protocol::Unix(path) => Protocol::Unix(change(&path).into()),
        other => other,
    });
    changed.collect()
}

/// Return what the blocks of a PEM file hold.
fn blocks(file: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let blocks = pem::parse_many(std::fs::read(file)?)?;
    Ok(blocks.into_iter().map(pem::Pem::into_contents).collect())
}

fn tcp_transport() -> tcp::tokio::Transport {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
}

fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config
}

fn mplex_config() -> mplex::Config {
    let mut config = mplex::Config::new();
    config.set_max_num_streams(MAX_STREAMS);
    config.set_max_buffer_size(MPLEX_FRAMES);
    config
}
