//! All QUIC connections of one UDP socket, without I/O: datagrams and time go in, events and datagrams come out.

use crate::clock::Clock;
use crate::connection::{Batch, Connection, Outbox, Terms};
use crate::events::{Event, Loss};
use crate::padding::Padding;
use crate::reset;
use crate::settings::{LARGEST_DATAGRAM, Settings, Wrong};
use crate::tls::{CertificateCheck, Credentials};
use bytes::BytesMut;
use quinn_proto::{
    AcceptError, ClientConfig, ConnectError, ConnectionEvent, ConnectionHandle, DatagramEvent,
    EcnCodepoint, Endpoint, EndpointConfig, EndpointEvent, Incoming, NoneTokenStore,
    RandomConnectionIdGenerator, ServerConfig, Transmit, TransportConfig,
};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use std::any::Any;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// QUIC version 1 (RFC 9000), the only one of libp2p.
const VERSION: u32 = 1;
/// Bytes of the connection ids that we choose.
const ID_SIZE: usize = 8;
/// Datagrams kept of an arrival that was not decided on, in bytes; and of all of them.
const ARRIVAL_BUFFER: u64 = 16 * 1024;
const ARRIVAL_BUFFERS: u64 = 1024 * 1024;
/// The first bit of a long header, which only handshakes have (RFC 8999, section 5.1).
const LONG_HEADER: u8 = 0x80;
/// The second bit of all headers but that of version negotiation, where it means nothing (RFC 9000, 17.2.1).
const FIXED: u8 = 0x40;
/// Datagrams of one connection before others have their turn.
const TURN: usize = 64;

/// Datagrams of one sender, as a socket gives them.
pub struct Received<'a> {
    pub remote: SocketAddr,
    /// Where they were sent to, if that is known.
    pub local: Option<IpAddr>,
    /// The two bits of congestion notification (RFC 3168).
    pub ecn: u8,
    pub data: &'a [u8],
    /// Bytes of each datagram but the last; 0 for one.
    pub segment: usize,
}

/// Why something cannot be done.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// There is no such connection or arrival, or it is over.
    Unknown,
    /// The caller asks for what cannot be.
    Wrong(String),
    /// The peer is at fault, or we are.
    Lost(Loss),
}

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong.into())
    }
}

/// The connections of a socket.
pub struct Engine {
    pub clock: Clock,
    settings: Settings,
    credentials: Credentials,
    endpoint: Endpoint,
    server: ServerConfig,
    listening: bool,
    /// From where connections may arrive even if it does not listen.
    expected: HashSet<SocketAddr>,
    /// What arrived, and how many bytes its first datagram had.
    arrivals: HashMap<u64, (Incoming, usize)>,
    connections: HashMap<u64, Connection>,
    /// The numbers of the connections that the endpoint knows, by its handles.
    numbers: HashMap<ConnectionHandle, u64>,
    handles: HashMap<u64, ConnectionHandle>,
    next_number: u64,
    transports: HashMap<u16, Arc<TransportConfig>>,
    deadlines: BTreeSet<(Instant, u64)>,
    dirty: VecDeque<u64>,
    answers: Allowance,
    pub out: Outbox,
    pub events: Vec<Event>,
}

