"""The QUIC engine of `interface.py`, made of aioquic."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from aioquic.quic import events as quic
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.packet import QuicErrorCode, QuicProtocolVersion
from aioquic.tls import CipherSuite

from peerstack.stack.codes import StreamCode
from peerstack.stack.errors import RemoteProtocolError, StackError
from peerstack.stack.identity import PeerId, PublicKey
from peerstack.stack.limits import WindowBudget
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.stack.security.tls.certificate import Credentials

from ..config import QuicConfig
from ..flow import ReceiveFlow
from ..interface import (
    DataReceived,
    Ended,
    Event,
    HandshakeCompleted,
    ResetReceived,
    RouteAdded,
    RouteRemoved,
    StopReceived,
)
from ..tokens import ResetTokens
from .certificates import CertificateVerifier
from .connection import LibP2PConnection
from .packets import ID_SIZE, SMALLEST_INITIAL
from .reasons import closed_by_peer, closed_here

ALPN: Final = "libp2p"
ENGINE_NAMES: Final = (
    "_close_at",
    "_close_event",
    "_local_max_data",
    "_local_next_stream_id_bidi",
    "_loss",
    "_network_paths",
    "_peer_cid",
    "_remote_max_streams_bidi",
    "_state",
    "_streams",
)
"""The private names of `QuicConnection` that this module reads or sets."""
RECEIVER_NAMES: Final = ("_buffer",)
SENDER_NAMES: Final = ("_buffer_fin", "_buffer_start", "_buffer_stop", "_reset_error_code")
RECOVERY_NAMES: Final = ("_rtt_initialized", "_rtt_smoothed")

MACOS_LARGEST: Final = 9216
"""Bytes of a datagram that macOS takes on loopback (net.inet.udp.maxdgram)."""
_PARSER_FAILURES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What hostile bytes can lead Python code to raise that misses a check."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What all engines of a transport share."""

    config: QuicConfig
    credentials: Credentials
    tokens: ResetTokens
    budget: WindowBudget
    """Of all connections of the transport, for windows that grow."""
    growth: int = sys.maxsize
    """Bytes of it that one connection may take, beside what the largest window allows."""

    def configuration(self, *, client: bool) -> QuicConfiguration:
        """Return aioquic's configuration."""
        configuration = QuicConfiguration(
            alpn_protocols=[ALPN],
            cipher_suites=[
                CipherSuite.AES_128_GCM_SHA256,
                CipherSuite.AES_256_GCM_SHA384,
                CipherSuite.CHACHA20_POLY1305_SHA256,
            ],
            connection_id_length=ID_SIZE,
            idle_timeout=self.config.idle_timeout,
            is_client=client,
            max_data=self.config.connection_window,
            max_datagram_size=self.config.datagram_size,
            max_stream_data=self.config.stream_window,
            supported_versions=[QuicProtocolVersion.VERSION_1],
        )
        configuration.certificate = self.credentials.certificate
        configuration.private_key = self.credentials.key
        return configuration


