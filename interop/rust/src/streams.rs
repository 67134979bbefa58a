//! Raw streams by protocol name: opening them from any task, and serving those the other side opens.
//!
//! The crate libp2p-stream keeps room for one accepted stream a protocol and drops the others, and negotiates one
//! opened stream a connection at a time. A peer that must take 1000 streams needs neither limit.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{ready, Ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::StreamExt;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::PeerId;

use crate::serve;

/// A busy benchmark may starve one negotiation for longer than the default of 10 s.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(60);

type Reply = oneshot::Sender<Result<Stream, String>>;

/// One stream that is waited for.
#[derive(Debug)]
pub struct Open {
    protocol: StreamProtocol,
    reply: Reply,
}

type Connections = HashMap<PeerId, Vec<(ConnectionId, mpsc::UnboundedSender<Open>)>>;

#[derive(Clone, Default)]
struct Registry(Arc<Mutex<Connections>>);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens streams on the connections of one swarm, from any task.
#[derive(Clone)]
pub struct Control(Registry);

impl Control {
    /// Open a stream on the oldest connection to `peer` and negotiate `protocol`.
    pub async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> Result<Stream, String> {
        let (reply, answer) = oneshot::channel();
        let connection = self
            .0
            .lock()
            .get(&peer)
            .and_then(|all| all.first())
            .map(|(_, connection)| connection.clone())
            .ok_or_else(|| format!("not connected to {peer}"))?;
        connection
            .unbounded_send(Open { protocol, reply })
            .map_err(|_| format!("the connection to {peer} is gone"))?;
        answer
            .await
            .map_err(|_| format!("the connection to {peer} closed"))?
    }
}

/// The part of the swarm that makes one [`Handler`] a connection.
#[derive(Default)]
pub struct Behaviour(Registry);

impl Behaviour {
    /// Return the handle that opens streams.
    pub fn control(&self) -> Control {
        Control(self.0.clone())
    }

    fn handler(&self, peer: PeerId, connection: ConnectionId) -> Handler {
        let (sender, wanted) = mpsc::unbounded();
        let mut connections = self.0.lock();
        connections
            .entry(peer)
            .or_default()
            .push((connection, sender));
        Handler { wanted }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        let FromSwarm::ConnectionClosed(closed) = event else {
            return;
        };
        let mut connections = self.0.lock();
        if let Some(all) = connections.get_mut(&closed.peer_id) {
            all.retain(|(connection, _)| *connection != closed.connection_id);
            if all.is_empty() {
                connections.remove(&closed.peer_id);
            }
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// Asks one connection for the streams wanted, and hands those opened by the other side to their server.
pub struct Handler {
    wanted: mpsc::UnboundedReceiver<Open>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Served;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Open;

    fn listen_protocol(&self) -> SubstreamProtocol<Served> {
        SubstreamProtocol::new(Served, ()).with_timeout(NEGOTIATION_TIMEOUT)
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Open, Infallible>> {
        let Poll::Ready(Some(open)) = self.wanted.poll_next_unpin(context) else {
            return Poll::Pending;
        };
        let upgrade = ReadyUpgrade::new(open.protocol.clone());
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
            protocol: SubstreamProtocol::new(upgrade, open).with_timeout(NEGOTIATION_TIMEOUT),
        })
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Served, ReadyUpgrade<StreamProtocol>, (), Open>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => {
                tokio::spawn(serve::serve(protocol, stream));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: open,
            }) => {
                // The caller may have given up: the stream is then dropped, and so reset.
                let _ = open.reply.send(Ok(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: open, error }) => {
                let reason = format!("no {} stream: {error}", open.protocol);
                let _ = open.reply.send(Err(reason));
            }
            _ => {}
        }
    }
}

/// The inbound upgrade: every protocol of [`serve::PROTOCOLS`], the stream handed over as it is.
#[derive(Clone, Copy)]
pub struct Served;

impl UpgradeInfo for Served {
    type Info = StreamProtocol;
    type InfoIter = Vec<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        serve::PROTOCOLS.to_vec()
    }
}

impl InboundUpgrade<Stream> for Served {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
