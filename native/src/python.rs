//! The Python module: arguments and results. What they mean is in `peerstack_engine.pyi`.
//!
//! The interpreter lock is released while the engine works on datagrams, and taken back when a certificate is verified.
//! An engine belongs to one thread at a time: a call while another runs, as from the check, raises RuntimeError.

use crate::addresses;
use crate::connection::{Batch, Connection};
use crate::engine::{Engine, Received, Refusal};
use crate::events::{Cause, Event, Loss};
use crate::settings::{Congestion, LARGEST_DATAGRAM, Settings, variable};
use crate::streams::{Ahead, stream_id};
use crate::tls::{CertificateCheck, Credentials};
use pyo3::buffer::PyBuffer;
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::socket::Socket;

create_exception!(
    peerstack_engine,
    Unknown,
    pyo3::exceptions::PyLookupError,
    "There is no such connection or arrival, or it is over."
);
create_exception!(
    peerstack_engine,
    Refused,
    pyo3::exceptions::PyException,
    "A connection cannot begin; the arguments are those of LOST: cause, code and reason."
);

/// The kinds of events, which come first in their tuples.
#[repr(u8)]
enum Kind {
    Arrived,
    Answered,
    Connected,
    Moved,
    Opened,
    Readable,
    Writable,
    Finished,
    Reset,
    Stopped,
    Available,
    Acknowledged,
    Lost,
}

/// What the check raised, to be raised by the call that ran it.
type Raised = Arc<Mutex<Option<PyErr>>>;

/// Events, batches, the next deadline, and whether more waits.
type Flushed<'py> = (Bound<'py, PyList>, Bound<'py, PyList>, Option<f64>, bool);
/// Events, the next deadline, whether more waits, whether the socket is full, and what could not be sent.
#[cfg(target_os = "linux")]
type Pumped<'py> = (
    Bound<'py, PyList>,
    Option<f64>,
    bool,
    bool,
    Bound<'py, PyList>,
);

/// All QUIC connections of one UDP socket.
#[pyclass(name = "Engine", module = "peerstack_engine")]
struct PyEngine {
    engine: Engine,
    raised: Raised,
    /// Whether batches come with their ECN bits and where to send from.
    details: bool,
    #[cfg(target_os = "linux")]
    socket: Option<Socket>,
}