impl Engine {
    /// `reset_key` is explained in `reset`; `now` must be finite.
    pub fn new(
        settings: Settings,
        credentials: Credentials,
        reset_key: &[u8],
        now: f64,
    ) -> Result<Self, String> {
        let clock = Clock::new(now);
        let mut config = EndpointConfig::new(reset::key(reset_key));
        config
            .supported_versions(vec![VERSION])
            // Others may use the socket, too, and tell by this bit what is QUIC (RFC 9443).
            .grease_quic_bit(false)
            .cid_generator(|| Box::new(RandomConnectionIdGenerator::new(ID_SIZE)))
            // Limited by `answers`, with all other answers to unknown addresses.
            .min_reset_interval(std::time::Duration::ZERO)
            .max_udp_payload_size(LARGEST_DATAGRAM)
            .map_err(|error| error.to_string())?;
        // Each connection is accepted with a verifier of its own, but the endpoint needs one to read first packets.
        let nobody = credentials
            .server(Box::new(|_| false), &Padding::default())
            .map_err(|error| error.to_string())?;
        let mut server = ServerConfig::new(nobody, token_key());
        server
            .max_incoming(usize::MAX) // see `arrive`
            .incoming_buffer_size(ARRIVAL_BUFFER)
            .incoming_buffer_size_total(ARRIVAL_BUFFERS)
            .time_source(Arc::new(clock.dates()));
        server.validation_token.sent(0);
        let endpoint = Endpoint::new(
            Arc::new(config),
            Some(Arc::new(server.clone())),
            settings.discovery.is_some(),
            None,
        );
        Ok(Self {
            answers: Allowance::new(settings.answers, clock.latest()),
            clock,
            settings,
            credentials,
            endpoint,
            server,
            listening: false,
            expected: HashSet::new(),
            arrivals: HashMap::new(),
            connections: HashMap::new(),
            numbers: HashMap::new(),
            handles: HashMap::new(),
            next_number: 0,
            transports: HashMap::new(),
            deadlines: BTreeSet::new(),
            dirty: VecDeque::new(),
            out: Outbox::default(),
            events: vec![],
        })
    }

    // ---- datagrams and time

    /// Take datagrams.
    pub fn receive(&mut self, received: &Received<'_>, now: Instant) {
        let segment = match received.segment {
            0 => received.data.len().max(1),
            segment => segment,
        };
        for datagram in received.data.chunks(segment) {
            // Each in memory of its own: what quinn-proto keeps of one must not keep the whole batch.
            self.receive_one(received, datagram.into(), now);
        }
    }

    fn receive_one(&mut self, received: &Received<'_>, mut datagram: BytesMut, now: Instant) {
        let handshake = datagram
            .first()
            .is_some_and(|first| first & LONG_HEADER != 0);
        if handshake && datagram.get(1..5) == Some(&[0; 4]) {
            datagram[0] |= FIXED;
        }
        let mut answer = self.out.buffer();
        let ecn = EcnCodepoint::from_bits(received.ecn);
        let size = datagram.len();
        let endpoint = &mut self.endpoint;
        let event = contained(|| {
            endpoint.handle(
                now,
                received.remote,
                received.local,
                ecn,
                datagram,
                &mut answer,
            )
        });
        match event {
            Ok(Some(DatagramEvent::ConnectionEvent(handle, event))) => {
                self.hand_on(handle, received.remote, event, now);
            }
            Ok(Some(DatagramEvent::NewConnection(incoming))) => self.arrive(incoming, size),
            Ok(Some(DatagramEvent::Response(transmit))) => {
                let wanted = !handshake || self.may_arrive(received.remote);
                if wanted && self.answers.take(now) {
                    self.send(&transmit, answer);
                    return;
                }
            }
            Ok(None) | Err(_) => {}
        }
        self.out.recycle(answer);
    }

    fn hand_on(
        &mut self,
        handle: ConnectionHandle,
        remote: SocketAddr,
        datagram: ConnectionEvent,
        now: Instant,
    ) {
        let Some(&number) = self.numbers.get(&handle) else {
            return;
        };
        let _ = self.with(number, |connection, events| {
            connection.receive(remote, datagram, now, events);
        });
    }

    fn send(&mut self, transmit: &Transmit, mut data: Vec<u8>) {
        data.truncate(transmit.size);
        self.out.batches.push(Batch {
            remote: transmit.destination,
            local: transmit.src_ip,
            segment: transmit.size,
            ecn: 0,
            data,
        });
    }

    /// Whether `drive` has something to do before the next deadline.
    pub fn needs_drive(&self) -> bool {
        !(self.dirty.is_empty() && self.events.is_empty() && self.out.batches.is_empty())
    }

