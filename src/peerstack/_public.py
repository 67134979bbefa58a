"""The names of the package itself; `peerstack` loads this module when one of them is wanted."""

from peerstack._open import open_host
from peerstack.protocols.ping import ping
from peerstack.stack.abc import MuxedConnection, Stream, StreamHandler
from peerstack.stack.errors import (
    ConnectionLost,
    DialError,
    InvalidAddress,
    InvalidInput,
    LimitExceeded,
    NegotiationError,
    PeerIdMismatch,
    RemoteProtocolError,
    StackError,
    StreamReset,
)
from peerstack.stack.events import Observer
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity, PeerId
from peerstack.stack.limits import Limits

__all__ = [
    "ConnectionLost",
    "DialError",
    "Host",
    "Identity",
    "InvalidAddress",
    "InvalidInput",
    "LimitExceeded",
    "Limits",
    "MuxedConnection",
    "NegotiationError",
    "Observer",
    "PeerId",
    "PeerIdMismatch",
    "RemoteProtocolError",
    "StackError",
    "Stream",
    "StreamHandler",
    "StreamReset",
    "open_host",
    "ping",
]
