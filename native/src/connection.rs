//! One connection: quinn-proto's, its streams, and what is known of the peer.

use crate::events::{Event, Loss};
use crate::padding::Padding;
use crate::streams::{Ahead, Streams, stream_id};
use bytes::Bytes;
use quinn_proto::{
    ConnectionEvent, ConnectionHandle, Dir, Endpoint, Event as QuicEvent, FrameStats, Side,
    StreamEvent, StreamId, VarInt,
};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Datagrams in one batch, and bytes: what the kernel takes at once (UDP_SEGMENT).
const BATCH_DATAGRAMS: usize = 64;
const BATCH_BYTES: usize = 65_000;
/// Buffers of a batch that are kept to be written again.
const SPARE_BUFFERS: usize = 8;
/// Round trips after which writes wait for those who want to know that all arrived: without that, a stream that is
/// always busy would keep them waiting for ever.
const PATIENCE: u32 = 4;

/// Datagrams to one address: all of `segment` bytes, but for the last, which may be shorter.
pub struct Batch {
    pub remote: SocketAddr,
    /// Where to send from, on sockets bound to all addresses.
    pub local: Option<IpAddr>,
    pub segment: usize,
    pub ecn: u8,
    pub data: Vec<u8>,
}

impl Batch {
    /// How many there are.
    pub fn datagrams(&self) -> usize {
        self.data.len().div_ceil(self.segment.max(1))
    }
}

/// What is to be sent, and buffers to write it into.
#[derive(Default)]
pub struct Outbox {
    pub batches: Vec<Batch>,
    spare: Vec<Vec<u8>>,
}

impl Outbox {
    /// An empty buffer.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Take back a buffer that is not needed any more.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// A connection.
pub struct Connection {
    pub number: u64,
    pub quic: quinn_proto::Connection,
    pub streams: Streams,
    padding: Padding,
    life: Life,
    connected: bool,
    /// When a sign of the peer is to be told: once more than so many frames of it were received.
    answer_after: Option<u64>,
    remote: SocketAddr,
    /// Until a peer that dialed us has proved its address.
    unproved: Option<Unproved>,
    send_window: u64,
    close_copies: u32,
    keep_alive: Option<Duration>,
    /// When the peer was last heard of, and last asked.
    heard: Instant,
    asked: Instant,
    unanswered_since: Option<Instant>,
    /// Frames sent that the peer has to acknowledge.
    asking_frames: u64,
    /// Whether the peer's id in use is the one from the handshake.
    first_id: bool,
    marks: Vec<Mark>,
    latest_mark: u64,
    /// Whether writes were put off for them.
    held: bool,
    /// Whether it waits to be driven.
    pub dirty: bool,
    /// As it stands in the engine's list.
    pub deadline: Option<Instant>,
}

/// What the caller knows of a connection.
#[derive(Clone, Copy, PartialEq)]
enum Life {
    Open,
    /// The caller was told that it ended.
    Lost,
    /// The caller wants no more events of it.
    Closed,
}

/// What a peer sent in its first datagram, and what it was sent.
struct Unproved {
    first: usize,
    sent: usize,
}

/// The caller wants to know when all that was written has arrived.
struct Mark {
    number: u64,
    since: Instant,
    ends: HashSet<u64>,
    data: bool,
}

/// What the engine's settings say of each connection.
pub struct Terms {
    pub ahead: Ahead,
    pub send_window: u64,
    pub close_copies: u32,
    pub keep_alive: Option<Duration>,
}

impl Connection {
    pub fn new(
        number: u64,
        quic: quinn_proto::Connection,
        padding: Padding,
        terms: Terms,
        now: Instant,
    ) -> Self {
        Self {
            number,
            remote: quic.remote_address(),
            first_id: quic.side() == Side::Server,
            quic,
            unproved: None,
            streams: Streams::new(terms.ahead),
            padding,
            life: Life::Open,
            connected: false,
            answer_after: Some(0),
            send_window: terms.send_window,
            close_copies: terms.close_copies,
            keep_alive: terms.keep_alive,
            heard: now,
            asked: now,
            unanswered_since: None,
            asking_frames: 0,
            marks: vec![],
            latest_mark: 0,
            held: false,
            dirty: false,
            deadline: None,
        }
    }

    /// Send no more than three times what came until the peer has proved its address (RFC 9000, section 8.1).
    ///
    /// quinn-proto sends a datagram as long as there is room for one byte of it.
    pub fn doubt_address(&mut self, first: usize) {
        self.unproved = Some(Unproved { first, sent: 0 });
    }

