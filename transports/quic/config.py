"""The settings of the QUIC transport."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from peerstack.stack.net.datagrams import SocketAddress

MIB = 1024 * 1024
MACOS_LARGEST: Final = 9216
"""Bytes of a datagram that macOS takes on loopback (net.inet.udp.maxdgram)."""
CLOSE_COPIES: Final = 3
"""Datagrams with CONNECTION_CLOSE to a peer that is known: one that misses it waits for the idle timeout."""
ANSWERS_A_SECOND: Final = 100.0
"""To datagrams that belong to nothing, by which any address could make us send: version negotiation and resets."""
GROWTH_ROUND_TRIPS: Final = 4
"""Window updates closer together than this mean that the window, not the network, holds up the peer (quic-go,
go-yamux)."""


@dataclass(frozen=True, kw_only=True)
class QuicConfig:
    """Settings of one transport; sizes in bytes, times in seconds."""

    connect_timeout: float = 5.0
    """For the first answer of the peer (as for TCP in `SwarmConfig`)."""
    handshake_timeout: float = 10.0
    """For the rest of the handshake."""
    idle_timeout: float = 30.0
    """Without a sign of the peer, after which the connection is lost (quic-go: 30 s)."""
    keepalive_interval: float = 15.0
    """Of silence, after which the peer is asked for an answer (go-libp2p: 15 s)."""
    max_inbound_streams: int = 256
    """Streams the peer may hold open: one frame costs it 3 bytes and us a buffer (go-libp2p: 256)."""
    stream_window: int = MIB // 2
    """What a peer may send on a new stream before any of it is read (quic-go: 512 KiB)."""
    max_stream_window: int = 10 * MIB
    """To which the window of a busy stream may grow (go-libp2p: 10 MiB)."""
    connection_window: int = 3 * MIB // 2
    """What a peer may send on all streams together before any of it is read: three unread streams fill it."""
    max_connection_window: int = 15 * MIB
    """To which that may grow, within the budget of all connections (go-libp2p: 15 MiB)."""
    send_buffer: int = MIB // 2
    """Bytes of one stream that wait to be sent or acknowledged, beyond which senders wait."""
    connection_send_buffer: int = 4 * MIB
    """The same for a whole connection; beyond it each stream still has `least_send_buffer`."""
    least_send_buffer: int = 32 * 1024
    """What a stream may always queue, so that unread streams do not stop the others."""
    max_reassembly_gaps: int = 1024
    """Pieces of one stream that arrived out of order: one-byte pieces with holes cost us 100 times what they cost the
    peer (CVE-2026-25800)."""
    max_handshake_bytes: int = 64 * 1024
    """Of TLS messages, which are kept before the peer is authenticated; ours have about 1.5 KiB."""
    close_timeout: float = 10.0
    """For the peer's answer to a stream that was closed before any of it was read; then it is told to stop sending."""
    datagram_size: int = 1350
    """UDP payload on paths that were not measured: fits into IPv6 with 1500 bytes and a tunnel (Chromium's choice)."""
    loopback_datagram_size: int = 16_000
    """The same on loopback, or what the peer declares that it takes: nothing is between us that could not."""
    unverified_handshake_rate: float = 1000.0
    """Handshakes a second from addresses not proved, above which proof is asked for first (go-libp2p: 1000/s)."""
    accept_backlog: int = 128
    """Connections that arrived and were not accepted; more are ignored, and try again."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name} must be more than 0, not {value}")
        if not 1200 <= self.datagram_size <= 1452:
            raise ValueError(
                f"datagram_size is {self.datagram_size}; RFC 9000 wants 1200 or more, Ethernet 1452 or less"
            )
        if not 1200 <= self.loopback_datagram_size <= 16_300:
            raise ValueError(f"loopback_datagram_size is {self.loopback_datagram_size}, not between 1200 and 16300")
        if self.keepalive_interval >= self.idle_timeout:
            raise ValueError("keepalive_interval must be less than idle_timeout, or idle connections die")
        if self.stream_window > self.max_stream_window:
            raise ValueError(f"stream_window starts at {self.stream_window}, more than max_stream_window")
        if self.connection_window > self.max_connection_window:
            raise ValueError(f"connection_window starts at {self.connection_window}, more than max_connection_window")

    def datagram_size_to(self, address: SocketAddress | None) -> int:
        """Return how large datagrams to an address may be; what the peer takes, or the system, may be less."""
        on_loopback = address is not None and ip_address(address[0].partition("%")[0]).is_loopback
        return self.loopback_datagram_size if on_loopback else self.datagram_size
