//! The publish/subscribe router of a host: gossipsub, floodsub, or none.

use std::time::Duration;

use libp2p::gossipsub::{
    AllowAllSubscriptionFilter, Config, ConfigBuilder, ConfigBuilderError, IdentTopic,
    IdentityTransform, Message, MessageAuthenticity, PublishError, ValidationMode,
};
use libp2p::identity::Keypair;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{floodsub, gossipsub, PeerId};
use sha2::{Digest, Sha256};

use crate::Failure;

const HEARTBEAT: Duration = Duration::from_secs(1);
const SEEN_TIME: Duration = Duration::from_secs(120);
/// The largest RPC. rust-libp2p counts what it has read ahead of the next RPC as well, hence more than 1 MiB.
const MAX_RPC_BYTES: usize = 4 << 20;
/// The largest control part of an RPC: 16 KiB by default, which 500 message ids of 32 bytes exceed.
const MAX_CONTROL_BYTES: usize = 1 << 20;
const MAX_MESSAGES_PER_RPC: usize = 100_000;
/// Messages that wait for a peer. None is ever refused for a queue of this length: the router would not take it a
/// second time, for then it counts as published.
const QUEUED_MESSAGES: usize = 1_000_000;
/// How long a message may wait for a peer before it is dropped: for as long as a run takes.
const QUEUED_TIME: Duration = Duration::from_secs(60 * 60);
/// What libp2p-floodsub takes of an RPC; it has no option for that.
const FLOODSUB_RPC_BYTES: usize = 2048;
/// At most what surrounds data and topic in a floodsub RPC: author, random number, tags and lengths.
const FLOODSUB_ENVELOPE_BYTES: usize = 80;

/// Which of rust-libp2p's routers.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Router {
    #[default]
    Gossipsub,
    Floodsub,
}

/// Whether messages are signed, and must be.
#[derive(Clone, Copy, Default, PartialEq)]
pub enum Signing {
    #[default]
    Strict,
    None,
}

/// What a host's router is made with.
#[derive(Clone, Copy, Default)]
pub struct Settings {
    pub router: Router,
    pub signing: Signing,
    /// Backoff after PRUNE and after leaving.
    pub backoff_seconds: Option<u64>,
    /// D, D_low and D_high.
    pub degree: Option<usize>,
    /// Whether queues keep the lengths that the library gives them.
    pub stock_queues: bool,
}

impl Settings {
    /// Return what of this rust-libp2p cannot do, and why.
    pub fn complaint(&self) -> Option<(String, String)> {
        if self.router == Router::Floodsub && self.signing == Signing::Strict {
            let reason = "libp2p-floodsub neither signs nor verifies";
            return Some(("pubsub floodsub, signed".into(), reason.into()));
        }
        let error = self.gossipsub().err()?;
        let what = match (&error, self.backoff_seconds, self.degree) {
            (ConfigBuilderError::UnsubscribeBackoffIsZero, ..) => "pubsub-backoff 0".into(),
            (_, _, Some(degree)) => format!("pubsub-degree {degree}"),
            _ => "pubsub gossipsub".into(),
        };
        Some((what, error.to_string()))
    }

    fn gossipsub(&self) -> Result<Config, ConfigBuilderError> {
        let mut config = ConfigBuilder::default();
        config
            .support_floodsub()
            .message_id_fn(|message: &Message| Sha256::digest(&message.data).to_vec().into())
            .validation_mode(match self.signing {
                Signing::Strict => ValidationMode::Strict,
                Signing::None => ValidationMode::Anonymous,
            })
            .flood_publish(true)
            .heartbeat_initial_delay(Duration::ZERO)
            .heartbeat_interval(HEARTBEAT)
            .duplicate_cache_time(SEEN_TIME)
            .max_transmit_size(MAX_RPC_BYTES)
            .max_control_message_size(MAX_CONTROL_BYTES)
            .max_publish_messages(MAX_MESSAGES_PER_RPC);
        if !self.stock_queues {
            config
                .connection_handler_queue_len(QUEUED_MESSAGES)
                .publish_queue_duration(QUEUED_TIME)
                .forward_queue_duration(QUEUED_TIME);
        }
        if let Some(seconds) = self.backoff_seconds {
            let backoff = Duration::from_secs(seconds);
            config.prune_backoff(backoff).unsubscribe_backoff(backoff);
        }
        if let Some(degree) = self.degree {
            config
                .mesh_n(degree)
                .mesh_n_low(degree)
                .mesh_n_high(degree)
                .mesh_outbound_min(0);
        }
        config.build()
    }
}

