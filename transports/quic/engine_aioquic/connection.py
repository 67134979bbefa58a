"""One connection of the engine on aioquic: its streams and windows, datagrams in and out, and events of `interface`."""

from __future__ import annotations

import math
import sys
from typing import Final, Protocol

from aioquic.quic import events as quic
from aioquic.quic.connection import QuicConnectionState
from aioquic.quic.packet import QuicErrorCode, QuicFrameType
from aioquic.quic.stream import QuicStream

from peerstack.stack.errors import StackError
from peerstack.stack.net.datagrams import SocketAddress

from .. import reasons
from ..config import MACOS_LARGEST
from ..interface import (
    Acknowledged,
    Answered,
    Connected,
    ConnectionStatistics,
    Ended,
    EngineSettings,
    Event,
    Readable,
    ResetReceived,
    StopReceived,
    StreamOpened,
    StreamsAvailable,
    Writable,
)
from .flow import ReceiveFlow, ReceiveStream
from .overrides import LibP2PConnection
from .packets import SMALLEST_INITIAL
from .send_buffer import Acknowledgements, SendBuffers, is_open

ENGINE_NAMES: Final = (
    "_close_at",
    "_close_event",
    "_events",
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
RECOVERY_NAMES: Final = ("_rtt_initialized", "_rtt_smoothed")


class Routes(Protocol):
    """What the engine keeps for its connections: by which ids they are addressed, and what resets them."""

    def add_route(self, connection_id: bytes, connection: AioquicConnection) -> None:
        """Route datagrams by one more id."""
        ...

    def remove_route(self, connection_id: bytes) -> None:
        """Route nothing by this id any more."""
        ...

    def expect_reset(self, token: bytes, connection: AioquicConnection) -> None:
        """Know the token of a stateless reset; the one before is void."""
        ...


class AioquicConnection:
    """One connection; the methods of `interface.SocketEngine` for it, without its handle."""

    def __init__(
        self, handle: int, connection: LibP2PConnection, settings: EngineSettings, routes: Routes, now: float
    ) -> None:
        self.handle = handle
        self.scheduled = math.inf
        """When the engine looks at this connection again."""
        self.connected = False
        """Whether the peer is authenticated."""
        self.ended = False
        self.ids: set[bytes] = set()
        """By which the peer may address this connection."""
        self.reset_token = b""
        """With which the peer would say that it has forgotten this connection."""
        self._config = config = settings.config
        self._connection = connection
        self._verifier = connection.verifier
        self._routes = routes
        self._flow = ReceiveFlow(
            stream=(config.stream_window, config.max_stream_window),
            connection=(config.connection_window, config.max_connection_window),
            budget=settings.connection_budget(),
        )
        self._send = SendBuffers(connection.known_streams, config)
        self._acknowledgements = Acknowledgements(connection.known_streams)
        self._updates: dict[int, ReceiveStream] = {}
        """Streams whose windows have moved on so far that the peer is to be told."""
        self._update_connection = False
        self._first_own = connection.get_next_available_stream_id()
        self._next_of_peer = 1 - self._first_own
        self._not_opened: set[int] = set()
        """Streams of the peer below the highest of which nothing came yet."""
        self._wants_streams = False
        self._wants_answer = is_client = connection.configuration.is_client
        self._first_flight = is_client
        """Whether the peer has not answered the first packet."""
        self._came = False
        """Whether a datagram came since the peer was asked for an answer."""
        self._received = self._asked = now
        self._unanswered_since: float | None = None
        self._fits = sys.maxsize
        """Bytes of the largest datagram that the system was not seen to refuse."""
        self._grows = False
        """Whether larger datagrams may be sent than so far, once the handshake is over."""
        self._silent = False
        """Whether nothing more may be sent, since the peer sent a stateless reset (RFC 9000, 10.3.1)."""
        self._now = now
        self._failure: StackError | None = None
        self._told: list[Event] = []
        """Events that calls brought about, for the next `collect`."""
        self.add_id(connection.host_cid)

    # ---- what is known

    @property
    def peer_address(self) -> SocketAddress | None:
        """Where datagrams go now."""
        address: SocketAddress | None = self._connection.get_peer_address()
        return address

    @property
    def statistics(self) -> ConnectionStatistics:
        """See `SocketEngine.statistics`."""
        return ConnectionStatistics(self._rtt, self._unanswered_since)

    @property
    def _rtt(self) -> float | None:
        loss = self._connection._loss
        return loss._rtt_smoothed if loss._rtt_initialized else None

    # ---- datagrams and time

    def receive(self, datagram: bytes, address: SocketAddress, now: float) -> None:
        """Take a datagram."""
        paths = self._connection._network_paths
        # A NAT may give the peer another port, but a peer that moves would escape what is counted by address.
        if self.ended or (paths and paths[0].addr[0] != address[0]):
            return
        self._received = now
        self._came = True
        self._unanswered_since = None
        self._connection.receive_datagram(datagram, address, now)

    def send(self, now: float) -> list[tuple[bytes, SocketAddress]]:
        """Return the datagrams that may go out now."""
        connection, self._now = self._connection, now
        if not connection._network_paths:
            return []
        if self._updates or self._update_connection:
            self._open_windows(now)
        datagrams: list[tuple[bytes, SocketAddress]] = connection.datagrams_to_send(now)
        if not datagrams:
            return []
        if self._unanswered_since is None and any(space.ack_eliciting_in_flight for space in connection._loss.spaces):
            self._unanswered_since = now
        if self._grows:
            # Not before the flight that ends the handshake: what has an Initial packet is filled up to the full size.
            self._grows = False
            connection.use_datagrams_of(self._largest())
        path = connection._network_paths[0]
        if not path.is_validated and path.bytes_sent > 3 * path.bytes_received:
            return []  # a CONNECTION_CLOSE, for which aioquic does not look at the limit (RFC 9000, 8.1)
        return datagrams

    def deadline(self) -> float | None:
        """Return when time matters next."""
        if self.ended or self._connection._close_at is None:
            return None
        keepalive = max(self._received, self._asked) + self._config.keepalive_interval
        timer = self._connection.get_timer()
        return keepalive if timer is None else min(timer, keepalive)

    def handle_deadline(self, now: float) -> None:
        """Run what is due."""
        if self.ended or self._connection._close_at is None:
            return
        if now >= max(self._received, self._asked) + self._config.keepalive_interval:
            self._asked = now
            if self.connected:
                self._connection.send_ping(0)
        timer = self._connection.get_timer()
        if timer is not None and now >= timer:
            self._connection.handle_timer(now)

    def too_large(self, size: int) -> None:
        """Send smaller datagrams: the system says that one of this size does not fit."""
        smaller = (step for step in (MACOS_LARGEST, self._config.datagram_size, SMALLEST_INITIAL) if step < size)
        self._fits = next(smaller, SMALLEST_INITIAL)
        self._connection.use_datagrams_of(min(self._fits, self._connection.datagram_size))

    def _largest(self) -> int:
        """Return what the path and the peer take (RFC 9000, 18.2); aioquic pays no heed to the latter."""
        config = self._config
        largest = config.datagram_size_to(self.peer_address)
        return min(largest, self._connection.peer_takes or config.datagram_size, self._fits)

    # ---- events

    def collect(self, events: list[Event], now: float) -> None:
        """Add what happened since the last call."""
        connection = self._connection
        self.translate(events, now)
        if self.connected and (not self.reset_token or self.reset_token != self._peer_reset_token):
            self._note_reset_token()
        if self._wants_answer and self._is_answered():
            self._wants_answer = False
            events.append(Answered(self.handle))
        if self._send.blocked:
            idle = not connection._loss.bytes_in_flight
            events += [Writable(self.handle, stream) for stream in self._send.unblocked(idle=idle)]
        if self._wants_streams and self._can_open():
            self._wants_streams = False
            events.append(StreamsAvailable(self.handle))
        if self._acknowledgements.marks:
            events += [Acknowledged(self.handle, mark) for mark in self._acknowledgements.reached()]
        if self._told:
            events += self._told
            self._told.clear()
        if not self.ended and connection._close_event is not None:
            self.ended = True
            events.append(Ended(self.handle, self._reason(connection._close_event)))

    def translate(self, events: list[Event], now: float) -> None:
        """Add what aioquic tells; it issues connection ids when it sends."""
        told = self._connection._events
        while told:
            self._translate(told.popleft(), events, now)

    def _translate(self, event: quic.QuicEvent, events: list[Event], now: float) -> None:
        match event:
            case quic.StreamDataReceived(stream_id=stream_id):
                self._data_received(event, self._opened(stream_id, events, now), events)
            case quic.StreamReset(stream_id=stream_id, error_code=code):
                self._reset_received(stream_id, code, self._opened(stream_id, events, now), events)
            case quic.StopSendingReceived(stream_id=stream_id, error_code=code):
                self._opened(stream_id, events, now)
                events.append(StopReceived(self.handle, stream_id, code))
            case quic.HandshakeCompleted():
                self.connected = True
                self._connection.use_datagrams_of(min(self._largest(), self._connection.datagram_size))
                self._grows = True
                events.append(Connected(self.handle))
            case quic.ConnectionIdIssued(connection_id=connection_id):
                self.add_id(connection_id)
            case quic.ConnectionIdRetired(connection_id=connection_id):
                self.ids.discard(connection_id)
                self._routes.remove_route(connection_id)

    def add_id(self, connection_id: bytes) -> None:
        """Note one more id by which the peer may address this connection."""
        self.ids.add(connection_id)
        self._routes.add_route(connection_id, self)

    def _note_reset_token(self) -> None:
        if not self._peer_reset_token:
            # The first id of a client has no token (RFC 9000, 10.3): use one that has, or its restart goes unnoticed.
            self._connection.change_connection_id()
        if token := self._peer_reset_token:
            self._routes.expect_reset(token, self)
            self.reset_token = token

    @property
    def _peer_reset_token(self) -> bytes:
        return self._connection._peer_cid.stateless_reset_token or b""

    def _is_answered(self) -> bool:
        """Say whether something came from the peer since it was asked."""
        if self._first_flight:
            self._first_flight = self._connection._state is QuicConnectionState.FIRSTFLIGHT
            return not self._first_flight
        return self._came

    def _reason(self, event: quic.ConnectionTerminated) -> StackError | None:
        failure = self._failure or self._verifier.failure
        if failure is not None:
            return failure
        code, reason, connected = int(event.error_code), event.reason_phrase, self.connected
        if self._connection._state is QuicConnectionState.DRAINING:
            return reasons.closed_by_peer(code, reason, application=event.frame_type is None, connected=connected)
        if reason == "Idle timeout":
            return reasons.timed_out()
        if reason == "Could not find a common protocol version":
            return reasons.no_common_version()
        if code == QuicErrorCode.NO_VIABLE_PATH:
            return reasons.path_lost()
        return reasons.protocol_violation(code, reason, connected=connected)

    # ---- the end

    def fail(self, failure: StackError, events: list[Event]) -> None:
        """End the connection for a reason that aioquic does not know."""
        if not self.ended:
            self.ended = True
            self._failure = failure
            events.append(Ended(self.handle, failure))

    def was_reset(self, events: list[Event]) -> None:
        """End the connection: the peer has forgotten it."""
        self._silent = True
        self.fail(reasons.forgotten(), events)

    def close(self, code: int, reason: str, now: float) -> list[tuple[bytes, SocketAddress]]:
        """End the connection; return the datagrams that say so, none if the peer knows."""
        self._flow.release()
        if self._silent:
            return []
        if self._failure is None:
            self._connection.close(error_code=code, reason_phrase=reason)
        else:
            self._connection.close(error_code=QuicErrorCode.INTERNAL_ERROR, frame_type=QuicFrameType.PADDING)
        return self.send(now)

    # ---- streams, sending

    def _can_open(self) -> bool:
        connection = self._connection
        return connection._local_next_stream_id_bidi // 4 < connection._remote_max_streams_bidi

    def open(self) -> int | None:
        """Return the id of a new stream, if the peer allows one more."""
        if not self._can_open():
            self._wants_streams = True
            return None
        stream_id = self._connection.get_next_available_stream_id()
        self._connection.send_stream_data(stream_id, b"")
        self._flow.add(stream_id, self._now)
        return stream_id

    def write(self, stream_id: int, data: bytes | memoryview) -> int:
        """Queue what there is room for."""
        return self._send.write(stream_id, data)

    def finish(self, stream_id: int) -> None:
        """End our direction."""
        stream = self._streams.get(stream_id)
        if stream is not None and is_open(stream.sender):
            stream.sender.write(b"", True)

    def reset(self, stream_id: int, code: int) -> None:
        """Give up our direction."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.sender.reset(code)

    def mark(self) -> int:
        """Name this moment; see `SocketEngine.mark`."""
        return self._acknowledgements.mark()

    def ping(self) -> None:
        """Ask for an answer."""
        self._wants_answer, self._came = True, False
        self._connection.send_ping(0)

    @property
    def _streams(self) -> dict[int, QuicStream]:
        return self._connection._streams

    # ---- streams, receiving

    def _opened(self, stream_id: int, events: list[Event], now: float) -> ReceiveStream | None:
        """Return the receiving direction of a stream; the first thing that comes on a stream of the peer opens it."""
        if self._is_new(stream_id):
            events.append(StreamOpened(self.handle, stream_id))
            return self._flow.add(stream_id, now)
        return self._flow.find(stream_id)

    def _is_new(self, stream_id: int) -> bool:
        if stream_id & 1 == self._first_own:
            return False
        while self._next_of_peer <= stream_id:
            # A stream opens all before it, but what comes first on those may arrive later (RFC 9000, 2.1).
            self._not_opened.add(self._next_of_peer)
            self._next_of_peer += 4
        if stream_id not in self._not_opened:
            return False
        self._not_opened.discard(stream_id)
        return True

    def _data_received(self, event: quic.StreamDataReceived, stream: ReceiveStream | None, events: list[Event]) -> None:
        if stream is None:
            return
        if stream.dropped:
            self._count(event.stream_id, stream, len(event.data))
            if event.end_stream:
                self._forget(event.stream_id, stream)
            return
        if event.data:
            stream.append(event.data)
        stream.ended = event.end_stream
        if not stream.announced:
            stream.announced = True
            events.append(Readable(self.handle, event.stream_id))

    def _reset_received(self, stream_id: int, code: int, stream: ReceiveStream | None, events: list[Event]) -> None:
        if stream is None:
            return
        if stream.dropped:
            self._forget(stream_id, stream)
            return
        known = self._streams.get(stream_id)
        if known is not None:
            # What will never be whole takes no memory; what arrived in order counts until it is read.
            known.receiver._buffer = bytearray()
            self._count(stream_id, stream, known.receiver.highest_offset - known.receiver.starting_offset())
        stream.reset_code = code
        if stream.empty:
            self._flow.forget(stream_id)
            events.append(ResetReceived(self.handle, stream_id, code))

    def read(self, stream_id: int, size: int) -> tuple[bytes, bool] | None:
        """Take what arrived; see `SocketEngine.read`."""
        stream = self._flow.find(stream_id)
        if stream is None:
            return None
        data = stream.take(size)
        if data:
            self._count(stream_id, stream, len(data))
        if stream.empty:
            if stream.ended:
                self._flow.forget(stream_id)
                return data, True
            stream.announced = False
            if stream.reset_code is not None:
                self._flow.forget(stream_id)
                self._told.append(ResetReceived(self.handle, stream_id, stream.reset_code))
        return (data, False) if data else None

    def stop(self, stream_id: int, code: int) -> None:
        """Drop what was not read and what still comes."""
        stream = self._flow.find(stream_id)
        if stream is None or stream.dropped:
            return
        self._count(stream_id, stream, stream.drop())
        receiver = self._streams[stream_id].receiver if stream_id in self._streams else None
        if receiver is None or receiver.is_finished:
            self._flow.forget(stream_id)
        else:
            stream.dropped = True
            receiver.stop(code)

    @property
    def has_news(self) -> bool:
        """Whether calls since the last flush made something to be sent, or told."""
        return bool(self._updates or self._update_connection or self._told)

    def _count(self, stream_id: int, stream: ReceiveStream, size: int) -> None:
        """Count bytes that take no memory any more."""
        if stream.window.take(size):
            self._updates[stream_id] = stream
        if self._flow.connection.take(size):
            self._update_connection = True

    def _forget(self, stream_id: int, stream: ReceiveStream) -> None:
        """Count what the peer sent on a dropped stream and was not counted yet: it has ended."""
        known = self._streams.get(stream_id)
        if known is not None:
            self._count(stream_id, stream, known.receiver.highest_offset - stream.window.consumed)
        self._flow.forget(stream_id)

    def _open_windows(self, now: float) -> None:
        """Let the peer send as much more as was read."""
        flow, rtt = self._flow, self._rtt
        for stream_id, stream in self._updates.items():
            known = self._streams.get(stream_id)
            if known is not None and not known.receiver.is_finished and not stream.dropped:
                flow.grow_stream(stream.window, now, rtt)
                known.max_stream_data_local = stream.window.grant(now)
        self._updates.clear()
        if self._update_connection:
            self._update_connection = False
            flow.grow_connection(now, rtt)
            self._connection._local_max_data.value = flow.connection.grant(now)
