"""What can be set of mplex, and why each default is what it is."""

from __future__ import annotations

from dataclasses import dataclass

from .wire import MAX_MESSAGE

MiB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of one mplex session."""

    max_message_sent: int = 64 * 1024
    """Bytes of one message of ours; larger sends are split, so that streams take turns. The spec allows 1 MiB."""
    max_stream_buffer: int = 4 * MiB
    """Bytes received on a stream and not read; then nothing more is read from the connection (js-libp2p: 4 MiB).
    What was under way in one batch, some hundred KiB, comes on top."""
    stall_timeout: float = 5.0
    """Seconds a stream may stall all others that way before it is reset (go-libp2p: 5 s)."""
    max_buffered: int = 64 * MiB
    """Bytes received on one connection that no handler has read; the stream that exceeds it is reset."""
    max_inbound_streams: int = 1024
    """Streams the peer may hold open; more are reset. It costs two bytes to open one."""
    max_outbound_streams: int = 1024
    """Streams of ours that may be open; more wait."""
    accept_backlog: int = 256
    """Inbound streams not accepted yet; more are reset."""
    opens_per_second: int = 5000
    """Rate at which the peer may open streams, with bursts of up to two seconds' worth; against rapid reset
    (CVE-2023-44487), which never exceeds a count of open streams."""
    idle_frames_per_second: int = 20_000
    """Frames that carry nothing, or are for streams that are gone; against floods that cost only CPU."""
    keepalive_interval: float = 30.0
    """Seconds of silence after which the peer is asked for an answer, by opening a stream (as yamux does by a ping)."""
    keepalive_timeout: float = 10.0
    """Seconds the peer then has to send anything at all."""
    close_timeout: float = 60.0
    """Seconds the peer has to end its half of a stream that we closed; then the stream is reset."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_message_sent <= MAX_MESSAGE:
            raise ValueError(f"max_message_sent must be from 1 to {MAX_MESSAGE}, not {self.max_message_sent}")
        if min(self.max_stream_buffer, self.max_buffered) < 1:
            raise ValueError("buffers must hold at least 1 byte, or nothing could be received")
        if min(self.max_inbound_streams, self.max_outbound_streams, self.accept_backlog) < 1:
            raise ValueError("every limit on streams must be at least 1, or nothing could be opened")
        if min(self.opens_per_second, self.idle_frames_per_second) < 1:
            raise ValueError("rates must be at least 1 a second, or every peer would exceed them")
        times = (self.stall_timeout, self.close_timeout, self.keepalive_interval, self.keepalive_timeout)
        if min(times) <= 0:
            raise ValueError("timeouts must be more than 0 seconds")