    // ---- what is known

    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The smoothed round-trip time, once measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.connected.then(|| self.quic.rtt())
    }

    /// When something was first sent that the peer has to acknowledge, after it was last heard of.
    pub fn unanswered_since(&self) -> Option<Instant> {
        self.unanswered_since
    }

    /// Whether the caller may still use it.
    pub fn is_known(&self) -> bool {
        self.life != Life::Closed
    }

    /// Whether nothing has to be kept of it: no caller knows it, and no datagram will be answered.
    pub fn is_done(&self) -> bool {
        self.life == Life::Closed && self.quic.is_drained()
    }

    // ---- datagrams and time

    /// Take a datagram; from another IP address it does not count.
    ///
    /// A NAT may give the peer another port, but a peer that moves would escape what is counted by address.
    pub fn receive(
        &mut self,
        remote: SocketAddr,
        datagram: ConnectionEvent,
        now: Instant,
        events: &mut Vec<Event>,
    ) {
        if remote.ip() != self.remote.ip() {
            return;
        }
        self.heard = now;
        self.unanswered_since = None;
        self.quic.handle_event(datagram);
        self.collect(events);
    }

    /// When time matters next.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let quic = self.quic.poll_timeout();
        let ask = self.next_ask();
        match (quic, ask) {
            (Some(quic), Some(ask)) => Some(quic.min(ask)),
            (quic, ask) => quic.or(ask),
        }
    }

    fn next_ask(&self) -> Option<Instant> {
        let interval = self.keep_alive.filter(|_| self.connected)?;
        (!self.quic.is_closed()).then(|| self.heard.max(self.asked) + interval)
    }

    /// Run what is due.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.next_ask().is_some_and(|due| due <= now) {
            self.asked = now;
            self.quic.ping();
            self.padding.set(true);
        }
        if self.unanswered_since.is_some() {
            self.padding.set(true); // what the peer did not acknowledge is asked for with PINGs, too
        }
        self.quic.handle_timeout(now);
    }

    /// Write what may go out now, about `limit` datagrams, and note what happened; true if there is more to send.
    pub fn drive(
        &mut self,
        endpoint: &mut Endpoint,
        handle: ConnectionHandle,
        now: Instant,
        limit: usize,
        out: &mut Outbox,
        events: &mut Vec<Event>,
    ) -> bool {
        let mut room = limit;
        loop {
            self.collect(events);
            let more = self.transmit(now, &mut room, out);
            let mut again = false;
            while let Some(event) = self.quic.poll_endpoint_events() {
                if let Some(event) = endpoint.handle_event(handle, event) {
                    self.quic.handle_event(event);
                    again = true;
                }
            }
            if more || !again {
                self.collect(events);
                return more;
            }
        }
    }

    fn transmit(&mut self, now: Instant, room: &mut usize, out: &mut Outbox) -> bool {
        let ending = self.quic.is_closed();
        let first = out.batches.len();
        while *room > 0 {
            let mtu = usize::from(self.quic.current_mtu());
            let datagrams = (BATCH_BYTES / mtu).clamp(1, BATCH_DATAGRAMS).min(*room);
            let mut data = out.buffer();
            let Some(transmit) = self.quic.poll_transmit(now, datagrams, &mut data) else {
                out.recycle(data);
                self.padding.set(false);
                break;
            };
            let segment = transmit.segment_size.unwrap_or(transmit.size);
            *room = room.saturating_sub(transmit.size.div_ceil(segment));
            data.truncate(self.permitted(transmit.size, segment));
            if data.is_empty() {
                out.recycle(data); // as if it were lost: it is sent again when the peer has said more
                continue;
            }
            out.batches.push(Batch {
                remote: transmit.destination,
                local: transmit.src_ip,
                segment,
                ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
                data,
            });
        }
        if out.batches.len() > first {
            self.note_asking(now);
            if ending && self.connected {
                self.repeat(&mut out.batches);
            }
        }
        *room == 0
    }

    /// How much of a batch may be sent, in whole datagrams.
    fn permitted(&mut self, size: usize, segment: usize) -> usize {
        let Some(unproved) = &mut self.unproved else {
            return size;
        };
        let came = unproved.first + self.quic.stats().udp_rx.bytes as usize;
        let room = (3 * came).saturating_sub(unproved.sent);
        let permitted = if size <= room {
            size
        } else {
            room / segment * segment
        };
        unproved.sent += permitted;
        permitted
    }

    /// Note whether something was sent that the peer has to acknowledge.
    fn note_asking(&mut self, now: Instant) {
        let sent = asking_frames(&self.quic.stats().frame_tx);
        if sent != self.asking_frames {
            self.asking_frames = sent;
            self.unanswered_since.get_or_insert(now);
        }
    }

    /// Send the last datagram more than once: who misses it waits for the idle timeout.
    fn repeat(&mut self, batches: &mut Vec<Batch>) {
        let copies = std::mem::replace(&mut self.close_copies, 1);
        let last = batches.len() - 1;
        for _ in 1..copies {
            let data = batches[last].data.clone();
            batches.push(Batch {
                data,
                ..batches[last]
            });
        }
    }

    // ---- events

    /// Note what happened since the last call.
    fn collect(&mut self, events: &mut Vec<Event>) {
        let first = events.len();
        self.note_answer(events); // before the end, which may have come with it
        while let Some(event) = self.quic.poll() {
            self.translate(event, events);
        }
        self.note_move(events);
        self.note_acknowledged(events);
        self.use_an_id_with_a_token();
        if self.life == Life::Closed {
            events.truncate(first);
        }
    }

    fn translate(&mut self, event: QuicEvent, events: &mut Vec<Event>) {
        let connection = self.number;
        match event {
            QuicEvent::Connected => {
                self.connected = true;
                self.unproved = None;
                events.push(Event::Connected { connection });
            }
            QuicEvent::ConnectionLost { reason } => self.lose(reason.into(), events),
            QuicEvent::Stream(event) => self.translate_stream(event, events),
            QuicEvent::HandshakeDataReady
            | QuicEvent::DatagramReceived
            | QuicEvent::DatagramsUnblocked => {}
        }
    }

    fn translate_stream(&mut self, event: StreamEvent, events: &mut Vec<Event>) {
        let connection = self.number;
        match event {
            StreamEvent::Opened { dir } => {
                while let Some(id) = self.quic.streams().accept(dir) {
                    let stream = id.into();
                    self.streams.opened(id);
                    events.push(Event::Opened { connection, stream });
                    self.readable(id, events);
                }
            }
            StreamEvent::Readable { id } => self.readable(id, events),
            StreamEvent::Writable { id } => {
                let stream = id.into();
                if self.streams.writable(stream) {
                    events.push(Event::Writable { connection, stream });
                }
            }
            StreamEvent::Finished { id } => {
                let stream = id.into();
                self.sent(id);
                events.push(Event::Finished { connection, stream });
            }
            StreamEvent::Stopped { id, error_code } => {
                events.push(Event::Stopped {
                    connection,
                    stream: id.into(),
                    code: error_code.into_inner(),
                });
                // As RFC 9000, section 3.5, wants it answered.
                self.reset(id, error_code);
            }
            StreamEvent::Available { .. } => events.push(Event::Available { connection }),
        }
    }

    fn readable(&mut self, id: StreamId, events: &mut Vec<Event>) {
        self.streams
            .readable(&mut self.quic, self.number, id, events);
    }

    /// The connection is over: tell it once.
    pub fn lose(&mut self, loss: Loss, events: &mut Vec<Event>) {
        if self.life == Life::Open {
            self.life = Life::Lost;
            events.push(Event::Lost {
                connection: self.number,
                loss,
            });
        }
    }

    fn note_answer(&mut self, events: &mut Vec<Event>) {
        if let Some(frames) = self.answer_after
            && self.frames_received() > frames
        {
            self.answer_after = None;
            events.push(Event::Answered {
                connection: self.number,
            });
        }
    }

    fn frames_received(&self) -> u64 {
        let received = self.quic.stats().frame_rx;
        asking_frames(&received) + received.acks + received.connection_close
    }

    fn note_move(&mut self, events: &mut Vec<Event>) {
        let remote = self.quic.remote_address();
        if remote != self.remote {
            self.remote = remote;
            events.push(Event::Moved {
                connection: self.number,
                remote,
            });
        }
    }

    /// The first id of a client has no reset token (RFC 9000, 10.3): use one that has, or its restart goes unnoticed.
    fn use_an_id_with_a_token(&mut self) {
        if self.first_id && self.connected && self.quic.stats().frame_rx.new_connection_id > 0 {
            self.first_id = false;
            self.quic.local_address_changed();
        }
    }

    // ---- acknowledgements

    /// Ask to be told when all written so far has arrived.
    pub fn mark(&mut self, now: Instant) -> u64 {
        self.latest_mark += 1;
        self.marks.push(Mark {
            number: self.latest_mark,
            since: now,
            ends: self.streams.ending().clone(),
            data: true,
        });
        self.latest_mark
    }

    fn note_acknowledged(&mut self, events: &mut Vec<Event>) {
        if self.marks.is_empty() || self.life != Life::Open {
            return;
        }
        let connection = self.number;
        if self.marks.iter().any(|mark| mark.data)
            && self
                .streams
                .nothing_buffered(&mut self.quic, self.send_window)
        {
            self.marks.iter_mut().for_each(|mark| mark.data = false);
            if std::mem::take(&mut self.held) {
                self.streams.release(connection, events);
            }
        }
        self.marks.retain(|mark| {
            let waits = mark.data || !mark.ends.is_empty();
            if !waits {
                events.push(Event::Acknowledged {
                    connection,
                    mark: mark.number,
                });
            }
            waits
        });
    }

    /// Whether writes have to wait, since the caller has waited for acknowledgements long enough.
    fn holds_writes(&self, now: Instant) -> bool {
        let patience = self.quic.rtt() * PATIENCE;
        self.marks
            .first()
            .is_some_and(|mark| mark.data && mark.since + patience <= now)
    }

    /// Nothing of a stream has to be acknowledged any more.
    fn sent(&mut self, id: StreamId) {
        let stream = id.into();
        self.streams.sent(stream);
        for mark in &mut self.marks {
            mark.ends.remove(&stream);
        }
    }

    // ---- called by the caller

    pub fn open(&mut self) -> Option<u64> {
        let id = self.quic.streams().open(Dir::Bi)?;
        self.streams.opened(id);
        Some(id.into())
    }

    /// See `Streams::write`.
    pub fn write(&mut self, stream: u64, data: &[u8], end: bool, now: Instant) -> Option<usize> {
        let id = stream_id(stream).filter(|_| !self.quic.is_closed())?;
        if !data.is_empty() && self.holds_writes(now) {
            self.held = true;
            self.streams.hold(id);
            return Some(0);
        }
        self.streams.write(&mut self.quic, id, data, end)
    }

    /// Take up to `size` bytes; the pieces, their size, and whether the end came after them. See `Streams::read`.
    pub fn read(
        &mut self,
        stream: u64,
        size: usize,
        events: &mut Vec<Event>,
    ) -> Option<(Vec<Bytes>, usize, bool)> {
        let read = self
            .streams
            .read(&mut self.quic, stream_id(stream)?, size)?;
        if let Some(code) = read.reset {
            events.push(Event::Reset {
                connection: self.number,
                stream,
                code,
            });
        }
        (read.size > 0 || read.end).then_some((read.chunks, read.size, read.end))
    }

    pub fn reset(&mut self, id: StreamId, code: VarInt) {
        self.streams.reset(&mut self.quic, id, code);
        self.sent(id);
    }

    pub fn stop(&mut self, id: StreamId, code: VarInt) {
        self.streams.stop(&mut self.quic, id, code);
    }

    /// Ask the peer for a sign of life.
    pub fn ping(&mut self) {
        self.answer_after = Some(self.frames_received());
        self.quic.ping();
        self.padding.set(true);
    }

    /// Tell the peer that it is over, and the caller nothing any more.
    pub fn close(&mut self, code: VarInt, reason: &[u8], now: Instant) {
        self.life = Life::Closed;
        self.quic.close(now, code, Bytes::copy_from_slice(reason));
    }
}

/// Count the frames that have to be acknowledged (RFC 9000, section 13.2): all but these three.
fn asking_frames(sent: &FrameStats) -> u64 {
    sent.crypto
        + sent.data_blocked
        + sent.datagram
        + u64::from(sent.handshake_done)
        + sent.immediate_ack
        + sent.max_data
        + sent.max_stream_data
        + sent.max_streams_bidi
        + sent.max_streams_uni
        + sent.new_connection_id
        + sent.new_token
        + sent.path_challenge
        + sent.path_response
        + sent.ping
        + sent.reset_stream
        + sent.retire_connection_id
        + sent.stream_data_blocked
        + sent.streams_blocked_bidi
        + sent.streams_blocked_uni
        + sent.stop_sending
        + sent.stream
}