class AioquicEngine:
    """One connection; implements `interface.Engine`."""

    def __init__(self, settings: EngineSettings, connection: LibP2PConnection) -> None:
        self._config = config = settings.config
        self._connection = connection
        self._verifier = connection.verifier
        self._flow = ReceiveFlow(
            stream=(config.stream_window, config.max_stream_window),
            connection=(config.connection_window, config.max_connection_window),
            budget=WindowBudget(min(config.max_connection_window, settings.growth), settings.budget),
        )
        self._dropped: set[int] = set()
        """Streams that nobody reads any more, and that the peer has not ended."""
        self._ignored: dict[int, int] = {}
        """Those of them whose peer has not been told, and how many bytes may still come before it is."""
        self._first_own = connection.get_next_available_stream_id()
        self._next_of_peer = 1 - self._first_own
        self._unseen: set[int] = set()
        self._now = 0.0
        self._fits = sys.maxsize
        """Bytes of the largest datagram that the system was not seen to refuse."""
        self._grows = False
        """Whether larger datagrams may be sent than so far, once the handshake is over."""
        self._connected = False
        self._ended = False
        self._failure: StackError | None = None

    @classmethod
    def client(
        cls, settings: EngineSettings, address: SocketAddress, expect: PeerId | None, now: float
    ) -> AioquicEngine:
        """Return an engine that connects to an address, and takes nobody but `expect` if that is given."""
        configuration = settings.configuration(client=True)
        connection = LibP2PConnection(configuration, settings.config, CertificateVerifier(expect), settings.tokens)
        engine = cls(settings, connection)
        connection.connect(address, now)
        return engine

    @classmethod
    def server(cls, settings: EngineSettings, original_id: bytes, retry_id: bytes | None) -> AioquicEngine:
        """Return an engine for a client that first sent to `original_id`; `retry_id` if it was asked to try again."""
        connection = LibP2PConnection(
            settings.configuration(client=False),
            settings.config,
            CertificateVerifier(None),
            settings.tokens,
            original_id=original_id,
            retry_id=retry_id,
        )
        return cls(settings, connection)

    # ---- what is known

    @property
    def connection_id(self) -> bytes:
        """The first id of this connection."""
        return self._connection.host_cid

    @property
    def peer_key(self) -> PublicKey | None:
        """The identity the peer proved."""
        return self._verifier.key

    @property
    def answered(self) -> bool:
        """Whether anything authentic came from the peer."""
        return self._connection._state is not QuicConnectionState.FIRSTFLIGHT

    @property
    def peer_address(self) -> SocketAddress | None:
        """Where datagrams go now."""
        address: SocketAddress | None = self._connection.get_peer_address()
        return address

    @property
    def peer_reset_token(self) -> bytes:
        """The token of the peer's id in use."""
        return self._connection._peer_cid.stateless_reset_token or b""

    @property
    def rtt(self) -> float | None:
        """The smoothed round-trip time."""
        loss = self._connection._loss
        return loss._rtt_smoothed if loss._rtt_initialized else None

    @property
    def awaits_acknowledgement(self) -> bool:
        """Whether packets are under way that the peer has to acknowledge."""
        return any(space.ack_eliciting_in_flight for space in self._connection._loss.spaces)

    def sent_marks(self) -> dict[int, int]:
        """Return where what each stream was given to send ends, of those that wait for acknowledgements."""
        streams = self._connection._streams.items()
        return {stream_id: each.sender._buffer_stop for stream_id, each in streams if not each.sender.is_finished}

    def acknowledged(self, marks: dict[int, int]) -> bool:
        """Say whether everything before these marks was acknowledged, or its stream was reset; forgets those."""
        for stream_id, mark in list(marks.items()):
            stream = self._connection._streams.get(stream_id)
            sender = None if stream is None else stream.sender
            if (
                sender is None
                or sender.is_finished
                or sender._reset_error_code is not None
                or sender._buffer_start >= mark
            ):
                del marks[stream_id]
        return not marks

    # ---- datagrams and time

    def receive(self, datagram: bytes, address: SocketAddress, now: float) -> None:
        """Take a datagram."""
        self._now = now
        known = self.peer_address
        # A NAT may give the peer another port, but a peer that moves would escape what is counted by address.
        if self._ended or (known is not None and known[0] != address[0]):
            return
        with self._guarded():
            self._connection.receive_datagram(datagram, address, now)

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return what may go out now."""
        self._now = now
        if not self._connection._network_paths:
            return []
        datagrams: list[tuple[bytes, SocketAddress]] = []
        with self._guarded():
            datagrams += self._connection.datagrams_to_send(now)
        if self._grows and datagrams:
            # Not before the flight that ends the handshake: what has an Initial packet is filled up to the full size.
            self._grows = False
            self._connection.use_datagrams_of(self._largest())
        path = self._connection._network_paths[0]
        if not path.is_validated and path.bytes_sent > 3 * path.bytes_received:
            return []  # a goodbye, for which aioquic does not look at the limit (RFC 9000, 8.1)
        return datagrams

    def next_deadline(self) -> float | None:
        """Return when time matters next."""
        if self._ended or self._connection._close_at is None:
            return None
        return self._connection.get_timer()

    def handle_deadline(self, now: float) -> None:
        """Run what is due."""
        self._now = now
        if not self._ended and self._connection._close_at is not None:
            with self._guarded():
                self._connection.handle_timer(now)

    # ---- events

    def events(self) -> list[Event]:
        """Return what happened since the last call."""
        events: list[Event] = []
        while (event := self._connection.next_event()) is not None:
            self._translate(event, events)
        if self._connected and not self.peer_reset_token:
            # The first id of a client has no token (RFC 9000, 10.3): use one that has, or its restart goes unnoticed.
            self._connection.change_connection_id()
        if not self._ended and self._connection._close_event is not None:
            self._ended = True
            events.append(Ended(self._reason(self._connection._close_event)))
        return events

    def _translate(self, event: quic.QuicEvent, events: list[Event]) -> None:
        match event:
            case quic.StreamDataReceived():
                self._data_received(event, events)
            case quic.StreamReset(stream_id=stream_id, error_code=code):
                self._was_reset(stream_id)
                events.append(ResetReceived(stream_id, code))
            case quic.StopSendingReceived(stream_id=stream_id, error_code=code):
                events.append(StopReceived(stream_id, code))
            case quic.HandshakeCompleted():
                self._connected = True
                self._connection.use_datagrams_of(min(self._largest(), self._connection.datagram_size))
                self._grows = True
                events.append(HandshakeCompleted())
            case quic.ConnectionIdIssued(connection_id=connection_id):
                events.append(RouteAdded(connection_id))
            case quic.ConnectionIdRetired(connection_id=connection_id):
                events.append(RouteRemoved(connection_id))

    def _data_received(self, event: quic.StreamDataReceived, events: list[Event]) -> None:
        stream_id = event.stream_id
        if stream_id in self._dropped:
            self._count(stream_id, len(event.data))
            if event.end_stream:
                self._settle(stream_id)
            elif stream_id in self._ignored:
                self._ignored[stream_id] -= len(event.data)
                if self._ignored[stream_id] < 0:
                    self.stop(stream_id, StreamCode.NONE)
        else:
            self._flow.stream(stream_id, self._now)
            events.append(DataReceived(stream_id, event.data, event.end_stream))

    def _reason(self, event: quic.ConnectionTerminated) -> StackError | None:
        if self._failure is None:
            self._failure = self._verifier.failure
        if self._failure is not None:
            return self._failure
        if self._connection._state is QuicConnectionState.DRAINING:
            return closed_by_peer(event, connected=self._connected)
        return closed_here(event, connected=self._connected)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Let a missing check in the engine cost this connection, not the socket that it shares with others."""
        try:
            yield
        except _PARSER_FAILURES as error:
            self._failure = RemoteProtocolError(f"the peer sent what the QUIC engine cannot read: {error!r}")
            self._connection.close(error_code=QuicErrorCode.INTERNAL_ERROR, frame_type=0)

    def _largest(self) -> int:
        """Return what the path and the peer take (RFC 9000, 18.2); aioquic pays no heed to the latter."""
        address, config = self.peer_address, self._config
        on_loopback = address is not None and ip_address(address[0].partition("%")[0]).is_loopback
        largest = config.loopback_datagram_size if on_loopback else config.datagram_size
        return min(largest, self._connection.peer_takes or config.datagram_size, self._fits)

    def was_too_large(self, size: int) -> None:
        """Send smaller datagrams: the system says that one of this size does not fit."""
        smaller = (step for step in (MACOS_LARGEST, self._config.datagram_size, SMALLEST_INITIAL) if step < size)
        self._fits = next(smaller, SMALLEST_INITIAL)
        self._connection.use_datagrams_of(min(self._fits, self._connection.datagram_size))

    # ---- streams

    @property
    def can_open(self) -> bool:
        """Whether the peer allows one more stream."""
        connection = self._connection
        return connection._local_next_stream_id_bidi // 4 < connection._remote_max_streams_bidi

    def open_stream(self) -> int:
        """Return the id of a new stream."""
        stream_id = self._connection.get_next_available_stream_id()
        self._connection.send_stream_data(stream_id, b"")
        self._flow.stream(stream_id, self._now)
        return stream_id

    def is_new(self, stream_id: int) -> bool:
        """Say, once, whether a stream of the peer is new."""
        if stream_id & 1 == self._first_own:
            return False
        while self._next_of_peer <= stream_id:
            # A stream opens all before it, but what comes first on those may arrive later (RFC 9000, 2.1).
            self._unseen.add(self._next_of_peer)
            self._next_of_peer += 4
        if stream_id not in self._unseen:
            return False
        self._unseen.discard(stream_id)
        return True

    def send_room(self, stream_id: int) -> int:
        """Return how many bytes the stream may queue."""
        stream, config = self._connection._streams.get(stream_id), self._config
        if stream is None:
            return config.send_buffer
        sender = stream.sender
        return config.send_buffer - (sender._buffer_stop - sender._buffer_start)

    def write(self, stream_id: int, data: bytes | memoryview, *, end: bool = False) -> bool:
        """Queue bytes, and the end."""
        stream = self._connection._streams.get(stream_id)
        # After the end nothing can be sent, nor after a STOP_SENDING, which may be an event not yet seen.
        if stream is None or stream.sender._buffer_fin is not None or stream.sender._reset_error_code is not None:
            return False
        stream.sender.write(data, end)  # type: ignore[arg-type]  # it appends to a bytearray: any buffer will do
        return True

    def unacknowledged(self, stream_id: int) -> bool:
        """Whether something the stream sent may not have arrived."""
        stream = self._connection._streams.get(stream_id)
        return stream is not None and not stream.sender.is_finished

    def reset(self, stream_id: int, code: int) -> None:
        """Give up our direction."""
        stream = self._connection._streams.get(stream_id)
        if stream is not None:
            stream.sender.reset(code)

    def stop(self, stream_id: int, code: int) -> bool:
        """Stop listening."""
        stream = self._connection._streams.get(stream_id)
        if stream is None or stream.receiver.is_finished:
            return self._settle(stream_id)
        if stream_id in self._dropped and stream_id not in self._ignored:
            return False
        self._dropped.add(stream_id)
        self._ignored.pop(stream_id, None)
        stream.receiver.stop(code)
        return True

    def ignore(self, stream_id: int, size: int) -> None:
        """Stop listening, and say so only after `size` more bytes."""
        stream = self._connection._streams.get(stream_id)
        if stream is None or stream.receiver.is_finished:
            self._settle(stream_id)
        else:
            self._dropped.add(stream_id)
            self._ignored[stream_id] = size

    def settle(self, stream_id: int) -> None:
        """Count off what will not be read."""
        stream = self._connection._streams.get(stream_id)
        if stream is None or stream.receiver.is_finished:
            self._settle(stream_id)

    # ---- windows

    def consumed_of(self, stream_id: int) -> int:
        """Return how many bytes the application took."""
        window = self._flow.find(stream_id)
        return 0 if window is None else window.consumed

    def consumed(self, stream_id: int, size: int, now: float) -> bool:
        """Note that the application took bytes."""
        self._now = now
        return self._count(stream_id, size)

    def _count(self, stream_id: int, size: int) -> bool:
        flow, now, rtt = self._flow, self._now, self.rtt
        due = False
        window, stream = flow.find(stream_id), self._connection._streams.get(stream_id)
        if window is None:
            return False
        wanted = stream is not None and not stream.receiver.is_finished and stream_id not in self._dropped
        if window.take(size) and stream is not None and wanted:
            flow.grow_stream(window, now, rtt)
            stream.max_stream_data_local = window.grant(now)
            due = True
        if flow.connection.take(size):
            flow.grow_connection(now, rtt)
            self._connection._local_max_data.value = flow.connection.grant(now)
            due = True
        return due

    def _was_reset(self, stream_id: int) -> None:
        """Count what will never be whole; what was handed out stays counted until it is read."""
        stream = self._connection._streams.get(stream_id)
        if stream is None or stream_id in self._dropped:
            self._settle(stream_id)
            return
        receiver = stream.receiver
        receiver._buffer = bytearray()
        self._flow.stream(stream_id, self._now)
        self._count(stream_id, receiver.highest_offset - receiver.starting_offset())

    def _settle(self, stream_id: int) -> bool:
        """Count what the peer sent on a stream and nobody will read; say whether there is something to send."""
        due = False
        window, stream = self._flow.find(stream_id), self._connection._streams.get(stream_id)
        if stream is not None and (window is not None or stream.receiver.highest_offset):
            window = window or self._flow.stream(stream_id, self._now)
            due = self._count(stream_id, stream.receiver.highest_offset - window.consumed)
        self._flow.forget(stream_id)
        self._dropped.discard(stream_id)
        self._ignored.pop(stream_id, None)
        return due

    # ---- the connection

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._connection.send_ping(0)

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        self._connection.close(error_code=code, reason_phrase=reason)

    def release(self) -> None:
        """Give back what the windows grew by."""
        self._flow.release()