    /// When time matters next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Run what is due, and let the connections that changed write into `out` and `events` what they have to say.
    ///
    /// At most about `limit` datagrams; true if there is more.
    pub fn drive(&mut self, now: Instant, limit: usize) -> bool {
        self.run_deadlines(now);
        let mut again = vec![];
        let mut room = limit.max(1);
        while room > 0
            && let Some(number) = self.dirty.pop_front()
        {
            let before = self.out.batches.len();
            if self.drive_one(number, now, room.min(TURN)) {
                again.push(number);
            }
            let sent = &self.out.batches[before..];
            room = room.saturating_sub(sent.iter().map(Batch::datagrams).sum());
        }
        for number in again {
            self.touch(number);
        }
        !self.dirty.is_empty()
    }

    fn run_deadlines(&mut self, now: Instant) {
        while let Some(&(deadline, number)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            if let Some(connection) = self.connections.get_mut(&number) {
                connection.deadline = None;
            }
            let _ = self.with(number, |connection, _| connection.handle_deadline(now));
        }
    }

    fn drive_one(&mut self, number: u64, now: Instant, limit: usize) -> bool {
        let Some(connection) = self.connections.get_mut(&number) else {
            return false;
        };
        connection.dirty = false;
        let Some(&handle) = self.handles.get(&number) else {
            return false; // it is over, and the caller still reads what arrived
        };
        let (endpoint, out, events) = (&mut self.endpoint, &mut self.out, &mut self.events);
        let more = match contained(|| {
            let more = connection.drive(endpoint, handle, now, limit, out, events);
            (
                more,
                connection.next_deadline(),
                connection.quic.is_drained(),
            )
        }) {
            Ok((more, deadline, drained)) => {
                self.schedule(number, deadline);
                if drained {
                    self.forget_handle(number);
                }
                more && !drained
            }
            Err(reason) => {
                self.bury(number, reason);
                false
            }
        };
        self.forget_if_done(number);
        more
    }

