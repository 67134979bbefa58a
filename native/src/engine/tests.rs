use super::*;
use crate::events::Cause;
use crate::settings::Congestion;
use crate::testing::{Pair, engine, engine_with};
use std::cell::RefCell;
use std::rc::Rc;

/// As in the settings of tests.
const STREAM_AHEAD: usize = 128 << 10;
const CONNECTION_AHEAD: usize = 512 << 10;
/// The TLS alert `bad_certificate` as an error code of QUIC.
const BAD_CERTIFICATE: u64 = 0x100 + 42;

fn loss(event: Option<&Event>) -> &Loss {
    match event {
        Some(Event::Lost { loss, .. }) => loss,
        other => panic!("not lost: {other:?}"),
    }
}

fn write(
    pair: &mut Pair,
    side: usize,
    connection: u64,
    stream: u64,
    data: &[u8],
    end: bool,
) -> Option<usize> {
    let now = pair.engines[side].clock.latest();
    let engine = &mut pair.engines[side];
    engine
        .with_known(connection, |connection, _| {
            connection.write(stream, data, end, now)
        })
        .unwrap()
}

fn read(
    pair: &mut Pair,
    side: usize,
    connection: u64,
    stream: u64,
    size: usize,
) -> Option<(Vec<u8>, bool)> {
    let engine = &mut pair.engines[side];
    let read = engine.with_known(connection, |connection, events| {
        connection.read(stream, size, events)
    });
    read.unwrap().map(|(chunks, _, end)| (chunks.concat(), end))
}

fn open(pair: &mut Pair, side: usize, connection: u64) -> u64 {
    let opened = pair.engines[side].with_known(connection, |connection, _| connection.open());
    opened.unwrap().expect("the peer allows streams")
}

fn reset(pair: &mut Pair, side: usize, connection: u64, stream: u64, code: u32) {
    let id = crate::streams::stream_id(stream).unwrap();
    let engine = &mut pair.engines[side];
    engine
        .with_known(connection, |connection, _| {
            connection.reset(id, code.into())
        })
        .unwrap();
}

/// Write all, as far as the peer lets us while nothing is read.
fn fill(pair: &mut Pair, side: usize, connection: u64, stream: u64) -> usize {
    let (mut sent, data) = (0, vec![1; 1 << 20]);
    loop {
        let taken = write(pair, side, connection, stream, &data, false).unwrap();
        sent += taken;
        pair.run(1.0);
        if taken == 0 {
            return sent;
        }
    }
}

// ---- streams

#[test]
fn streams_carry_data_and_ends_both_ways() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 0, near);
    assert_eq!(
        write(&mut pair, 0, near, stream, b"question", true),
        Some(8)
    );
    pair.run(1.0);
    assert!(pair.events[1].contains(&Event::Opened {
        connection: far,
        stream
    }));
    assert!(pair.events[1].contains(&Event::Readable {
        connection: far,
        stream
    }));
    assert!(pair.events[0].contains(&Event::Finished {
        connection: near,
        stream
    }));
    assert_eq!(
        read(&mut pair, 1, far, stream, 100),
        Some((b"question".to_vec(), true))
    );
    assert_eq!(read(&mut pair, 1, far, stream, 100), None);
    write(&mut pair, 1, far, stream, b"answer", true);
    pair.run(1.0);
    assert_eq!(
        read(&mut pair, 0, near, stream, 3),
        Some((b"ans".to_vec(), false))
    );
    assert_eq!(
        read(&mut pair, 0, near, stream, 3),
        Some((b"wer".to_vec(), true))
    );
}