#[pymethods]
impl PyEngine {
    #[new]
    #[pyo3(signature = (
        certificate, key, reset_key, now, *,
        idle_timeout = 30.0, keep_alive = Some(15.0), max_streams = 256,
        stream_window = 1 << 20, connection_window = 15 << 20, stream_ahead = 128 << 10, connection_ahead = 512 << 10,
        send_window = 4 << 20, crypto_buffer = 64 << 10,
        discovery = None, congestion = "cubic", backlog = 128, answers = 100.0, close_copies = 3, details = false,
    ))]
    #[allow(clippy::too_many_arguments)] // they are named
    fn new(
        certificate: &[u8],
        key: &[u8],
        reset_key: &[u8],
        now: f64,
        idle_timeout: f64,
        keep_alive: Option<f64>,
        max_streams: u64,
        stream_window: u64,
        connection_window: u64,
        stream_ahead: usize,
        connection_ahead: usize,
        send_window: u64,
        crypto_buffer: usize,
        discovery: Option<u16>,
        congestion: &str,
        backlog: usize,
        answers: f64,
        close_copies: u32,
        details: bool,
    ) -> PyResult<Self> {
        finite(now)?;
        let settings = Settings {
            idle_timeout: duration(idle_timeout)?,
            keep_alive: keep_alive.map(duration).transpose()?,
            max_streams,
            stream_window,
            connection_window,
            ahead: Ahead {
                of_stream: stream_ahead,
                of_connection: connection_ahead,
            },
            send_window,
            crypto_buffer,
            discovery,
            congestion: Congestion::named(congestion).ok_or_else(|| {
                PyValueError::new_err("congestion is one of cubic, newreno and bbr")
            })?,
            backlog,
            answers: finite(answers)?.max(0.0),
            close_copies,
        };
        if max_streams > MOST_STREAMS {
            return Err(PyValueError::new_err("max_streams is at most 65536"));
        }
        settings.transport(LARGEST_DATAGRAM).map_err(wrong)?;
        let credentials = Credentials::new(certificate, key).map_err(wrong)?;
        Ok(Self {
            engine: Engine::new(settings, credentials, reset_key, now).map_err(wrong)?,
            raised: Raised::default(),
            details,
            #[cfg(target_os = "linux")]
            socket: None,
        })
    }

    // ---- datagrams and time

    #[pyo3(signature = (data, segment, address, now, *, ecn = 0, local = None))]
    #[allow(clippy::too_many_arguments)] // what a socket knows of a datagram
    fn receive(
        &mut self,
        py: Python<'_>,
        data: PyBuffer<u8>,
        segment: usize,
        address: &Bound<'_, PyTuple>,
        now: f64,
        ecn: u8,
        local: Option<&Bound<'_, PyString>>,
    ) -> PyResult<()> {
        // A copy: other threads may write into the caller's buffer while the interpreter lock is released.
        let data = data.to_vec(py)?;
        let remote = addresses::extract(address)?;
        let local = local.map(addresses::host).transpose()?;
        let now = self.at(now)?;
        let engine = &mut self.engine;
        py.detach(|| {
            let data = &data;
            engine.receive(
                &Received {
                    remote,
                    local,
                    ecn,
                    data,
                    segment,
                },
                now,
            );
        });
        self.check_raised()
    }

    #[getter]
    fn needs_flush(&self) -> bool {
        self.engine.needs_drive()
    }

    fn flush<'py>(&mut self, py: Python<'py>, now: f64, limit: usize) -> PyResult<Flushed<'py>> {
        let now = self.at(now)?;
        let engine = &mut self.engine;
        let more = py.detach(|| engine.drive(now, limit));
        self.check_raised()?;
        let batches = PyList::empty(py);
        for batch in std::mem::take(&mut self.engine.out.batches) {
            batches.append(self.batch(py, &batch)?)?;
            self.engine.out.recycle(batch.data);
        }
        Ok((self.take_events(py)?, batches, self.next_deadline(), more))
    }

    // ---- connections

    fn listen(&mut self, enabled: bool) {
        self.engine.listen(enabled);
    }

    fn expect(&mut self, address: &Bound<'_, PyTuple>, expected: bool) -> PyResult<()> {
        self.engine.expect(addresses::extract(address)?, expected);
        Ok(())
    }

    fn connect(
        &mut self,
        address: &Bound<'_, PyTuple>,
        verify: Py<PyAny>,
        datagram_size: u16,
        now: f64,
    ) -> PyResult<u64> {
        let remote = addresses::extract(address)?;
        let (now, check) = (self.at(now)?, self.check(verify));
        let connected = self.engine.connect(remote, check, datagram_size, now);
        connected.map_err(refusal)
    }

    fn accept(
        &mut self,
        py: Python<'_>,
        arrival: u64,
        verify: Py<PyAny>,
        datagram_size: u16,
        now: f64,
    ) -> PyResult<u64> {
        let (now, check) = (self.at(now)?, self.check(verify));
        let engine = &mut self.engine;
        let accepted = py.detach(|| engine.accept(arrival, check, datagram_size, now));
        self.check_raised()?;
        accepted.map_err(refusal)
    }

    fn refuse(&mut self, arrival: u64) -> PyResult<()> {
        self.engine.refuse(arrival).map_err(refusal)
    }

    fn retry(&mut self, arrival: u64) -> PyResult<bool> {
        self.engine.retry(arrival).map_err(refusal)
    }

    fn ignore(&mut self, arrival: u64) -> PyResult<()> {
        self.engine.ignore(arrival).map_err(refusal)
    }

    fn close(&mut self, connection: u64, code: u64, reason: &[u8], now: f64) -> PyResult<()> {
        let now = self.at(now)?;
        self.engine
            .close(connection, code, reason, now)
            .map_err(refusal)
    }

    fn ping(&mut self, connection: u64) -> PyResult<()> {
        self.with(connection, |connection| connection.ping())
    }

    fn mark(&mut self, connection: u64) -> PyResult<u64> {
        let now = self.engine.clock.latest();
        self.with(connection, |connection| connection.mark(now))
    }

    fn address<'py>(&self, py: Python<'py>, connection: u64) -> PyResult<Bound<'py, PyTuple>> {
        addresses::tuple(py, self.get(connection)?.remote())
    }

    fn rtt(&self, connection: u64) -> PyResult<Option<f64>> {
        Ok(self.get(connection)?.rtt().map(|rtt| rtt.as_secs_f64()))
    }

    fn unanswered_since(&self, connection: u64) -> PyResult<Option<f64>> {
        let since = self.get(connection)?.unanswered_since();
        Ok(since.map(|since| self.engine.clock.seconds(since)))
    }

    fn statistics<'py>(&self, py: Python<'py>, connection: u64) -> PyResult<Bound<'py, PyDict>> {
        let quic = &self.get(connection)?.quic;
        let (told, path) = (PyDict::new(py), quic.stats());
        told.set_item("datagrams_sent", path.udp_tx.datagrams)?;
        told.set_item("bytes_sent", path.udp_tx.bytes)?;
        told.set_item("batches_sent", path.udp_tx.ios)?;
        told.set_item("datagrams_received", path.udp_rx.datagrams)?;
        told.set_item("bytes_received", path.udp_rx.bytes)?;
        told.set_item("packets_lost", path.path.lost_packets)?;
        told.set_item("congestion_events", path.path.congestion_events)?;
        told.set_item("congestion_window", path.path.cwnd)?;
        told.set_item("datagram_size", path.path.current_mtu)?;
        Ok(told)
    }

    fn set_receive_window(&mut self, connection: u64, size: u64) -> PyResult<()> {
        let size = variable(size).map_err(wrong)?;
        self.with(connection, |connection| {
            connection.quic.set_receive_window(size)
        })
    }

    fn set_max_streams(&mut self, connection: u64, count: u64) -> PyResult<()> {
        if count > MOST_STREAMS {
            return Err(PyValueError::new_err("max_streams is at most 65536"));
        }
        let count = variable(count).map_err(wrong)?;
        self.with(connection, |connection| {
            let quic = &mut connection.quic;
            quic.set_max_concurrent_streams(quinn_proto::Dir::Bi, count);
        })
    }

    // ---- streams

    fn open(&mut self, connection: u64) -> PyResult<Option<u64>> {
        self.with(connection, Connection::open)
    }

    fn read<'py>(
        &mut self,
        py: Python<'py>,
        connection: u64,
        stream: u64,
        size: usize,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, bool)>> {
        let read = self
            .engine
            .with_known(connection, |connection, events| {
                connection.read(stream, size, events)
            })
            .map_err(refusal)?;
        let Some((chunks, size, end)) = read else {
            return Ok(None);
        };
        let data = PyBytes::new_with(py, size, |mut room| {
            for chunk in &chunks {
                let (here, rest) = room.split_at_mut(chunk.len());
                here.copy_from_slice(chunk);
                room = rest;
            }
            Ok(())
        })?;
        Ok(Some((data, end)))
    }

    #[pyo3(signature = (connection, stream, data, *, end = false))]
    fn write(
        &mut self,
        py: Python<'_>,
        connection: u64,
        stream: u64,
        data: PyBuffer<u8>,
        end: bool,
    ) -> PyResult<Option<usize>> {
        let now = self.engine.clock.latest();
        if let Some(pointer) = data.as_slice_ptr() {
            // SAFETY: `data` keeps the memory, and nothing writes it meanwhile: this thread has the interpreter lock.
            let bytes = unsafe { pointer.as_ref() };
            return self.with(connection, |connection| {
                connection.write(stream, bytes, end, now)
            });
        }
        let bytes = data.to_vec(py)?;
        self.with(connection, |connection| {
            connection.write(stream, &bytes, end, now)
        })
    }

    fn reset(&mut self, connection: u64, stream: u64, code: u64) -> PyResult<()> {
        let code = variable(code).map_err(wrong)?;
        self.with(connection, |connection| {
            if let Some(stream) = stream_id(stream) {
                connection.reset(stream, code);
            }
        })
    }

    fn stop(&mut self, connection: u64, stream: u64, code: u64) -> PyResult<()> {
        let code = variable(code).map_err(wrong)?;
        self.with(connection, |connection| {
            if let Some(stream) = stream_id(stream) {
                connection.stop(stream, code);
            }
        })
    }

    // ---- the descriptor of a socket, where the system calls are made here

    #[cfg(target_os = "linux")]
    fn use_socket(&mut self, descriptor: i32) -> PyResult<()> {
        self.socket = Some(Socket::new(descriptor)?);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn pump<'py>(
        &mut self,
        py: Python<'py>,
        now: f64,
        reads: usize,
        limit: usize,
    ) -> PyResult<Pumped<'py>> {
        let now = self.at(now)?;
        let engine = &mut self.engine;
        let socket = self
            .socket
            .as_mut()
            .ok_or_else(|| PyValueError::new_err("say use_socket first"))?;
        let pumped = py.detach(|| socket.pump(engine, now, reads, limit));
        self.check_raised()?;
        let pumped = pumped?;
        let failures = PyList::empty(py);
        for (remote, number) in pumped.failures {
            failures.append((addresses::tuple(py, remote)?, number))?;
        }
        Ok((
            self.take_events(py)?,
            self.next_deadline(),
            pumped.more,
            pumped.full,
            failures,
        ))
    }
}

