"""What a host speaks below its protocols: transports, private networks, one security protocol, one muxer."""

import re
import ssl
from pathlib import Path

from libp2p.crypto import x25519
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.tls.transport import PROTOCOL_ID as TLS
from libp2p.security.tls.transport import TLSTransport
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.quic.config import QUICTransportConfig
from libp2p.transport.quic.transport import QUICTransport
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.transport.websocket.transport import WebsocketConfig, WebsocketTransport
from multiaddr import Multiaddr

MAX_STREAMS = 2048
MAX_CONNECTIONS = 100_000
MAX_UNREAD = 32 << 20
MUXERS = {"yamux": {YAMUX: Yamux}, "mplex": {MPLEX_PROTOCOL_ID: Mplex}}
SECURE_WEBSOCKET = re.compile(r"/ip[46]/[^/]+/tcp/\d+/(tls/ws|wss)")
LISTENS = (SECURE_WEBSOCKET, re.compile(r"/ip[46]/[^/]+/(tcp/\d+(/ws)?|udp/\d+/quic-v1)"))


def add_options(parser):
    """Add the options of this module to the command line."""
    parser.add_argument("--security", default="noise")
    parser.add_argument("--muxer", default="yamux")
    parser.add_argument("--cert")
    parser.add_argument("--cert-key")
    parser.add_argument("--ca")
    parser.add_argument("--psk")


def unsupported_layers(options):
    """Return `(what, reason)` of the first option that cannot be had, or None."""
    if options.security not in ("noise", "tls"):
        return f"security {options.security}", "not a security protocol of this peer"
    if options.muxer not in MUXERS:
        return f"muxer {options.muxer}", "not a muxer of this peer"
    for address in options.listen:
        if address.startswith("/unix/"):
            return f"listen {address}", "py-libp2p has no transport for unix sockets"
        if not any(form.fullmatch(address) for form in LISTENS):
            return f"listen {address}", "this peer speaks TCP, WebSocket and QUIC over IP"
    return None


def target(address):
    """Return the peer and address that py-libp2p has to dial for `address`."""
    # It refuses /tls/ws with a peer id behind it, and takes /wss, which means the same.
    return info_from_p2p_addr(Multiaddr(address.replace("/tls/ws/p2p/", "/wss/p2p/")))


def layers(key_pair, options):
    """Return what `new_host` has to be given for a host that dials every transport."""
    security, muxer = _security(key_pair, options), MUXERS[options.muxer]
    upgrader = TransportUpgrader(secure_transports_by_protocol=security, muxer_transports_by_protocol=muxer)
    websocket = WebsocketConfig(
        tls_client_config=ssl.create_default_context(cafile=options.ca),
        tls_server_config=_server_context(options),
        max_connections=MAX_CONNECTIONS,
    )
    quic = QUICTransportConfig(
        max_concurrent_streams=MAX_STREAMS,
        MAX_CONCURRENT_STREAMS=MAX_STREAMS,
        MAX_INCOMING_STREAMS=MAX_STREAMS,
        MAX_OUTGOING_STREAMS=MAX_STREAMS,
        max_connections=MAX_CONNECTIONS,
        MAX_STREAM_RECEIVE_BUFFER=MAX_UNREAD,  # what does not fit is dropped
    )
    return {
        "sec_opt": security,
        "muxer_opt": muxer,
        "transports": [
            TCP(),
            WebsocketTransport(upgrader, config=websocket),
            *([] if options.psk else [QUICTransport(key_pair.private_key, config=quic)]),
        ],
        "psk": options.psk and _pre_shared_key(options.psk),
    }


def _pre_shared_key(file):
    """Return the key of a private network in hex, from a key file in base16."""
    return Path(file).read_text().splitlines()[2]


def _security(key_pair, options):
    if options.security == "tls":
        return {TLS: TLSTransport(key_pair)}
    noise_key = x25519.create_new_key_pair().private_key
    return {NOISE: NoiseTransport(key_pair, noise_privkey=noise_key)}


def _server_context(options):
    if options.cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.cert_key)
    return context
