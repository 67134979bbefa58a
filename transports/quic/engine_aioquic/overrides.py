"""aioquic's connection with libp2p's certificates, windows that follow the reader, and tighter bounds.

aioquic has no switch for client certificates, windows by consumption, stream limits, or reset tokens that last. What is
overridden, read or set here for that is listed, and tested name by name; aioquic is pinned to its minor version.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Final

from aioquic._buffer import Buffer
from aioquic.buffer import encode_uint_var
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.connection import QuicConnection, QuicConnectionError, QuicNetworkPath, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode, QuicFrameType, pull_quic_transport_parameters
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketPacer, QuicPacketSpace
from aioquic.quic.stream import QuicStream, QuicStreamReceiver

from ..certificates import CertificateVerifier
from ..config import QuicConfig
from ..tokens import reset_token
from .certificates import CertificateContext

CONNECTION_NAMES: Final = (
    "_crypto_streams",
    "_handle_crypto_frame",
    "_handle_stream_frame",
    "_host_cids",
    "_initialize",
    "_local_max_data",
    "_local_max_streams_bidi",
    "_local_max_streams_uni",
    "_loss",
    "_max_datagram_size",
    "_on_connection_limit_delivery",
    "_on_max_stream_data_delivery",
    "_parse_transport_parameters",
    "_replenish_connection_ids",
    "_serialize_transport_parameters",
    "_streams",
    "_streams_queue",
    "_write_application",
    "_write_connection_limits",
    "_write_ping_frame",
    "_write_stream_limits",
)
"""The private names of `QuicConnection` that this module overrides, reads or sets."""
RECEIVER_NAMES: Final = ("_ranges",)
RECOVERY_NAMES: Final = ("_cc", "_pacer")
MAX_UDP_PAYLOAD: Final = 65_527
"""What we take in one datagram: all that UDP can carry."""
SHORT_RTT: Final = 0.005
"""Seconds below which every pause for pacing is longer than the burst it prevents."""
PING_PADDING: Final = 32
"""Bytes of padding: with the least of headers, a PING and the tag there are 52 bytes then."""
_LIMIT_CAPACITY, _STREAM_LIMIT_CAPACITY = 9, 17

# A library stays silent unless its user asks; aioquic warns of everything that a peer does wrong.
logging.getLogger("quic").addHandler(logging.NullHandler())


class ShortPathPacer(QuicPacketPacer):
    """Paces on long paths only."""

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        """Take note of a new window or round-trip time."""
        if smoothed_rtt < SHORT_RTT:
            self.packet_time = None
        else:
            super().update_rate(congestion_window, smoothed_rtt)


class _Streams(dict[int, QuicStream]):
    """aioquic's streams by id; while it writes packets, only those are seen whose windows are to be told."""

    due: list[QuicStream] | None = None

    def values(self) -> Collection[QuicStream]:  # type: ignore[override]  # for loops, which is all that aioquic does
        """Return the streams to look at."""
        return super().values() if self.due is None else self.due