impl PyEngine {
    fn at(&mut self, now: f64) -> PyResult<Instant> {
        Ok(self.engine.clock.at(finite(now)?))
    }

    fn next_deadline(&self) -> Option<f64> {
        let deadline = self.engine.next_deadline()?;
        Some(self.engine.clock.seconds(deadline))
    }

    fn with<R>(&mut self, connection: u64, work: impl FnOnce(&mut Connection) -> R) -> PyResult<R> {
        let engine = &mut self.engine;
        engine
            .with_known(connection, |connection, _| work(connection))
            .map_err(refusal)
    }

    fn get(&self, connection: u64) -> PyResult<&Connection> {
        self.engine.get(connection).map_err(refusal)
    }

    fn check(&self, verify: Py<PyAny>) -> CertificateCheck {
        let raised = self.raised.clone();
        Box::new(move |certificates| {
            Python::attach(|py| {
                let shown = certificates.iter().map(|der| PyBytes::new(py, der));
                let answer = PyList::new(py, shown)
                    .and_then(|shown| verify.call1(py, (shown,)))
                    .and_then(|answer| answer.is_truthy(py));
                answer.unwrap_or_else(|error| {
                    let mut raised = raised.lock().unwrap_or_else(PoisonError::into_inner);
                    *raised = Some(error);
                    false
                })
            })
        })
    }

