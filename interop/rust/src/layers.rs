//! What a host speaks below its protocols: TCP, WebSocket and QUIC, one security protocol, one muxer.

use std::path::{Path, PathBuf};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{noise, quic, tcp, tls, websocket, yamux, Multiaddr, PeerId, Transport};
use libp2p_mplex as mplex;

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
    /// Make the transport that dials and listens on all of TCP, WebSocket and QUIC.
    pub fn transport(&self, key: &Keypair) -> Result<Upgraded, Failure> {
        let mut web = websocket::Config::new(tcp_transport());
        web.set_tls_config(self.websocket_tls()?);
        let mut quic = quic::Config::new(key);
        quic.max_concurrent_stream_limit = MAX_STREAMS as u32;
        let quic = quic::tokio::Transport::new(quic)
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        Ok(self
            .upgrade(web, key)?
            .or_transport(self.upgrade(tcp_transport(), key)?)
            .map(|either, _| either.into_inner())
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
        let raw = raw.upgrade(Version::V1Lazy);
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

/// Whether a transport here listens on addresses of this form.
pub fn can_listen(address: &Multiaddr) -> bool {
    use Protocol::{Ip4, Ip6, QuicV1, Tcp, Tls, Udp, Ws, Wss};
    let parts: Vec<Protocol> = address.iter().collect();
    matches!(
        parts[..],
        [Ip4(_) | Ip6(_), Tcp(_)]
            | [Ip4(_) | Ip6(_), Tcp(_), Ws(_) | Wss(_)]
            | [Ip4(_) | Ip6(_), Tcp(_), Tls, Ws(_)]
            | [Ip4(_) | Ip6(_), Udp(_), QuicV1]
    )
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