#[test]
fn a_reader_is_told_once_until_it_has_read_everything() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 0, near);
    let told = |pair: &Pair| {
        let readable = Event::Readable {
            connection: far,
            stream,
        };
        pair.events[1]
            .iter()
            .filter(|&event| *event == readable)
            .count()
    };
    for _ in 0..3 {
        write(&mut pair, 0, near, stream, b"ab", false);
        pair.run(1.0);
    }
    assert_eq!(told(&pair), 1);
    assert_eq!(
        read(&mut pair, 1, far, stream, 6),
        Some((b"ababab".to_vec(), false))
    );
    write(&mut pair, 0, near, stream, b"c", false);
    pair.run(1.0);
    assert_eq!(told(&pair), 2);
}

#[test]
fn what_arrived_before_a_reset_is_read_first() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 0, near);
    write(&mut pair, 0, near, stream, &[5; STREAM_AHEAD], false);
    pair.run(1.0);
    reset(&mut pair, 0, near, stream, 9);
    pair.run(1.0);
    let told = Event::Reset {
        connection: far,
        stream,
        code: 9,
    };
    assert_eq!(read(&mut pair, 1, far, stream, 1), Some((vec![5], false)));
    pair.run(0.1);
    assert!(!pair.events[1].contains(&told));
    let (rest, end) = read(&mut pair, 1, far, stream, STREAM_AHEAD).unwrap();
    assert_eq!((rest.len(), end), (STREAM_AHEAD - 1, false));
    pair.run(0.1);
    assert!(pair.events[1].contains(&told));
    assert_eq!(read(&mut pair, 1, far, stream, 1), None);
}

#[test]
fn a_reset_of_a_stream_that_was_read_is_told_without_a_read() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 0, near);
    reset(&mut pair, 0, near, stream, 3);
    pair.run(1.0);
    assert!(pair.events[1].contains(&Event::Reset {
        connection: far,
        stream,
        code: 3
    }));
}

#[test]
fn who_does_not_read_stops_the_peer_and_who_reads_lets_it_go_on() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 0, near);
    let sent = fill(&mut pair, 0, near, stream);
    let window = Settings::default().stream_window as usize;
    assert!((window..=window + STREAM_AHEAD).contains(&sent), "{sent}");
    pair.events[0].clear();
    let mut got = 0;
    while let Some((data, _)) = read(&mut pair, 1, far, stream, 10_000) {
        got += data.len();
    }
    assert_eq!(got, sent);
    pair.run(1.0);
    assert!(pair.events[0].contains(&Event::Writable {
        connection: near,
        stream
    }));
    assert!(write(&mut pair, 0, near, stream, b"more", false) == Some(4));
}

#[test]
fn all_streams_together_are_bounded() {
    let mut pair = Pair::new();
    let (near, _) = pair.connected();
    let sent: usize = (0..10)
        .map(|_| {
            let stream = open(&mut pair, 0, near);
            fill(&mut pair, 0, near, stream)
        })
        .sum();
    let window = Settings::default().connection_window as usize;
    assert!(
        (window..=window + CONNECTION_AHEAD).contains(&sent),
        "{sent}"
    );
}

#[test]
fn a_stream_that_the_peer_stopped_takes_nothing() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 0, near);
    write(&mut pair, 0, near, stream, b"x", false);
    pair.run(1.0);
    let id = crate::streams::stream_id(stream).unwrap();
    pair.engines[1]
        .with_known(far, |connection, _| connection.stop(id, 8u32.into()))
        .unwrap();
    pair.run(1.0);
    assert!(pair.events[0].contains(&Event::Stopped {
        connection: near,
        stream,
        code: 8
    }));
    assert_eq!(write(&mut pair, 0, near, stream, b"x", false), None);
}

