//! One libp2p host: a swarm in a task of its own, and the handle that asks it for things.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, Stream, StreamProtocol, SwarmEvent};
use libp2p::{identify, ping, Multiaddr, PeerId, Swarm, SwarmBuilder};

use crate::layers::Layers;
use crate::ledger::Ledger;
use crate::{pubsub, streams, Failure};

const PROTOCOL_VERSION: &str = "ipfs/0.1.0";
/// Longer than any run: nothing periodic may disturb a measurement, no idle connection may be pruned.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
/// Streams that one connection may hold open.
pub const MAX_STREAMS: usize = 2048;

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: streams::Behaviour,
    pubsub: pubsub::Behaviour,
}

type Reply<T> = oneshot::Sender<Result<T, String>>;

enum Request {
    Connect(Multiaddr, Reply<PeerId>),
    Disconnect(PeerId, Reply<()>),
    Identify(PeerId, Reply<identify::Info>),
    FirstPing(PeerId, Reply<()>),
    Route(Box<dyn FnOnce(&mut pubsub::Behaviour) + Send>),
}

/// The handle of a running host; the host ends when its last handle is dropped.
#[derive(Clone)]
pub struct Node {
    requests: mpsc::UnboundedSender<Request>,
    streams: streams::Control,
    ledger: Arc<Ledger>,
}

impl Node {
    /// Start a host; return its handle and the addresses it listens on.
    pub async fn start(
        key: Keypair,
        layers: &Layers,
        listen: Vec<Multiaddr>,
        pubsub: Option<pubsub::Settings>,
    ) -> Result<(Self, Vec<Multiaddr>), Failure> {
        let ledger = Arc::new(Ledger::of(pubsub, key.public().to_peer_id()));
        let mut swarm = build_swarm(key, layers, pubsub)?;
        let addresses = start_listening(&mut swarm, listen).await?;
        let (requests, received) = mpsc::unbounded();
        let node = Self {
            requests,
            streams: swarm.behaviour().streams.control(),
            ledger: ledger.clone(),
        };
        tokio::spawn(Driver::new(swarm, ledger).run(received));
        Ok((node, addresses))
    }

    /// Connect to `address` unless its peer is connected already; return who answered.
    pub async fn connect(&self, address: Multiaddr) -> Result<PeerId, String> {
        self.ask(|reply| Request::Connect(address, reply)).await
    }

    /// Close every connection to `peer`; return when all are closed.
    pub async fn disconnect(&self, peer: PeerId) -> Result<(), String> {
        self.ask(|reply| Request::Disconnect(peer, reply)).await
    }

    /// Return what `peer` last said of itself; wait until it has said something.
    pub async fn identify(&self, peer: PeerId) -> Result<identify::Info, String> {
        self.ask(|reply| Request::Identify(peer, reply)).await
    }

    /// Wait until the ping that the swarm itself starts on a new connection has been answered.
    pub async fn first_ping(&self, peer: PeerId) -> Result<(), String> {
        self.ask(|reply| Request::FirstPing(peer, reply)).await
    }

    /// Open a stream to a connected peer.
    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> Result<Stream, String> {
        self.streams.open(peer, protocol).await
    }

    /// Let `work` use the publish/subscribe router; return what it returns.
    pub async fn route<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut pubsub::Behaviour) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        self.ask(|reply: Reply<T>| {
            Request::Route(Box::new(move |router| {
                let _ = reply.send(work(router));
            }))
        })
        .await
    }

    /// Return what was received by publish/subscribe.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .unbounded_send(request(reply))
            .map_err(|_| "the host has stopped".to_owned())?;
        answer
            .await
            .map_err(|_| "the connection closed".to_owned())?
    }
}

fn build_swarm(
    key: Keypair,
    layers: &Layers,
    pubsub: Option<pubsub::Settings>,
) -> Result<Swarm<Behaviour>, Failure> {
    let router = pubsub::Behaviour::new(pubsub, &key)?;
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| layers.transport(key))?
        .with_behaviour(|key| {
            let mut identity =
                identify::Config::new_with_signed_peer_record(PROTOCOL_VERSION.into(), key);
            if router.is_floodsub() {
                // Floodsub dials peers that left again, which fails without an address of theirs.
                identity = identity.with_cache_size(0);
            }
            Behaviour {
                identify: identify::Behaviour::new(identity.with_interval(NEVER)),
                ping: ping::Behaviour::new(ping::Config::new().with_interval(NEVER)),
                streams: streams::Behaviour::default(),
                pubsub: router,
            }
        })?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(NEVER)
                .with_max_negotiating_inbound_streams(MAX_STREAMS)
        })
        .build();
    Ok(swarm)
}

