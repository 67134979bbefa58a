//! Two engines that hand each other datagrams in simulated time.

use crate::engine::{Engine, Received};
use crate::events::Event;
use crate::settings::Settings;
use crate::tls::Credentials;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Seconds that a datagram takes.
const DELAY: f64 = 0.01;

/// An engine with a certificate of its own.
pub fn engine() -> Engine {
    engine_with(Settings::default())
}

pub fn engine_with(settings: Settings) -> Engine {
    let made = rcgen::generate_simple_self_signed(["peer".into()]).unwrap();
    let key = made.key_pair.serialize_der();
    let credentials = Credentials::new(made.cert.der(), &key).unwrap();
    Engine::new(settings, credentials, &[7; 32], 0.0).unwrap()
}

/// Sees which engine a datagram is for, and the datagram.
type Tap = Box<dyn FnMut(usize, &mut Vec<u8>) -> bool>;

/// Two engines, which are the two ends of all datagrams.
pub struct Pair {
    pub engines: [Engine; 2],
    pub events: [Vec<Event>; 2],
    pub now: f64,
    /// Looks at each datagram before it arrives; false loses it.
    pub tap: Tap,
    /// Bytes of the datagrams that paths take.
    pub size: u16,
    under_way: VecDeque<(f64, usize, Vec<u8>)>,
    /// Where each engine seems to be.
    pub addresses: [SocketAddr; 2],
}

impl Pair {
    pub fn new() -> Self {
        Self::of([engine(), engine()])
    }

    pub fn of(engines: [Engine; 2]) -> Self {
        let mut pair = Self {
            engines,
            events: [vec![], vec![]],
            now: 0.0,
            tap: Box::new(|_, _| true),
            size: 1350,
            under_way: VecDeque::new(),
            addresses: ["10.0.0.1:1", "10.0.0.2:2"].map(|text| text.parse().unwrap()),
        };
        pair.engines[1].listen(true);
        pair
    }

    /// Begin a connection from the first engine to the second.
    pub fn connect(&mut self) -> u64 {
        let now = self.engines[0].clock.at(self.now);
        self.engines[0]
            .connect(self.addresses[1], Box::new(|_| true), self.size, now)
            .unwrap()
    }

    /// A connection that both ends know.
    pub fn connected(&mut self) -> (u64, u64) {
        let near = self.connect();
        self.run(1.0);
        let far = self.accept();
        self.run(1.0);
        assert!(self.events[0].contains(&Event::Connected { connection: near }));
        assert!(self.events[1].contains(&Event::Connected { connection: far }));
        (near, far)
    }

    /// Accept what arrived last.
    pub fn accept(&mut self) -> u64 {
        let arrival = self.arrival().expect("an arrival");
        let now = self.engines[1].clock.at(self.now);
        self.engines[1]
            .accept(arrival, Box::new(|_| true), self.size, now)
            .unwrap()
    }

    pub fn arrival(&self) -> Option<u64> {
        self.events[1].iter().rev().find_map(|event| match event {
            Event::Arrived { arrival, .. } => Some(*arrival),
            _ => None,
        })
    }

    /// Let so many seconds pass.
    pub fn run(&mut self, seconds: f64) {
        let end = self.now + seconds;
        loop {
            for side in 0..2 {
                self.flush(side);
            }
            let deadlines = self.engines.iter().filter_map(|engine| {
                engine
                    .next_deadline()
                    .map(|deadline| engine.clock.seconds(deadline))
            });
            let arrival = self.under_way.front().map(|&(at, ..)| at);
            let next = deadlines.chain(arrival).fold(end, f64::min);
            self.now = self.now.max(next);
            if self.now >= end {
                return;
            }
            while self
                .under_way
                .front()
                .is_some_and(|&(at, ..)| at <= self.now)
            {
                let (_, to, datagram) = self.under_way.pop_front().expect("the one looked at");
                self.deliver(to, &datagram);
            }
        }
    }

    fn flush(&mut self, side: usize) {
        let engine = &mut self.engines[side];
        let now = engine.clock.at(self.now);
        while engine.drive(now, 64) {}
        self.events[side].append(&mut engine.events);
        for batch in std::mem::take(&mut engine.out.batches) {
            for datagram in batch.data.chunks(batch.segment) {
                let mut datagram = datagram.to_vec();
                if (self.tap)(1 - side, &mut datagram) {
                    self.under_way
                        .push_back((self.now + DELAY, 1 - side, datagram));
                }
            }
        }
    }

    /// Give a datagram to an engine, as from the other.
    pub fn deliver(&mut self, to: usize, datagram: &[u8]) {
        let engine = &mut self.engines[to];
        let now = engine.clock.at(self.now);
        let received = Received {
            remote: self.addresses[1 - to],
            local: None,
            ecn: 0,
            data: datagram,
            segment: 0,
        };
        engine.receive(&received, now);
    }

    /// Replace an engine by one that has forgotten everything.
    pub fn restart(&mut self, side: usize) {
        self.engines[side] = engine();
        self.engines[side].listen(side == 1);
        self.engines[side].clock.at(self.now);
    }

    pub fn lost(&self, side: usize) -> Option<&Event> {
        let mut events = self.events[side].iter();
        events.find(|event| matches!(event, Event::Lost { .. }))
    }
}