#[test]
fn streams_beyond_the_limit_wait_until_others_end() {
    let few = || {
        engine_with(Settings {
            max_streams: 2,
            ..Settings::default()
        })
    };
    let mut pair = Pair::of([few(), few()]);
    let (near, far) = pair.connected();
    let streams = [open(&mut pair, 0, near), open(&mut pair, 0, near)];
    let third = pair.engines[0].with_known(near, |connection, _| connection.open());
    assert_eq!(third, Ok(None));
    for stream in streams {
        write(&mut pair, 0, near, stream, b"", true);
        pair.run(1.0);
        assert_eq!(read(&mut pair, 1, far, stream, 1), Some((vec![], true)));
        write(&mut pair, 1, far, stream, b"", true);
        pair.run(1.0);
        read(&mut pair, 0, near, stream, 1);
    }
    pair.run(1.0);
    assert!(pair.events[0].contains(&Event::Available { connection: near }));
    open(&mut pair, 0, near);
}

#[test]
fn marks_come_when_all_has_arrived() {
    let mut pair = Pair::new();
    let (near, _) = pair.connected();
    let (one, other) = (open(&mut pair, 0, near), open(&mut pair, 0, near));
    write(&mut pair, 0, near, one, &[0; 5000], false);
    write(&mut pair, 0, near, other, b"", true);
    let now = pair.engines[0].clock.latest();
    let mark = pair.engines[0]
        .with_known(near, |connection, _| connection.mark(now))
        .unwrap();
    let told = Event::Acknowledged {
        connection: near,
        mark,
    };
    pair.run(0.015);
    assert!(!pair.events[0].contains(&told));
    pair.run(1.0);
    assert!(pair.events[0].contains(&told));
}

#[test]
fn marks_come_while_a_stream_is_always_busy() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let busy = open(&mut pair, 0, near);
    write(&mut pair, 0, near, busy, &[0; 100_000], false);
    let now = pair.engines[0].clock.latest();
    let mark = pair.engines[0]
        .with_known(near, |connection, _| connection.mark(now))
        .unwrap();
    let told = Event::Acknowledged {
        connection: near,
        mark,
    };
    let mut after = 0;
    for _ in 0..1000 {
        after += write(&mut pair, 0, near, busy, &[0; 20_000], false).unwrap();
        pair.run(0.005);
        while read(&mut pair, 1, far, busy, 1 << 20).is_some() {}
        if pair.events[0].contains(&told) {
            pair.run(0.1);
            assert!(after > 0);
            assert!(pair.events[0].contains(&Event::Writable {
                connection: near,
                stream: busy
            }));
            assert!(write(&mut pair, 0, near, busy, b"x", false) == Some(1));
            return;
        }
    }
    panic!("the mark never came");
}

// ---- handshakes

#[test]
fn a_peer_that_the_dialer_refuses_is_told() {
    let mut pair = Pair::new();
    let now = pair.engines[0].clock.at(0.0);
    let connection = pair.engines[0]
        .connect(pair.addresses[1], Box::new(|_| false), 1350, now)
        .unwrap();
    pair.run(1.0);
    pair.accept();
    pair.run(1.0);
    assert!(!pair.events[0].contains(&Event::Connected { connection }));
    assert!(pair.events[0].contains(&Event::Answered { connection }));
    let (near, far) = (loss(pair.lost(0)), loss(pair.lost(1)));
    assert_eq!((near.cause, near.code), (Cause::Broken, BAD_CERTIFICATE));
    assert_eq!((far.cause, far.code), (Cause::Aborted, BAD_CERTIFICATE));
}

#[test]
fn a_peer_that_the_listener_refuses_is_told() {
    let mut pair = Pair::new();
    pair.connect();
    pair.run(1.0);
    let (arrival, now) = (pair.arrival().unwrap(), pair.engines[1].clock.latest());
    let seen = Arc::new(std::sync::Mutex::new(vec![]));
    let shown = seen.clone();
    let check: CertificateCheck = Box::new(move |certificates| {
        shown.lock().unwrap().push(certificates.len());
        false
    });
    let far = pair.engines[1].accept(arrival, check, 1350, now).unwrap();
    pair.run(1.0);
    assert_eq!(*seen.lock().unwrap(), [1]);
    assert!(!pair.events[1].contains(&Event::Connected { connection: far }));
    assert_eq!(loss(pair.lost(1)).code, BAD_CERTIFICATE);
    assert_eq!(loss(pair.lost(0)).code, BAD_CERTIFICATE);
}