async fn start_listening(
    swarm: &mut Swarm<Behaviour>,
    listen: Vec<Multiaddr>,
) -> Result<Vec<Multiaddr>, Failure> {
    let mut silent = HashSet::new();
    for address in listen {
        silent.insert(swarm.listen_on(address)?);
    }
    let mut addresses = Vec::new();
    while !silent.is_empty() {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => {
                silent.remove(&listener_id);
                addresses.push(address.with(Protocol::P2p(*swarm.local_peer_id())));
            }
            SwarmEvent::ListenerClosed {
                reason: Err(error), ..
            } => return Err(error.into()),
            SwarmEvent::ListenerError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
    Ok(addresses)
}

/// A value that comes once something has happened, and those who wait for it.
struct Awaited<T> {
    outcome: Option<Result<T, String>>,
    waiting: Vec<Reply<T>>,
}

impl<T> Default for Awaited<T> {
    fn default() -> Self {
        Self {
            outcome: None,
            waiting: Vec::new(),
        }
    }
}

impl<T: Clone> Awaited<T> {
    fn settle(&mut self, outcome: Result<T, String>) {
        for reply in self.waiting.drain(..) {
            let _ = reply.send(outcome.clone());
        }
        // A later failure does not unsay what the peer has said.
        if outcome.is_ok() || self.outcome.is_none() {
            self.outcome = Some(outcome);
        }
    }

    fn wait(&mut self, reply: Reply<T>) {
        match &self.outcome {
            Some(outcome) => {
                let _ = reply.send(outcome.clone());
            }
            None => self.waiting.push(reply),
        }
    }
}

/// What is known of a connected peer; dropping it fails those who wait.
#[derive(Default)]
struct Peer {
    identity: Awaited<identify::Info>,
    pinged: Awaited<()>,
    closing: Vec<Reply<()>>,
}

struct Driver {
    swarm: Swarm<Behaviour>,
    dials: HashMap<ConnectionId, Reply<PeerId>>,
    peers: HashMap<PeerId, Peer>,
    ledger: Arc<Ledger>,
}

impl Driver {
    fn new(swarm: Swarm<Behaviour>, ledger: Arc<Ledger>) -> Self {
        Self {
            swarm,
            ledger,
            dials: HashMap::new(),
            peers: HashMap::new(),
        }
    }

    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                request = requests.next() => match request {
                    Some(request) => self.on_request(request),
                    None => return,
                },
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Connect(address, reply) => self.connect(address, reply),
            Request::Disconnect(peer, reply) => self.disconnect(peer, reply),
            Request::Identify(peer, reply) => match self.peers.get_mut(&peer) {
                Some(known) => known.identity.wait(reply),
                None => refuse(reply, peer),
            },
            Request::FirstPing(peer, reply) => match self.peers.get_mut(&peer) {
                Some(known) => known.pinged.wait(reply),
                None => refuse(reply, peer),
            },
            Request::Route(work) => work(&mut self.swarm.behaviour_mut().pubsub),
        }
    }

    fn connect(&mut self, address: Multiaddr, reply: Reply<PeerId>) {
        let expected = match address.iter().last() {
            Some(Protocol::P2p(peer)) => Some(peer),
            _ => None,
        };
        // A new port: from the port listened on there is one connection to an address at a time.
        let options = match expected {
            Some(peer) if self.peers.contains_key(&peer) => {
                let _ = reply.send(Ok(peer));
                return;
            }
            Some(peer) => DialOpts::peer_id(peer)
                .addresses(vec![address])
                .condition(PeerCondition::Always)
                .allocate_new_port()
                .build(),
            None => DialOpts::unknown_peer_id()
                .address(address)
                .allocate_new_port()
                .build(),
        };
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, reply);
            }
            Err(error) => {
                let _ = reply.send(Err(error.to_string()));
            }
        }
    }

    fn disconnect(&mut self, peer: PeerId, reply: Reply<()>) {
        match self.peers.get_mut(&peer) {
            Some(known) => {
                known.closing.push(reply);
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            None => {
                let _ = reply.send(Ok(()));
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            } => {
                self.peers.entry(peer_id).or_default();
                self.swarm.behaviour_mut().pubsub.on_connected(peer_id);
                if let Some(reply) = self.dials.remove(&connection_id) {
                    let _ = reply.send(Ok(peer_id));
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                if let Some(reply) = self.dials.remove(&connection_id) {
                    let _ = reply.send(Err(error.to_string()));
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => {
                self.swarm.behaviour_mut().pubsub.on_disconnected(peer_id);
                self.ledger.forget(peer_id);
                let closing = self.peers.remove(&peer_id).map(|peer| peer.closing);
                for reply in closing.into_iter().flatten() {
                    let _ = reply.send(Ok(()));
                }
            }
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::IncomingConnectionError { error, .. } => eprintln!("inbound: {error}"),
            SwarmEvent::ListenerError { error, .. } => eprintln!("listener: {error}"),
            _ => {}
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                if let Some(peer) = self.peers.get_mut(&peer_id) {
                    peer.identity.settle(Ok(info));
                }
            }
            BehaviourEvent::Identify(identify::Event::Error { peer_id, error, .. }) => {
                if let Some(peer) = self.peers.get_mut(&peer_id) {
                    peer.identity.settle(Err(error.to_string()));
                }
            }
            BehaviourEvent::Ping(ping::Event { peer, result, .. }) => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    let outcome = result.map(|_| ()).map_err(|error| error.to_string());
                    peer.pinged.settle(outcome);
                }
            }
            BehaviourEvent::Identify(_) => {}
            BehaviourEvent::Streams(event) => match event {},
            BehaviourEvent::Pubsub(event) => self.ledger.record(event),
        }
    }
}

fn refuse<T>(reply: Reply<T>, peer: PeerId) {
    let _ = reply.send(Err(format!("not connected to {peer}")));
}
