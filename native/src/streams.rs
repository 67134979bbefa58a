//! The streams of one connection: reads that lose nothing to a reset, writes that say exactly what was taken.

use crate::events::Event;
use bytes::Bytes;
use quinn_proto::{
    ClosedStream, Connection, Dir, FinishError, ReadError, StreamId, VarInt, WriteError,
};
use std::collections::{HashMap, HashSet, VecDeque};

/// Bytes that are taken from quinn-proto before the caller reads them: it drops what was not taken when the peer resets
/// a stream. The peer may send so much more than its windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ahead {
    pub of_stream: usize,
    pub of_connection: usize,
}

/// The streams of a connection.
pub struct Streams {
    limits: Ahead,
    /// Those of which something waits to be read, or the reader waits.
    inbound: HashMap<u64, Inbound>,
    /// Bytes taken from quinn-proto and not read.
    ahead: usize,
    /// Those of which a write was not taken whole.
    blocked: HashSet<u64>,
    /// Those that may have bytes to be acknowledged.
    sending: HashSet<u64>,
    /// Those that were ended, and whose end was not acknowledged.
    ending: HashSet<u64>,
}

/// What arrived on one stream.
#[derive(Default)]
struct Inbound {
    chunks: VecDeque<Bytes>,
    size: usize,
    last: Last,
    /// Whether the reader was told that there is something.
    told: bool,
}

/// What comes after the bytes of a stream, as far as it is known.
#[derive(Clone, Copy, Default, PartialEq)]
enum Last {
    #[default]
    Unknown,
    End,
    Reset(u64),
}

/// What was read: bytes in pieces, and whether the end came after them.
#[derive(Debug, Default, PartialEq)]
pub struct Read {
    pub chunks: Vec<Bytes>,
    pub size: usize,
    pub end: bool,
    /// The peer's code, when it gave up sending and all that arrived before was read.
    pub reset: Option<u64>,
}

impl Streams {
    pub fn new(limits: Ahead) -> Self {
        Self {
            limits,
            inbound: HashMap::new(),
            ahead: 0,
            blocked: HashSet::new(),
            sending: HashSet::new(),
            ending: HashSet::new(),
        }
    }

    /// Note a stream that we opened, or that the peer did.
    pub fn opened(&mut self, stream: StreamId) {
        self.sending.insert(stream.into());
    }

    // ---- receiving

    /// Something came on a stream: keep it, and tell the reader if it does not know.
    pub fn readable(
        &mut self,
        quic: &mut Connection,
        connection: u64,
        stream: StreamId,
        events: &mut Vec<Event>,
    ) {
        let number = stream.into();
        let inbound = self.inbound.entry(number).or_default();
        let limit = (self.limits.of_stream.saturating_sub(inbound.size))
            .min(self.limits.of_connection.saturating_sub(self.ahead));
        let before = inbound.size;
        let rest = inbound.take(quic, stream, limit);
        self.ahead += inbound.size - before;
        match inbound.last {
            Last::Reset(code) if inbound.size == 0 => {
                self.inbound.remove(&number);
                events.push(Event::Reset {
                    connection,
                    stream: number,
                    code,
                });
            }
            Last::Unknown if inbound.size == 0 && rest != Rest::More => {
                if rest == Rest::Gone {
                    self.inbound.remove(&number);
                }
            }
            _ if inbound.told => {}
            _ => {
                inbound.told = true;
                events.push(Event::Readable {
                    connection,
                    stream: number,
                });
            }
        }
    }

    /// Take up to `size` bytes, and what came after them. None: nothing is there; the reader will be told.
    pub fn read(&mut self, quic: &mut Connection, stream: StreamId, size: usize) -> Option<Read> {
        let number = stream.into();
        let inbound = self.inbound.entry(number).or_default();
        let before = inbound.size;
        let mut read = inbound.pop(size);
        self.ahead -= before - inbound.size;
        if inbound.size == 0 {
            let rest = inbound.take_into(quic, stream, size, &mut read);
            inbound.told = rest == Rest::More;
            match inbound.last {
                Last::Unknown => {}
                Last::End => read.end = true,
                Last::Reset(code) => read.reset = Some(code),
            }
            if rest == Rest::Gone || inbound.last != Last::Unknown {
                self.inbound.remove(&number);
            }
        }
        (read != Read::default()).then_some(read)
    }

    /// Drop what was not read and what still comes.
    pub fn stop(&mut self, quic: &mut Connection, stream: StreamId, code: VarInt) {
        if let Some(inbound) = self.inbound.remove(&stream.into()) {
            self.ahead -= inbound.size;
        }
        let _ = quic.recv_stream(stream).stop(code);
    }

    // ---- sending

    /// Take what there is room for, and the end if all was taken; say how many bytes that were.
    ///
    /// When not all was taken, `writable` will tell when there is room. None: the stream takes nothing any more.
    pub fn write(
        &mut self,
        quic: &mut Connection,
        stream: StreamId,
        data: &[u8],
        end: bool,
    ) -> Option<usize> {
        let mut sender = quic.send_stream(stream);
        let mut taken = 0;
        // Once more after it took a part: only a write that takes nothing makes quinn-proto tell of room.
        while taken < data.len() {
            match sender.write(&data[taken..]) {
                Ok(more) => taken += more,
                Err(WriteError::Blocked) => {
                    self.blocked.insert(stream.into());
                    return Some(taken);
                }
                Err(_) => return None,
            }
        }
        if end {
            match sender.finish() {
                Ok(()) => self.ending.insert(stream.into()),
                Err(FinishError::Stopped(_) | FinishError::ClosedStream) => return None,
            };
        }
        Some(taken)
    }