#[test]
fn arrivals_are_refused_retried_or_ignored() {
    let mut pair = Pair::new();
    pair.connect();
    pair.run(0.1);
    let arrival = pair.arrival().unwrap();
    assert_eq!(pair.engines[1].retry(arrival), Ok(true));
    pair.run(0.1);
    let again = pair.arrival().unwrap();
    assert_ne!(again, arrival);
    let validated = pair.events[1].iter().any(|event| {
        matches!(
            event,
            Event::Arrived {
                validated: true,
                ..
            }
        )
    });
    assert!(validated);
    assert_eq!(pair.engines[1].retry(again), Ok(false));
    assert_eq!(pair.engines[1].refuse(again), Ok(()));
    assert_eq!(pair.engines[1].refuse(again), Err(Refusal::Unknown));
    pair.run(0.1);
    let refused = loss(pair.lost(0));
    assert_eq!((refused.cause, refused.code), (Cause::Aborted, 2));
    pair.connect();
    pair.run(0.1);
    let ignored = pair.arrival().unwrap();
    assert_eq!(pair.engines[1].ignore(ignored), Ok(()));
    pair.run(3.0);
    assert_ne!(pair.arrival(), Some(ignored));
}

#[test]
fn an_address_that_is_not_proved_is_sent_three_times_what_came_and_no_more() {
    for size in [1200, 1350, 16_000] {
        let mut pair = Pair::new();
        pair.size = size;
        pair.connect();
        pair.run(0.02);
        let (came, sent) = (Rc::new(RefCell::new(1200)), Rc::new(RefCell::new(0)));
        let (counted, said) = (came.clone(), sent.clone());
        pair.tap = Box::new(move |to, datagram| {
            if to == 0 {
                *said.borrow_mut() += datagram.len();
                return false; // the peer hears nothing, and repeats what it said once
            }
            *counted.borrow_mut() += datagram.len();
            *counted.borrow() <= 2400
        });
        pair.accept();
        pair.run(20.0);
        let (came, sent) = (2400.min(*came.borrow()), *sent.borrow());
        assert!(sent > came, "{came} {sent}");
        assert!(sent <= 3 * came, "{size}: {sent} for {came}");
    }
}

#[test]
fn who_does_not_listen_says_nothing_to_who_arrives() {
    let mut pair = Pair::new();
    pair.connect();
    pair.run(0.1);
    pair.engines[1].listen(false);
    let arrival = pair.arrival().unwrap();
    assert_eq!(pair.engines[1].ignore(arrival), Ok(()));
    let said = Rc::new(RefCell::new(0));
    let counter = said.clone();
    pair.tap = Box::new(move |to, _| {
        *counter.borrow_mut() += usize::from(to == 0);
        true
    });
    pair.run(5.0);
    assert_eq!(*said.borrow(), 0);
}

#[test]
fn who_is_expected_arrives_without_a_listener_and_beyond_the_backlog() {
    let mut pair = Pair::of([
        engine(),
        engine_with(Settings {
            backlog: 0,
            ..Settings::default()
        }),
    ]);
    pair.connect();
    pair.run(5.0);
    assert_eq!(pair.arrival(), None);
    pair.engines[1].listen(false);
    let address = pair.addresses[0];
    pair.engines[1].expect(address, true);
    pair.connected();
    pair.engines[1].expect(address, false);
    pair.events[1].clear();
    pair.connect();
    pair.run(5.0);
    assert_eq!(pair.arrival(), None);
}