    fn schedule(&mut self, number: u64, deadline: Option<Instant>) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        if connection.deadline == deadline {
            return;
        }
        if let Some(old) = std::mem::replace(&mut connection.deadline, deadline) {
            self.deadlines.remove(&(old, number));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, number));
        }
    }

    // ---- connections

    /// Note that a connection has something to say.
    fn touch(&mut self, number: u64) {
        if let Some(connection) = self.connections.get_mut(&number)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push_back(number);
        }
    }

    /// Do something with a connection, known to the caller or not; a panic costs this connection only.
    fn with<R>(
        &mut self,
        number: u64,
        work: impl FnOnce(&mut Connection, &mut Vec<Event>) -> R,
    ) -> Result<R, Refusal> {
        let connection = self.connections.get_mut(&number).ok_or(Refusal::Unknown)?;
        let events = &mut self.events;
        match contained(|| work(connection, events)) {
            Ok(result) => {
                self.touch(number);
                Ok(result)
            }
            Err(reason) => {
                self.bury(number, reason);
                Err(Refusal::Unknown)
            }
        }
    }

    /// Do something with a connection that the caller has not closed.
    pub fn with_known<R>(
        &mut self,
        number: u64,
        work: impl FnOnce(&mut Connection, &mut Vec<Event>) -> R,
    ) -> Result<R, Refusal> {
        if !self
            .connections
            .get(&number)
            .is_some_and(Connection::is_known)
        {
            return Err(Refusal::Unknown);
        }
        self.with(number, work)
    }

    /// Look at a connection that the caller has not closed.
    pub fn get(&self, number: u64) -> Result<&Connection, Refusal> {
        let connection = self.connections.get(&number);
        connection
            .filter(|connection| connection.is_known())
            .ok_or(Refusal::Unknown)
    }

    /// Forget a connection that met a bug, and tell.
    fn bury(&mut self, number: u64, reason: String) {
        self.schedule(number, None);
        if let Some(mut connection) = self.connections.remove(&number) {
            connection.lose(Loss::bug(reason), &mut self.events);
            // Its state may be anything now; that it cannot be freed must not cost the others anything.
            let _ = contained(move || drop(connection));
        }
        if let Some(handle) = self.forget_handle(number) {
            let endpoint = &mut self.endpoint;
            let _ = contained(|| endpoint.handle_event(handle, EndpointEvent::drained()));
        }
    }

    /// The endpoint may use the handle of a connection again.
    fn forget_handle(&mut self, number: u64) -> Option<ConnectionHandle> {
        let handle = self.handles.remove(&number)?;
        self.numbers.remove(&handle);
        Some(handle)
    }

    fn forget_if_done(&mut self, number: u64) {
        if self
            .connections
            .get(&number)
            .is_some_and(Connection::is_done)
        {
            self.schedule(number, None);
            self.connections.remove(&number);
            self.forget_handle(number);
        }
    }

    fn transport(&mut self, size: u16) -> Result<Arc<TransportConfig>, Wrong> {
        if let Some(known) = self.transports.get(&size) {
            return Ok(known.clone());
        }
        let made = Arc::new(self.settings.transport(size)?);
        self.transports.insert(size, made.clone());
        Ok(made)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn add(
        &mut self,
        handle: ConnectionHandle,
        quic: quinn_proto::Connection,
        padding: Padding,
        now: Instant,
    ) -> u64 {
        let number = self.number();
        let terms = Terms {
            ahead: self.settings.ahead,
            send_window: self.settings.send_window,
            close_copies: self.settings.close_copies,
            keep_alive: self.settings.keep_alive,
        };
        let connection = Connection::new(number, quic, padding, terms, now);
        self.connections.insert(number, connection);
        self.numbers.insert(handle, number);
        self.handles.insert(number, handle);
        self.touch(number);
        number
    }

    /// Begin a connection, whose path takes datagrams of `size` bytes.
    pub fn connect(
        &mut self,
        remote: SocketAddr,
        check: CertificateCheck,
        size: u16,
        now: Instant,
    ) -> Result<u64, Refusal> {
        let padding = Padding::default();
        let crypto = self.credentials.client(check, &padding).map_err(ours)?;
        let mut config = ClientConfig::new(crypto);
        config
            .transport_config(self.transport(size)?)
            .version(VERSION)
            // By default tokens are kept by name, and all our peers have the same.
            .token_store(Arc::new(NoneTokenStore));
        let (handle, quic) = self
            .endpoint
            .connect(now, config, remote, "libp2p")
            .map_err(|error| match error {
                ConnectError::InvalidRemoteAddress(_) => Refusal::Wrong(error.to_string()),
                error => ours(error),
            })?;
        Ok(self.add(handle, quic, padding, now))
    }

    /// Tell the peer of a connection that it is over; the caller does not know it any more.
    pub fn close(
        &mut self,
        number: u64,
        code: u64,
        reason: &[u8],
        now: Instant,
    ) -> Result<(), Refusal> {
        let code = crate::settings::variable(code)?;
        self.with_known(number, |connection, _| connection.close(code, reason, now))?;
        self.events
            .retain(|event| event.connection() != Some(number));
        if !self.handles.contains_key(&number) {
            self.forget_if_done(number);
        }
        Ok(())
    }

    // ---- arrivals

    /// Let connections arrive, or no more; those that arrived stay until they are decided on.
    pub fn listen(&mut self, enabled: bool) {
        self.listening = enabled;
    }

    /// Let connections from this address arrive, or no more: listening or not, and beyond the backlog.
    pub fn expect(&mut self, remote: SocketAddr, expected: bool) {
        if expected {
            self.expected.insert(remote);
        } else {
            self.expected.remove(&remote);
        }
    }

    fn may_arrive(&self, remote: SocketAddr) -> bool {
        self.listening || self.expected.contains(&remote)
    }

    fn arrive(&mut self, incoming: Incoming, size: usize) {
        let remote = incoming.remote_address();
        let full = self.arrivals.len() >= self.settings.backlog;
        if !self.may_arrive(remote) || (full && !self.expected.contains(&remote)) {
            self.endpoint.ignore(incoming);
            return;
        }
        let arrival = self.number();
        self.events.push(Event::Arrived {
            arrival,
            remote,
            local: incoming.local_ip(),
            validated: incoming.remote_address_validated(),
        });
        self.arrivals.insert(arrival, (incoming, size));
    }

    fn take_arrival(&mut self, arrival: u64) -> Result<(Incoming, usize), Refusal> {
        self.arrivals.remove(&arrival).ok_or(Refusal::Unknown)
    }

    /// Let a connection in, whose path takes datagrams of `size` bytes.
    pub fn accept(
        &mut self,
        arrival: u64,
        check: CertificateCheck,
        size: u16,
        now: Instant,
    ) -> Result<u64, Refusal> {
        let transport = self.transport(size)?;
        let padding = Padding::default();
        let mut config = self.server.clone();
        config.crypto = self.credentials.server(check, &padding).map_err(ours)?;
        config.transport = transport;
        let (incoming, size) = self.take_arrival(arrival)?;
        let proved = incoming.remote_address_validated();
        let mut answer = self.out.buffer();
        let endpoint = &mut self.endpoint;
        #[allow(clippy::result_large_err)] // quinn-proto's
        let accepted =
            contained(|| endpoint.accept(incoming, now, &mut answer, Some(Arc::new(config))));
        match accepted {
            Ok(Ok((handle, quic))) => {
                self.out.recycle(answer);
                let number = self.add(handle, quic, padding, now);
                if let Some(connection) = self.connections.get_mut(&number)
                    && !proved
                {
                    connection.doubt_address(size);
                }
                Ok(number)
            }
            Ok(Err(AcceptError { cause, response })) => {
                if let Some(transmit) = response {
                    self.send(&transmit, answer);
                }
                Err(Refusal::Lost(cause.into()))
            }
            Err(reason) => Err(Refusal::Lost(Loss::bug(reason))),
        }
    }

    /// Answer CONNECTION_REFUSED.
    pub fn refuse(&mut self, arrival: u64) -> Result<(), Refusal> {
        let (incoming, _) = self.take_arrival(arrival)?;
        let mut answer = self.out.buffer();
        let transmit = self.endpoint.refuse(incoming, &mut answer);
        self.send(&transmit, answer);
        Ok(())
    }

    /// Ask for proof that the peer receives what is sent to its address (Retry); false if it has given that.
    pub fn retry(&mut self, arrival: u64) -> Result<bool, Refusal> {
        let (incoming, size) = self.take_arrival(arrival)?;
        let mut answer = self.out.buffer();
        match self.endpoint.retry(incoming, &mut answer) {
            Ok(transmit) => {
                self.send(&transmit, answer);
                Ok(true)
            }
            Err(error) => {
                self.arrivals.insert(arrival, (error.into_incoming(), size));
                Ok(false)
            }
        }
    }

    /// Forget an arrival without a word.
    pub fn ignore(&mut self, arrival: u64) -> Result<(), Refusal> {
        let (incoming, _) = self.take_arrival(arrival)?;
        self.endpoint.ignore(incoming);
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for (_, (incoming, _)) in self.arrivals.drain() {
            self.endpoint.ignore(incoming); // quinn-proto complains of those that were not decided on
        }
    }
}

/// So many a second, of what unknown addresses could make us do.
struct Allowance {
    rate: f64,
    left: f64,
    updated: Instant,
}

impl Allowance {
    fn new(rate: f64, now: Instant) -> Self {
        Self {
            rate,
            left: rate,
            updated: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = now;
        self.left = (self.left + passed * self.rate).min(self.rate);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// Run what could meet a bug; what a panic said if it does.
fn contained<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| words(&*panic))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").into()
}

fn ours(error: impl std::fmt::Display) -> Refusal {
    Refusal::Lost(Loss::bug(error.to_string()))
}

/// A key for the tokens of Retry packets, which only this process knows.
fn token_key() -> Arc<dyn quinn_proto::crypto::HandshakeTokenKey> {
    let mut secret = [0; 32];
    SystemRandom::new()
        .fill(&mut secret)
        .expect("the system has random numbers");
    Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&secret))
}

#[cfg(test)]
mod tests;
