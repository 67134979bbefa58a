"""What a host speaks below its protocols: every transport, one security protocol, one muxer."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ssl import SSLContext
from typing import Final

from interop.peerstack.pubsub import UnsupportedOption
from peerstack.stack.abc import Muxer, Protector, Security, StreamTransport, Transport
from peerstack.stack.identity import Identity
from peerstack.stack.muxing import mplex, yamux
from peerstack.stack.security.noise import Noise
from peerstack.stack.security.pnet import PreSharedKey
from peerstack.stack.security.tls import Tls
from peerstack.transports.quic import QuicConfig, QuicTransport
from peerstack.transports.tcp import TcpTransport
from peerstack.transports.unix import UnixTransport
from peerstack.transports.websocket import WebSocketTransport, client_context, server_context

STREAMS: Final = 4096
"""Of one connection; the contract wants 1000."""
CONNECTIONS: Final = 4096
YAMUX: Final = yamux.Config(max_inbound_streams=STREAMS, max_outbound_streams=STREAMS, accept_backlog=STREAMS)
MPLEX: Final = mplex.Config(
    max_stream_buffer=16 << 20,  # what the contract asks for, since there is no back-pressure
    max_inbound_streams=STREAMS,
    max_outbound_streams=STREAMS,
    accept_backlog=STREAMS,
)
QUIC: Final = QuicConfig(max_inbound_streams=STREAMS, accept_backlog=CONNECTIONS)
SECURITY: Final = {"noise": Noise, "tls": Tls}
MUXERS: Final[Mapping[str, Muxer]] = {"yamux": yamux.Yamux(YAMUX), "mplex": mplex.Mplex(MPLEX)}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Let a parser know the options."""
    parser.add_argument("--security", default="noise")
    parser.add_argument("--muxer", default="yamux")
    parser.add_argument("--cert", default=None)
    parser.add_argument("--cert-key", default=None)
    parser.add_argument("--ca", default=None)
    parser.add_argument("--psk", default=None)
    parser.add_argument("--quic-datagram", type=int, default=QUIC.loopback_datagram_size)


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What the options ask for; each host gets security and QUIC of its own, for its own identity."""

    muxer: Muxer
    secure_by: str
    quic: QuicConfig
    shown: SSLContext | None = None
    """What secure WebSocket listeners show."""
    trusted: SSLContext | None = None
    """What secure WebSocket dials trust; the system's authorities where it is None."""
    network: Protector | None = None
    """The private network to be in."""

    def transports(self) -> list[StreamTransport]:
        """Return TCP, WebSocket and unix sockets."""
        web = WebSocketTransport(TcpTransport(), server_tls=self.shown, client_tls=self.trusted)
        return [TcpTransport(), web, UnixTransport()]

    def native_transports(self, identity: Identity) -> list[Transport]:
        """Return QUIC, which no private network can protect."""
        return [QuicTransport(identity, self.quic)] if self.network is None else []

    def security(self, identity: Identity) -> list[Security]:
        """Return the one security protocol."""
        return [SECURITY[self.secure_by](identity)]


def layers(options: argparse.Namespace) -> Layers:
    """Return what the options ask for. Raises UnsupportedOption, and OSError for files that cannot be read."""
    if options.security not in SECURITY:
        raise UnsupportedOption(f"security {options.security}", "this peer has noise and tls")
    if options.muxer not in MUXERS:
        raise UnsupportedOption(f"muxer {options.muxer}", "this peer has yamux and mplex")
    return Layers(
        muxer=MUXERS[options.muxer],
        secure_by=options.security,
        quic=replace(QUIC, loopback_datagram_size=options.quic_datagram),
        shown=None if options.cert is None else server_context(options.cert, options.cert_key),
        trusted=None if options.ca is None else client_context(options.ca),
        network=None if options.psk is None else PreSharedKey.load(options.psk),
    )