    /// Raise what a check raised; what the engine has to say stays there for the next call.
    fn check_raised(&self) -> PyResult<()> {
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        raised.take().map_or(Ok(()), Err)
    }

    fn batch<'py>(&self, py: Python<'py>, batch: &Batch) -> PyResult<Bound<'py, PyTuple>> {
        let data = PyBytes::new(py, &batch.data);
        let remote = addresses::tuple(py, batch.remote)?;
        if self.details {
            let local = batch.local.map(|local| local.to_string());
            (data, batch.segment, remote, batch.ecn, local).into_pyobject(py)
        } else {
            (data, batch.segment, remote).into_pyobject(py)
        }
    }

    fn take_events<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let events = PyList::empty(py);
        for event in std::mem::take(&mut self.engine.events) {
            events.append(tuple(py, event)?)?;
        }
        Ok(events)
    }
}

fn tuple(py: Python<'_>, event: Event) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        Event::Arrived {
            arrival,
            remote,
            local,
            validated,
        } => {
            let local = local.map(|local| local.to_string());
            let remote = addresses::tuple(py, remote)?;
            (Kind::Arrived as u8, arrival, remote, local, validated).into_pyobject(py)
        }
        Event::Answered { connection } => (Kind::Answered as u8, connection).into_pyobject(py),
        Event::Connected { connection } => (Kind::Connected as u8, connection).into_pyobject(py),
        Event::Moved { connection, remote } => {
            let remote = addresses::tuple(py, remote)?;
            (Kind::Moved as u8, connection, remote).into_pyobject(py)
        }
        Event::Opened { connection, stream } => {
            (Kind::Opened as u8, connection, stream).into_pyobject(py)
        }
        Event::Readable { connection, stream } => {
            (Kind::Readable as u8, connection, stream).into_pyobject(py)
        }
        Event::Writable { connection, stream } => {
            (Kind::Writable as u8, connection, stream).into_pyobject(py)
        }
        Event::Finished { connection, stream } => {
            (Kind::Finished as u8, connection, stream).into_pyobject(py)
        }
        Event::Reset {
            connection,
            stream,
            code,
        } => (Kind::Reset as u8, connection, stream, code).into_pyobject(py),
        Event::Stopped {
            connection,
            stream,
            code,
        } => (Kind::Stopped as u8, connection, stream, code).into_pyobject(py),
        Event::Available { connection } => (Kind::Available as u8, connection).into_pyobject(py),
        Event::Acknowledged { connection, mark } => {
            (Kind::Acknowledged as u8, connection, mark).into_pyobject(py)
        }
        Event::Lost {
            connection,
            loss:
                Loss {
                    cause,
                    code,
                    reason,
                },
        } => (Kind::Lost as u8, connection, cause as u8, code, reason).into_pyobject(py),
    }
}

