"""What can be set of yamux, and why each default is what it is."""

from __future__ import annotations

from dataclasses import dataclass

from .wire import INITIAL_WINDOW

MiB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of one yamux session."""

    max_window: int = 16 * MiB
    """Bytes to which the receive window of a busy stream may grow; go-libp2p's limit."""
    max_window_growth: int = 32 * MiB
    """Bytes by which all windows of one connection together may exceed their initial 256 KiB."""
    max_buffered: int = 64 * MiB
    """Bytes received on one connection that no handler has read; the stream that exceeds it is reset.
    Initial windows come with the spec: 1000 streams may send 256 KiB each before we can limit them."""
    max_discarded: int = 4 * MiB
    """Bytes the peer may go on sending on a stream that we closed, before it is reset: our answer may be on its way to
    a peer that first sends all of its question. They cost no memory. A frame counts as 1 KiB at least."""
    max_inbound_streams: int = 1000
    """Streams the peer may hold open: a SYN costs it 12 bytes and us a task. hashicorp and js allow 1000."""
    max_outbound_streams: int = 1000
    """Streams of ours that may be open; more wait."""
    accept_backlog: int = 256
    """Inbound streams not accepted yet; more are reset (the backlog of every implementation)."""
    ack_backlog: int = 256
    """Outbound streams the peer has not acknowledged; more wait (spec, "ACK backlog")."""
    early_streams: int = 8
    """Outbound streams before the peer's first answer: js-libp2p drops connections with more than 10."""
    opens_per_second: int = 5000
    """Rate at which the peer may open streams, with bursts of up to two seconds' worth; against rapid reset
    (CVE-2023-44487), which never exceeds a count of open streams."""
    idle_frames_per_second: int = 20_000
    """Frames that carry nothing (empty data, pings, zero credit, frames for streams that are gone); against floods
    that cost only CPU."""
    keepalive_interval: float = 30.0
    """Seconds from one ping to the next; they measure the round trip, too."""
    keepalive_timeout: float = 10.0
    """Seconds the peer then has to send anything at all."""
    close_timeout: float = 60.0
    """Seconds the peer has to end its half of a stream that we closed; then the stream is reset."""

    def __post_init__(self) -> None:
        if self.max_window < INITIAL_WINDOW:
            raise ValueError(f"max_window is {self.max_window}, but the spec grants {INITIAL_WINDOW} to start with")
        if self.max_buffered < INITIAL_WINDOW:
            raise ValueError(f"max_buffered is {self.max_buffered}, less than one initial window of {INITIAL_WINDOW}")
        if self.max_discarded < 0:
            raise ValueError(f"max_discarded is {self.max_discarded}, less than 0 bytes")
        counts = (self.max_inbound_streams, self.max_outbound_streams, self.accept_backlog, self.ack_backlog)
        if min(*counts, self.early_streams) < 1:
            raise ValueError("every limit on streams must be at least 1, or nothing could be opened")
        if min(self.opens_per_second, self.idle_frames_per_second) < 1:
            raise ValueError("rates must be at least 1 a second, or every peer would exceed them")
        if min(self.keepalive_interval, self.keepalive_timeout, self.close_timeout) <= 0:
            raise ValueError("intervals and timeouts must be more than 0 seconds")