/// The default filter allows a peer 100 topics.
type Gossipsub = gossipsub::Behaviour<IdentityTransform, AllowAllSubscriptionFilter>;

/// The part of the swarm that routes messages; both are off in a host without publish/subscribe.
#[derive(NetworkBehaviour)]
pub struct Behaviour {
    gossipsub: Toggle<Gossipsub>,
    floodsub: Toggle<floodsub::Behaviour>,
}

impl Behaviour {
    /// Make the router that `settings` ask for.
    pub fn new(settings: Option<Settings>, key: &Keypair) -> Result<Self, Failure> {
        let mut router = Self {
            gossipsub: None.into(),
            floodsub: None.into(),
        };
        match settings {
            Some(settings) if settings.router == Router::Gossipsub => {
                let authenticity = match settings.signing {
                    Signing::Strict => MessageAuthenticity::Signed(key.clone()),
                    Signing::None => MessageAuthenticity::Anonymous,
                };
                let gossipsub = Gossipsub::new(authenticity, settings.gossipsub()?)?;
                router.gossipsub = Some(gossipsub).into();
            }
            Some(_) => {
                let floodsub = floodsub::Behaviour::new(key.public().to_peer_id());
                router.floodsub = Some(floodsub).into();
            }
            None => {}
        }
        Ok(router)
    }

    /// Tell whether this is libp2p-floodsub.
    pub fn is_floodsub(&self) -> bool {
        self.floodsub.is_enabled()
    }

    /// Take a peer, connected now, among those floodsub sends to; gossipsub does that by itself.
    pub fn on_connected(&mut self, peer: PeerId) {
        if let Some(floodsub) = self.floodsub.as_mut() {
            floodsub.add_node_to_partial_view(peer);
        }
    }

    /// Forget a peer whose last connection is closed.
    pub fn on_disconnected(&mut self, peer: PeerId) {
        if let Some(floodsub) = self.floodsub.as_mut() {
            floodsub.remove_node_from_partial_view(&peer);
        }
    }

    /// Subscribe to `topic`, also when subscribed already.
    pub fn subscribe(&mut self, topic: &str) -> Result<(), String> {
        if let Some(gossipsub) = self.gossipsub.as_mut() {
            let subscribed = gossipsub.subscribe(&IdentTopic::new(topic));
            return subscribed.map(drop).map_err(|error| error.to_string());
        }
        self.floodsub()?.subscribe(floodsub::Topic::new(topic));
        Ok(())
    }

    /// Unsubscribe from `topic`, also when not subscribed.
    pub fn unsubscribe(&mut self, topic: &str) -> Result<(), String> {
        if let Some(gossipsub) = self.gossipsub.as_mut() {
            gossipsub.unsubscribe(&IdentTopic::new(topic));
            return Ok(());
        }
        self.floodsub()?.unsubscribe(floodsub::Topic::new(topic));
        Ok(())
    }

    /// Send `data` to all who subscribe to `topic`.
    pub fn publish(&mut self, topic: &str, data: Vec<u8>) -> Result<(), String> {
        if let Some(gossipsub) = self.gossipsub.as_mut() {
            return match gossipsub.publish(IdentTopic::new(topic), data) {
                Ok(_) | Err(PublishError::NoPeersSubscribedToTopic | PublishError::Duplicate) => {
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            };
        }
        let floodsub = self.floodsub()?;
        // What is too large floodsub would take, and then close the connections it cannot send it on.
        if data.len() + topic.len() + FLOODSUB_ENVELOPE_BYTES > FLOODSUB_RPC_BYTES {
            return Err(format!(
                "libp2p-floodsub has RPCs of at most {FLOODSUB_RPC_BYTES} bytes"
            ));
        }
        floodsub.publish_any(floodsub::Topic::new(topic), data);
        Ok(())
    }

    /// Return who is in our mesh for `topic`; None where there are no meshes.
    pub fn mesh(&self, topic: &str) -> Option<Vec<PeerId>> {
        let topic = IdentTopic::new(topic).hash();
        let gossipsub = self.gossipsub.as_ref()?;
        Some(gossipsub.mesh_peers(&topic).copied().collect())
    }

    fn floodsub(&mut self) -> Result<&mut floodsub::Behaviour, String> {
        self.floodsub
            .as_mut()
            .ok_or_else(|| "the peer was started without --pubsub".to_owned())
    }
}