fn refusal(refusal: Refusal) -> PyErr {
    match refusal {
        Refusal::Unknown => {
            Unknown::new_err("there is no such connection or arrival, or it is over")
        }
        Refusal::Wrong(what) => PyValueError::new_err(what),
        Refusal::Lost(loss) => Refused::new_err((loss.cause as u8, loss.code, loss.reason)),
    }
}

fn wrong(what: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(what.to_string())
}

fn finite(number: f64) -> PyResult<f64> {
    if number.is_finite() {
        Ok(number)
    } else {
        Err(PyValueError::new_err("times and rates are finite numbers"))
    }
}

fn duration(seconds: f64) -> PyResult<Duration> {
    if seconds > 0.0 && seconds <= LONGEST {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(PyValueError::new_err(
            "timeouts are more than 0 seconds, and less than a year",
        ))
    }
}

/// Seconds of the longest timeout.
const LONGEST: f64 = 365.0 * 24.0 * 3600.0;
/// Streams that a peer may open: quinn-proto keeps an entry for each from the start.
const MOST_STREAMS: u64 = 1 << 16;

#[pymodule]
fn peerstack_engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<PyEngine>()?;
    module.add("Unknown", module.py().get_type::<Unknown>())?;
    module.add("Refused", module.py().get_type::<Refused>())?;
    for (name, kind) in [
        ("ARRIVED", Kind::Arrived),
        ("ANSWERED", Kind::Answered),
        ("CONNECTED", Kind::Connected),
        ("MOVED", Kind::Moved),
        ("OPENED", Kind::Opened),
        ("READABLE", Kind::Readable),
        ("WRITABLE", Kind::Writable),
        ("FINISHED", Kind::Finished),
        ("RESET", Kind::Reset),
        ("STOPPED", Kind::Stopped),
        ("AVAILABLE", Kind::Available),
        ("ACKNOWLEDGED", Kind::Acknowledged),
        ("LOST", Kind::Lost),
    ] {
        module.add(name, kind as u8)?;
    }
    for (name, cause) in [
        ("CAUSE_CLOSED", Cause::Closed),
        ("CAUSE_ABORTED", Cause::Aborted),
        ("CAUSE_BROKEN", Cause::Broken),
        ("CAUSE_RESET", Cause::Reset),
        ("CAUSE_TIMED_OUT", Cause::TimedOut),
        ("CAUSE_VERSION", Cause::Version),
        ("CAUSE_BUG", Cause::Bug),
    ] {
        module.add(name, cause as u8)?;
    }
    Ok(())
}