#[test]
fn who_speaks_other_versions_is_told_as_that() {
    for first in [0x80, 0xc0] {
        let mut pair = Pair::new();
        pair.connect();
        pair.tap = Box::new(|_, _| false);
        let now = pair.engines[0].clock.at(0.0);
        while pair.engines[0].drive(now, 64) {}
        let sent = std::mem::take(&mut pair.engines[0].out.batches);
        let (ours, theirs) = sent[0].data[5..].split_at(1 + usize::from(sent[0].data[5]));
        let theirs = &theirs[..1 + usize::from(theirs[0])];
        let answer = [
            &[first, 0, 0, 0, 0],
            theirs,
            ours,
            &[0x1a, 0x2a, 0x3a, 0x4a],
        ]
        .concat();
        pair.deliver(0, &answer);
        pair.run(0.1);
        assert_eq!(loss(pair.lost(0)).cause, Cause::Version);
    }
}

#[test]
fn other_versions_are_told_which_we_speak() {
    let mut pair = Pair::new();
    let mut datagram = vec![0; 1200];
    datagram[..7].copy_from_slice(&[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1]);
    pair.deliver(1, &datagram);
    let answer = &pair.engines[1].out.batches[0].data;
    assert_eq!(answer[1..5], [0; 4]);
    assert!(answer.ends_with(&[0, 0, 0, 1]));
    pair.engines[1].out.batches.clear();
    pair.engines[1].listen(false);
    pair.deliver(1, &datagram);
    assert!(pair.engines[1].out.batches.is_empty());
}

// ---- ends

#[test]
fn a_close_reaches_the_peer_with_its_code_and_reason() {
    let mut pair = Pair::new();
    let (near, _) = pair.connected();
    let now = pair.engines[0].clock.at(pair.now);
    pair.engines[0].close(near, 42, b"enough", now).unwrap();
    assert_eq!(
        pair.engines[0].close(near, 42, b"", now),
        Err(Refusal::Unknown)
    );
    pair.run(1.0);
    let told = loss(pair.lost(1));
    assert_eq!(
        (told.cause, told.code, &*told.reason),
        (Cause::Closed, 42, "enough")
    );
    assert!(pair.lost(0).is_none());
    pair.run(10.0);
    assert!(pair.engines[0].connections.is_empty() && pair.engines[0].handles.is_empty());
    assert!(pair.engines[0].deadlines.is_empty());
}

#[test]
fn nothing_is_told_of_a_connection_that_was_closed() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 1, far);
    write(&mut pair, 1, far, stream, b"x", false);
    let now = pair.engines[1].clock.at(pair.now);
    while pair.engines[1].drive(now, 64) {}
    for batch in std::mem::take(&mut pair.engines[1].out.batches) {
        pair.deliver(0, &batch.data);
    }
    assert!(!pair.engines[0].events.is_empty());
    let now = pair.engines[0].clock.at(pair.now);
    pair.engines[0].close(near, 0, b"", now).unwrap();
    pair.events[0].clear();
    pair.run(5.0);
    assert_eq!(pair.events[0], []);
}

#[test]
fn a_close_goes_out_more_than_once() {
    let mut pair = Pair::of([
        engine_with(Settings {
            close_copies: 3,
            ..Settings::default()
        }),
        engine(),
    ]);
    let (near, _) = pair.connected();
    let now = pair.engines[0].clock.at(pair.now);
    pair.engines[0].close(near, 0, b"", now).unwrap();
    while pair.engines[0].drive(now, 64) {}
    assert_eq!(pair.engines[0].out.batches.len(), 3);
}

#[test]
fn what_arrived_is_read_after_the_end() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 0, near);
    write(&mut pair, 0, near, stream, &[1; 200_000], false);
    pair.run(1.0);
    let now = pair.engines[0].clock.at(pair.now);
    pair.engines[0].close(near, 0, b"", now).unwrap();
    pair.run(20.0);
    assert!(pair.lost(1).is_some());
    let mut got = 0;
    while let Some((data, _)) = read(&mut pair, 1, far, stream, 1 << 20) {
        got += data.len();
    }
    assert_eq!(got, 200_000);
    let now = pair.engines[1].clock.at(pair.now);
    pair.engines[1].close(far, 0, b"", now).unwrap();
    assert!(pair.engines[1].connections.is_empty());
}

