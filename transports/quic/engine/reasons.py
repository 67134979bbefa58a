"""Why a QUIC connection ended, in our errors and in words."""

from __future__ import annotations

from aioquic.quic.events import ConnectionTerminated
from aioquic.quic.packet import QuicErrorCode
from aioquic.tls import AlertDescription

from peerstack.stack.errors import ConnectionLost, NegotiationError, RemoteProtocolError, StackError
from peerstack.stack.security.tls.alerts import describe_alert
from peerstack.stack.security.tls.records import name_of

_ALERTS = range(QuicErrorCode.CRYPTO_ERROR, QuicErrorCode.CRYPTO_ERROR + 256)


def describe_code(code: int) -> str:
    """Name a transport error code (RFC 9000 section 20.1), or the TLS alert in it."""
    try:
        if code in _ALERTS:
            return f"TLS alert {AlertDescription(code - QuicErrorCode.CRYPTO_ERROR).name.replace('_', ' ')}"
        return QuicErrorCode(code).name.lower().replace("_", " ")
    except ValueError:
        return f"code {code:#x}"


def closed_by_peer(event: ConnectionTerminated, *, connected: bool) -> StackError | None:
    """Return what a CONNECTION_CLOSE of the peer means: None for an orderly end."""
    reason = f": {event.reason_phrase[:200]!r}" if event.reason_phrase else ""
    if event.frame_type is None:
        if event.error_code == 0 and connected:
            return None
        return ConnectionLost(f"the peer closed the connection with code {event.error_code:#x}{reason}")
    if event.error_code == QuicErrorCode.NO_ERROR and connected:
        return None
    if event.error_code in _ALERTS:
        alert = name_of(event.error_code - QuicErrorCode.CRYPTO_ERROR)
        return ConnectionLost(f"the peer refused the QUIC handshake: {describe_alert(alert)}{reason}")
    what = "closed the connection" if connected else "refused the handshake"
    return ConnectionLost(f"the peer {what} with {describe_code(event.error_code)}{reason}")


def closed_here(event: ConnectionTerminated, *, connected: bool) -> StackError:
    """Return why the engine itself gave up."""
    if event.reason_phrase == "Idle timeout":
        return ConnectionLost("nothing was heard from the peer for too long")
    if event.reason_phrase == "Could not find a common protocol version":
        return NegotiationError("the peer does not speak QUIC version 1", offered=("quic-v1",))
    if event.error_code == QuicErrorCode.NO_VIABLE_PATH:
        return ConnectionLost("the peer's new address does not answer")
    code = int(event.error_code)
    what = describe_code(code)
    where = "the peer broke QUIC" if connected else "QUIC handshake"
    return RemoteProtocolError(f"{where}: {event.reason_phrase or what} ({what})", code=code)