    /// Take nothing now, and tell when that is over.
    pub fn hold(&mut self, stream: StreamId) {
        self.blocked.insert(stream.into());
    }

    /// Tell all writers that wait that they may try again.
    pub fn release(&mut self, connection: u64, events: &mut Vec<Event>) {
        let mut waiting: Vec<u64> = self.blocked.drain().collect();
        waiting.sort_unstable();
        events.extend(
            waiting
                .into_iter()
                .map(|stream| Event::Writable { connection, stream }),
        );
    }

    /// There is room in a stream; say whether a writer waits for it.
    pub fn writable(&mut self, stream: u64) -> bool {
        self.blocked.remove(&stream)
    }

    /// Give up sending on a stream.
    pub fn reset(&mut self, quic: &mut Connection, stream: StreamId, code: VarInt) {
        let result: Result<(), ClosedStream> = quic.send_stream(stream).reset(code);
        let _ = result; // all has arrived, or it was reset before
        self.sent(stream.into());
    }

    /// Nothing of a stream has to be acknowledged any more.
    pub fn sent(&mut self, stream: u64) {
        self.blocked.remove(&stream);
        self.sending.remove(&stream);
        self.ending.remove(&stream);
    }

    /// The streams that were ended, and whose end was not acknowledged.
    pub fn ending(&self) -> &HashSet<u64> {
        &self.ending
    }

    /// Say whether all bytes written were acknowledged.
    ///
    /// quinn-proto does not tell; but with a send window of one byte a write is blocked exactly if something is
    /// buffered. (Or if the peer takes nothing more now: then the answer comes when it does.)
    pub fn nothing_buffered(&mut self, quic: &mut Connection, send_window: u64) -> bool {
        self.sending
            .retain(|&stream| quic.send_stream(known(stream)).stopped().is_ok());
        let Some(&any) = self.sending.iter().next() else {
            return true; // a stream exists while something of it is buffered
        };
        quic.set_send_window(1);
        let blocked = matches!(
            quic.send_stream(known(any)).write(&[]),
            Err(WriteError::Blocked)
        );
        quic.set_send_window(send_window);
        !blocked
    }
}

/// What quinn-proto still has of a stream.
#[derive(Clone, Copy, PartialEq)]
enum Rest {
    More,
    Nothing,
    /// It does not know the stream (any more).
    Gone,
}

impl Inbound {
    /// Take up to `limit` bytes from quinn-proto.
    fn take(&mut self, quic: &mut Connection, stream: StreamId, limit: usize) -> Rest {
        let mut read = Read::default();
        let rest = self.take_into(quic, stream, limit, &mut read);
        self.size += read.size;
        self.chunks.extend(read.chunks);
        rest
    }

    /// Fill `read` up to `size` bytes, and note what comes last if that is seen.
    fn take_into(
        &mut self,
        quic: &mut Connection,
        stream: StreamId,
        size: usize,
        read: &mut Read,
    ) -> Rest {
        if self.last != Last::Unknown {
            return Rest::Nothing;
        }
        let mut receiver = quic.recv_stream(stream);
        let Ok(mut chunks) = receiver.read(true) else {
            return Rest::Gone;
        };
        let rest = loop {
            // The last one is of no bytes, and sees what comes after them.
            match chunks.next(size.saturating_sub(read.size)) {
                Ok(Some(chunk)) if chunk.bytes.is_empty() => break Rest::More,
                Ok(Some(chunk)) => {
                    read.size += chunk.bytes.len();
                    read.chunks.push(chunk.bytes);
                }
                Ok(None) => {
                    self.last = Last::End;
                    break Rest::Nothing;
                }
                Err(ReadError::Reset(code)) => {
                    self.last = Last::Reset(code.into_inner());
                    break Rest::Nothing;
                }
                Err(ReadError::Blocked) => break Rest::Nothing,
            }
        };
        let _ = chunks.finalize(); // the connection is driven in any case
        rest
    }

    fn pop(&mut self, size: usize) -> Read {
        let mut read = Read::default();
        while read.size < size {
            let Some(mut chunk) = self.chunks.pop_front() else {
                break;
            };
            let room = size - read.size;
            if chunk.len() > room {
                let rest = chunk.split_off(room);
                self.chunks.push_front(rest);
            }
            read.size += chunk.len();
            read.chunks.push(chunk);
        }
        self.size -= read.size;
        read
    }
}

/// The id of a number that a stream was seen to have.
fn known(stream: u64) -> StreamId {
    stream_id(stream).expect("a stream that exists")
}

/// The id of a bidirectional stream, if the number is one.
pub fn stream_id(number: u64) -> Option<StreamId> {
    let stream = StreamId::from(VarInt::from_u64(number).ok()?);
    (stream.dir() == Dir::Bi).then_some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bidirectional_streams_have_ids() {
        assert!(stream_id(0).is_some());
        assert!(stream_id(1).is_some());
        assert!(stream_id(2).is_none());
        assert!(stream_id(u64::MAX).is_none());
    }

    #[test]
    fn chunks_are_split_where_the_reader_wants() {
        let mut inbound = Inbound {
            chunks: [Bytes::from_static(b"abc"), Bytes::from_static(b"defg")].into(),
            size: 7,
            ..Inbound::default()
        };
        assert_eq!(inbound.pop(5).chunks, [&b"abc"[..], b"de"]);
        assert_eq!(inbound.size, 2);
        assert_eq!(inbound.pop(0), Read::default());
        assert_eq!(inbound.pop(9).chunks, [&b"fg"[..]]);
        assert_eq!(inbound.size, 0);
    }
}