#[test]
fn silence_ends_a_connection_and_signs_of_life_keep_it() {
    let mut pair = Pair::new();
    pair.connected();
    pair.run(300.0);
    assert!(pair.lost(0).is_none() && pair.lost(1).is_none());
    pair.tap = Box::new(|_, _| false);
    pair.run(50.0);
    assert_eq!(loss(pair.lost(0)).cause, Cause::TimedOut);
    assert_eq!(loss(pair.lost(1)).cause, Cause::TimedOut);
}

#[test]
fn pings_are_large_enough_to_be_answered_by_a_stateless_reset() {
    let mut pair = Pair::new();
    let (near, _) = pair.connected();
    pair.run(1.0);
    let sizes = Rc::new(RefCell::new(vec![]));
    let seen = sizes.clone();
    pair.tap = Box::new(move |to, datagram| {
        if to == 1 {
            seen.borrow_mut().push(datagram.len());
        }
        true
    });
    pair.events[0].clear();
    pair.engines[0]
        .with_known(near, |connection, _| connection.ping())
        .unwrap();
    pair.run(0.1);
    assert!(sizes.borrow()[0] >= 43, "{sizes:?}");
    assert_eq!(pair.events[0], [Event::Answered { connection: near }]);
    // Data and acknowledgements are not padded.
    sizes.borrow_mut().clear();
    let stream = open(&mut pair, 0, near);
    write(&mut pair, 0, near, stream, b"x", false);
    pair.run(0.1);
    assert!(sizes.borrow().iter().all(|&size| size < 43), "{sizes:?}");
}

#[test]
fn a_restarted_peer_is_noticed_at_the_next_keepalive() {
    for restarted in [0, 1] {
        let mut pair = Pair::new();
        pair.connected();
        pair.run(1.0);
        pair.restart(restarted);
        pair.run(20.0);
        let told = loss(pair.lost(1 - restarted));
        assert_eq!(told.cause, Cause::Reset, "{restarted}");
    }
}

#[test]
fn a_peer_may_change_its_port_but_not_its_address() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 0, near);
    let moved: SocketAddr = "10.0.0.1:4444".parse().unwrap();
    pair.addresses[0] = moved;
    write(&mut pair, 0, near, stream, b"x", false);
    pair.run(1.0);
    assert!(pair.events[1].contains(&Event::Moved {
        connection: far,
        remote: moved
    }));
    assert!(read(&mut pair, 1, far, stream, 9).is_some());
    pair.addresses[0] = "10.0.0.9:4444".parse().unwrap();
    write(&mut pair, 0, near, stream, b"y", false);
    pair.run(1.0);
    assert_eq!(read(&mut pair, 1, far, stream, 9), None);
}

// ---- faults

#[test]
fn a_panic_costs_one_connection() {
    let mut pair = Pair::new();
    let (near, _) = pair.connected();
    let (other, far) = pair.connected();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = pair.engines[0].with_known(near, |_, _| panic!("a bug"));
    std::panic::set_hook(hook);
    let _: Result<(), Refusal> = result;
    pair.run(1.0);
    let told = loss(pair.lost(0));
    assert_eq!((told.cause, &*told.reason), (Cause::Bug, "a bug"));
    assert!(pair.engines[0].get(near).is_err());
    let stream = open(&mut pair, 0, other);
    write(&mut pair, 0, other, stream, b"still here", true);
    pair.run(1.0);
    assert!(read(&mut pair, 1, far, stream, 99).is_some());
}

