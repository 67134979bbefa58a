//! What publish/subscribe brought: the messages of each topic, and who subscribes to it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libp2p::{floodsub, gossipsub, PeerId};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::pubsub::{BehaviourEvent, Settings, Signing};

/// One topic's share.
#[derive(Default)]
struct Topic {
    seen: HashSet<Vec<u8>>,
    duplicates: u64,
    malformed: u64,
    wrong_author: u64,
    authors: BTreeMap<PeerId, u64>,
    subscribers: HashSet<PeerId>,
}

/// Counts messages and subscribers while the swarm runs; any task may read it.
pub struct Ledger {
    own: PeerId,
    signed: bool,
    topics: Mutex<HashMap<String, Topic>>,
    received: Notify,
}

impl Ledger {
    /// Make the ledger of the peer `own`.
    pub fn of(settings: Option<Settings>, own: PeerId) -> Self {
        Self {
            own,
            signed: settings.is_some_and(|settings| settings.signing == Signing::Strict),
            topics: Mutex::default(),
            received: Notify::new(),
        }
    }

    /// Take what a router reports.
    pub fn record(&self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossipsub(gossipsub::Event::Message { message, .. }) => {
                self.receive(message.topic.as_str(), message.source, &message.data);
            }
            BehaviourEvent::Gossipsub(gossipsub::Event::Subscribed { peer_id, topic }) => {
                self.note_subscriber(topic.as_str(), peer_id, true);
            }
            BehaviourEvent::Gossipsub(gossipsub::Event::Unsubscribed { peer_id, topic }) => {
                self.note_subscriber(topic.as_str(), peer_id, false);
            }
            BehaviourEvent::Gossipsub(other) => eprintln!("gossipsub: {other:?}"),
            BehaviourEvent::Floodsub(floodsub::Event::Message(message)) => {
                for topic in &message.topics {
                    self.receive(topic.id(), Some(message.source), &message.data);
                }
            }
            BehaviourEvent::Floodsub(floodsub::Event::Subscribed { peer_id, topic }) => {
                self.note_subscriber(topic.id(), peer_id, true);
            }
            BehaviourEvent::Floodsub(floodsub::Event::Unsubscribed { peer_id, topic }) => {
                self.note_subscriber(topic.id(), peer_id, false);
            }
        }
    }

    /// Drop a disconnected peer from the subscribers.
    pub fn forget(&self, peer: PeerId) {
        for topic in self.lock().values_mut() {
            topic.subscribers.remove(&peer);
        }
    }

    /// Return the connected peers known to subscribe to `topic`.
    pub fn subscribers(&self, topic: &str) -> Vec<PeerId> {
        let topics = self.lock();
        let known = topics.get(topic).map(|topic| topic.subscribers.iter());
        known.into_iter().flatten().copied().collect()
    }

    /// Return the counts of `topic` as the contract names them.
    pub fn counts(&self, topic: &str) -> Value {
        let mut topics = self.lock();
        let topic = topics.entry(topic.into()).or_default();
        let authors = topic.authors.iter();
        let authors: BTreeMap<String, u64> = authors
            .map(|(author, count)| (author.to_string(), *count))
            .collect();
        json!({
            "total": topic.seen.len(),
            "duplicates": topic.duplicates,
            "malformed": topic.malformed,
            "wrong_author": topic.wrong_author,
            "authors": authors,
        })
    }

    /// Wait until `count` different messages have come on `topic`, but no longer than `patience`.
    pub async fn wait(&self, topic: &str, count: usize, patience: Duration) {
        let complete = async {
            loop {
                let received = self.received.notified();
                tokio::pin!(received);
                received.as_mut().enable(); // before looking, so that nothing comes unseen in between
                if self.different(topic) >= count {
                    return;
                }
                received.await;
            }
        };
        let _ = tokio::time::timeout(patience, complete).await;
    }

    fn different(&self, topic: &str) -> usize {
        self.lock().get(topic).map_or(0, |topic| topic.seen.len())
    }

    fn receive(&self, topic: &str, source: Option<PeerId>, data: &[u8]) {
        let author = author_of(data);
        if author == Some(self.own) {
            return;
        }
        let mut topics = self.lock();
        let topic = topics.entry(topic.into()).or_default();
        if !topic.seen.insert(Sha256::digest(data).to_vec()) {
            topic.duplicates += 1;
            return;
        }
        match author {
            Some(author) => {
                *topic.authors.entry(author).or_default() += 1;
                topic.wrong_author += u64::from(self.signed && source != Some(author));
            }
            None => topic.malformed += 1,
        }
        drop(topics);
        self.received.notify_waiters();
    }

    fn note_subscriber(&self, topic: &str, peer: PeerId, subscribes: bool) {
        let mut topics = self.lock();
        let subscribers = &mut topics.entry(topic.into()).or_default().subscribers;
        if subscribes {
            subscribers.insert(peer);
        } else {
            subscribers.remove(&peer);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Return who published `data`, or None if it is not of the contract's form, `<peer id>:<number>:xxx…`.
fn author_of(data: &[u8]) -> Option<PeerId> {
    let mut parts = std::str::from_utf8(data).ok()?.splitn(3, ':');
    let author = PeerId::from_str(parts.next()?).ok()?;
    parts.next()?.parse::<u64>().ok()?;
    let fill = parts.next()?;
    fill.bytes().all(|byte| byte == b'x').then_some(author)
}
