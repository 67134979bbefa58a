"""Why a QUIC connection ended, in our errors and in words, which are the same with every engine."""

from __future__ import annotations

from typing import Final

from peerstack.stack.errors import ConnectionLost, NegotiationError, RemoteProtocolError, StackError
from peerstack.stack.security.tls.alerts import describe_alert
from peerstack.stack.security.tls.records import name_of

NO_ERROR: Final = 0x0
CRYPTO_ERROR: Final = 0x100
"""To which the number of a TLS alert is added."""
_ALERTS: Final = range(CRYPTO_ERROR, CRYPTO_ERROR + 256)
_CODES: Final = (
    "no error",
    "internal error",
    "connection refused",
    "flow control error",
    "stream limit error",
    "stream state error",
    "final size error",
    "frame encoding error",
    "transport parameter error",
    "connection id limit error",
    "protocol violation",
    "invalid token",
    "application error",
    "crypto buffer exceeded",
    "key update error",
    "aead limit reached",
    "no viable path",
    "version negotiation error",
)
"""Names of transport error codes (RFC 9000, section 20.1, and RFC 9368)."""
_LONGEST_REASON: Final = 200


def describe_code(code: int) -> str:
    """Name a transport error code, or the TLS alert in it."""
    if code in _ALERTS:
        return f"TLS alert {name_of(code - CRYPTO_ERROR).replace('_', ' ')}"
    return _CODES[code] if code < len(_CODES) else f"code {code:#x}"


def closed_by_peer(code: int, reason: str, *, application: bool, connected: bool) -> StackError | None:
    """Return what a CONNECTION_CLOSE of the peer means, one of its application or of QUIC itself; None: orderly."""
    said = f": {reason[:_LONGEST_REASON]!r}" if reason else ""
    if code == NO_ERROR and connected:
        return None
    if application:
        return ConnectionLost(f"the peer closed the connection with code {code:#x}{said}")
    if code in _ALERTS:
        alert = describe_alert(name_of(code - CRYPTO_ERROR))
        return ConnectionLost(f"the peer refused the QUIC handshake: {alert}{said}")
    what = "closed the connection" if connected else "refused the handshake"
    return ConnectionLost(f"the peer {what} with {describe_code(code)}{said}")


def timed_out() -> StackError:
    """Return the failure of a connection on which nothing came for the idle timeout."""
    return ConnectionLost("nothing was heard from the peer for too long")


def forgotten() -> StackError:
    """Return the failure of a connection that a stateless reset ended."""
    return ConnectionLost("the peer has forgotten this connection: it was probably restarted")


def no_common_version() -> StackError:
    """Return the failure of a dial that was answered with other versions of QUIC."""
    return NegotiationError("the peer does not speak QUIC version 1", offered=("quic-v1",))


def path_lost() -> StackError:
    """Return the failure of a connection whose peer moved to an address that does not answer."""
    return ConnectionLost("the peer's new address does not answer")


def protocol_violation(code: int, reason: str, *, connected: bool) -> StackError:
    """Return the failure of a connection that the engine ended with this code, since the peer broke a rule."""
    what = describe_code(code)
    where = "the peer broke QUIC" if connected else "QUIC handshake"
    return RemoteProtocolError(f"{where}: {reason or what} ({what})", code=code)


def unreadable(error: Exception) -> StackError:
    """Return the failure of a connection whose datagram made the engine raise what it should not."""
    return RemoteProtocolError(f"the peer sent what the QUIC engine cannot read: {error!r}")