#[test]
fn datagrams_may_be_as_large_as_loopback_takes_them() {
    for congestion in [Congestion::Cubic, Congestion::NewReno, Congestion::Bbr] {
        let make = || {
            engine_with(Settings {
                congestion,
                ..Settings::default()
            })
        };
        let mut pair = Pair::of([make(), make()]);
        pair.size = 16_000;
        let (near, far) = pair.connected();
        let largest = Rc::new(RefCell::new(0));
        let seen = largest.clone();
        pair.tap = Box::new(move |_, datagram| {
            seen.replace_with(|largest| datagram.len().max(*largest));
            true
        });
        let stream = open(&mut pair, 0, near);
        write(&mut pair, 0, near, stream, &[1; 200_000], true);
        pair.run(2.0);
        assert_eq!(*largest.borrow(), 16_000);
        assert_eq!(
            read(&mut pair, 1, far, stream, 1 << 20).unwrap().0.len(),
            200_000
        );
    }
}

#[test]
fn lost_datagrams_are_sent_again() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let mut count = 0;
    pair.tap = Box::new(move |_, _| {
        count += 1;
        count % 17 != 0
    });
    let stream = open(&mut pair, 0, near);
    let data: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
    let (mut sent, mut got) = (0, vec![]);
    for _ in 0..1000 {
        sent += write(&mut pair, 0, near, stream, &data[sent..], true).unwrap_or(0);
        pair.run(0.1);
        while let Some((bytes, end)) = read(&mut pair, 1, far, stream, 1 << 20) {
            got.extend(bytes);
            if end {
                assert!(got == data);
                return;
            }
        }
    }
    panic!("of {} bytes {} arrived", data.len(), got.len());
}

#[test]
fn changed_datagrams_end_nothing() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let mut count = 0usize;
    pair.tap = Box::new(move |_, datagram| {
        count += 1;
        if count.is_multiple_of(17) {
            let at = count * 31 % datagram.len();
            datagram[at] ^= 1 << (count % 8);
        }
        true
    });
    let stream = open(&mut pair, 0, near);
    write(&mut pair, 0, near, stream, &[3; 50_000], true);
    let mut got = 0;
    for _ in 0..200 {
        pair.run(0.1);
        while let Some((bytes, end)) = read(&mut pair, 1, far, stream, 1 << 20) {
            got += bytes.len();
            if end {
                assert_eq!(got, 50_000);
                return;
            }
        }
    }
    panic!("only {got} bytes arrived");
}

#[test]
fn answers_to_unknown_addresses_are_bounded() {
    let mut pair = Pair::new();
    let now = pair.engines[1].clock.at(5.0);
    for number in 0..10_000u32 {
        let mut datagram = vec![0x40; 60];
        datagram[1..5].copy_from_slice(&number.to_be_bytes());
        let received = Received {
            remote: pair.addresses[0],
            local: None,
            ecn: 0,
            data: &datagram,
            segment: 0,
        };
        pair.engines[1].receive(&received, now);
    }
    assert_eq!(pair.engines[1].out.batches.len(), 100);
}

#[test]
fn batches_are_cut_into_datagrams() {
    let mut pair = Pair::new();
    let (near, far) = pair.connected();
    let stream = open(&mut pair, 0, near);
    write(&mut pair, 0, near, stream, &[9; 10_000], false);
    let now = pair.engines[0].clock.at(pair.now);
    while pair.engines[0].drive(now, 64) {}
    let batches = std::mem::take(&mut pair.engines[0].out.batches);
    assert!(batches.iter().any(|batch| batch.datagrams() > 1));
    for batch in batches {
        let received = Received {
            remote: pair.addresses[0],
            local: None,
            ecn: batch.ecn,
            data: &batch.data,
            segment: batch.segment,
        };
        let now = pair.engines[1].clock.at(pair.now);
        pair.engines[1].receive(&received, now);
    }
    pair.run(1.0);
    assert_eq!(
        read(&mut pair, 1, far, stream, 20_000).unwrap().0.len(),
        10_000
    );
}
