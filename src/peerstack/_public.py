"""The names of the package itself; `peerstack` loads this module when one of them is wanted."""

from peerstack._open import open_host
from peerstack.protocols.ping import ping
from peerstack.stack.abc import ConnectionInfo, Gater, MuxedConnection, Stream, StreamHandler
from peerstack.stack.errors import (
    ConnectionLost,
    DialError,
    InvalidAddress,
    InvalidInput,
    InvalidKey,
    InvalidPeerId,
    KeyFileError,
    KeyPasswordError,
    LimitedConnection,
    LimitExceeded,
    LocalProtocolError,
    NegotiationError,
    PeerIdMismatch,
    Refused,
    RemoteProtocolError,
    ResolveError,
    StackError,
    StreamReset,
)
from peerstack.stack.events import Event, EventsMissed, Observer, PeerConnected, PeerDisconnected
from peerstack.stack.host import Host, Ttl
from peerstack.stack.identity import Identity, KeyType, PeerId, PublicKey
from peerstack.stack.limits import Limits
from peerstack.stack.report import DialReport

__all__ = [
    "ConnectionInfo",
    "ConnectionLost",
    "DialError",
    "DialReport",
    "Event",
    "EventsMissed",
    "Gater",
    "Host",
    "Identity",
    "InvalidAddress",
    "InvalidInput",
    "InvalidKey",
    "InvalidPeerId",
    "KeyFileError",
    "KeyPasswordError",
    "KeyType",
    "LimitExceeded",
    "LimitedConnection",
    "Limits",
    "LocalProtocolError",
    "MuxedConnection",
    "NegotiationError",
    "Observer",
    "PeerConnected",
    "PeerDisconnected",
    "PeerId",
    "PeerIdMismatch",
    "PublicKey",
    "Refused",
    "RemoteProtocolError",
    "ResolveError",
    "StackError",
    "Stream",
    "StreamHandler",
    "StreamReset",
    "Ttl",
    "open_host",
    "ping",
]