class LibP2PConnection(QuicConnection):
    """One connection by libp2p's rules."""

    def __init__(
        self,
        configuration: QuicConfiguration,
        settings: QuicConfig,
        verifier: CertificateVerifier,
        reset_key: bytes,
        *,
        original_id: bytes | None = None,
        retry_id: bytes | None = None,
    ) -> None:
        super().__init__(
            configuration=configuration,
            original_destination_connection_id=original_id,
            retry_source_connection_id=retry_id,
        )
        self.verifier = verifier
        self.peer_takes = 0
        """UDP payload that the peer said it takes; 0 while it has not."""
        self._settings = settings
        self._reset_key = reset_key
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = settings.max_inbound_streams
        # Unidirectional streams mean nothing in libp2p: the peer may open none.
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0
        self._streams = self.known_streams = _Streams()
        self._loss._pacer = ShortPathPacer(max_datagram_size=self._max_datagram_size)
        if not configuration.is_client:
            self._host_cids[0].stateless_reset_token = reset_token(reset_key, self._host_cids[0].cid)

    # ---- handshake

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        CertificateContext.adopt(self.tls, self.verifier)

    def _serialize_transport_parameters(self) -> bytes:
        # max_udp_payload_size (0x03): aioquic leaves it to the default, on which senders do not rely.
        size = encode_uint_var(MAX_UDP_PAYLOAD)
        return super()._serialize_transport_parameters() + b"\x03" + encode_uint_var(len(size)) + size

    def _parse_transport_parameters(self, data: bytes, from_session_ticket: bool = False) -> None:
        super()._parse_transport_parameters(data, from_session_ticket)
        self.peer_takes = pull_quic_transport_parameters(Buffer(data=data)).max_udp_payload_size or 0

    def _replenish_connection_ids(self) -> None:
        super()._replenish_connection_ids()
        for connection_id in self._host_cids:
            if not connection_id.was_sent:
                connection_id.stateless_reset_token = reset_token(self._reset_key, connection_id.cid)

    # ---- bounds

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        end = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(start)
        if end > self._settings.max_handshake_bytes:
            raise QuicConnectionError(
                QuicErrorCode.CRYPTO_BUFFER_EXCEEDED, frame_type, f"more than {end - 1} bytes of TLS messages"
            )
        super()._handle_crypto_frame(context, frame_type, buf)
        self._check_gaps(self._crypto_streams[context.epoch].receiver, frame_type)

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        stream_id = buf.pull_uint_var()
        buf.seek(start)
        super()._handle_stream_frame(context, frame_type, buf)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._check_gaps(stream.receiver, frame_type)

    def _check_gaps(self, receiver: QuicStreamReceiver, frame_type: int) -> None:
        if len(receiver._ranges) > self._settings.max_reassembly_gaps:
            raise QuicConnectionError(QuicErrorCode.INTERNAL_ERROR, frame_type, "data arrives in too many pieces")

    # ---- many streams

    def _write_application(self, builder: QuicPacketBuilder, network_path: QuicNetworkPath, now: float) -> None:
        """Look at each stream once for all packets that may go out now; aioquic does for each packet."""
        streams, queue = self.known_streams, self._streams_queue
        busy: list[QuicStream] = []
        idle: list[QuicStream] = []
        for stream in queue:
            (busy if _has_work(stream) else idle).append(stream)
        streams.due = [s for s in streams.values() if s.max_stream_data_local_sent != s.max_stream_data_local]
        self._streams_queue = busy
        try:
            super()._write_application(builder, network_path, now)
        finally:
            # Those that are idle come first when they have something to say: they have waited longest.
            self._streams_queue = idle + self._streams_queue
            streams.due = None

    # ---- keep-alive

    def _write_ping_frame(self, builder: QuicPacketBuilder, uids: Sequence[int] = (), comment: str = "") -> None:
        """Send a PING, for keepalive or as a probe, that is large enough to be answered by a stateless reset.

        A peer that has forgotten us answers with less than it got, so that two hosts cannot keep each other busy, and
        quic-go not at all to less than 43 bytes (RFC 9000, 10.3.3).
        """
        super()._write_ping_frame(builder, list(uids), comment)
        if builder.remaining_buffer_space >= PING_PADDING:
            padding = builder.start_frame(QuicFrameType.PADDING, PING_PADDING)
            padding.push_bytes(bytes(PING_PADDING - 1))

    # ---- windows: the engine decides how far the peer may go, this only says so

    def _write_connection_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace) -> None:
        data, streams = self._local_max_data, self._local_max_streams_bidi
        # MAX_STREAMS is worth a frame when it grants at least what the peer has left (as in aioquic).
        worthwhile = streams.sent - streams.used < streams.value - streams.sent
        for limit in (data, streams) if worthwhile else (data,):
            if limit.value != limit.sent:
                frame = builder.start_frame(
                    limit.frame_type, _LIMIT_CAPACITY, self._on_connection_limit_delivery, (limit,)
                )
                frame.push_uint_var(limit.value)
                limit.sent = limit.value

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream) -> None:
        if stream.max_stream_data_local_sent != stream.max_stream_data_local:
            frame = builder.start_frame(
                QuicFrameType.MAX_STREAM_DATA, _STREAM_LIMIT_CAPACITY, self._on_max_stream_data_delivery, (stream,)
            )
            frame.push_uint_var(stream.stream_id or 0)
            frame.push_uint_var(stream.max_stream_data_local)
            stream.max_stream_data_local_sent = stream.max_stream_data_local

    @property
    def datagram_size(self) -> int:
        """Bytes of the largest datagram that is sent."""
        return self._max_datagram_size

    def use_datagrams_of(self, size: int) -> None:
        """Send datagrams of up to `size` bytes from now on."""
        self._max_datagram_size = size
        self._loss._pacer._max_datagram_size = size
        congestion = self._loss._cc
        if isinstance(congestion, RenoCongestionControl):
            congestion._max_datagram_size = size


def _has_work(stream: QuicStream) -> bool:
    """Whether aioquic has something to send of the stream, or to forget the whole of it."""
    sender = stream.sender
    return not sender.buffer_is_empty or sender.reset_pending or stream.receiver.stop_pending or stream.is_finished
