"""TLS under a secure WebSocket: the web's kind, with names and authorities, by the standard library in memory.

It is what browsers and proxies ask for; who the peer is, libp2p's own security protocol proves inside.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from os import PathLike
from typing import Final, cast

import trio

from peerstack.stack.abc import Buffer, Pipe
from peerstack.stack.errors import ConnectionLost, InvalidAddress, InvalidInput, RemoteProtocolError

from .wrapping import WrappingPipe

_RECORD: Final = 16 * 1024
_BATCH: Final = 4 * _RECORD
_RECEIVE: Final = 64 * 1024
MAX_HANDSHAKE: Final = 128 * 1024
"""Bytes that a peer may send before the handshake is done: a chain of certificates has a few KiB."""

_ADVICE: Final = {
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS",
    "HTTP_REQUEST": "the other side speaks HTTP without TLS",
    "RECORD_LAYER_FAILURE": "the other side does not speak TLS",
}


def client_context(authorities: str | PathLike[str] | None = None) -> ssl.SSLContext:
    """Make a context that verifies servers against a PEM file of authorities, or those of the system."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=authorities)
    context.set_alpn_protocols(["http/1.1"])
    return context


def server_context(certificate: str | PathLike[str], key: str | PathLike[str] | None = None) -> ssl.SSLContext:
    """Make a context that shows a certificate chain, from PEM files.

    Raises OSError and ssl.SSLError for bad ones, InvalidInput for a key that is encrypted.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Without a function OpenSSL asks for the password on the terminal.
    context.load_cert_chain(certificate, key, password=_no_password)
    context.set_alpn_protocols(["http/1.1"])
    # A client that only writes would leave tickets unread, and the kernel then resets what is under way.
    context.num_tickets = 0
    return context


def _no_password() -> str:
    raise InvalidInput("the private key is encrypted; decrypt it, or load it with an ssl.SSLContext of your own")


class TlsPipe(WrappingPipe):
    """TLS over a pipe, after `connect_tls` or `accept_tls`."""

    __slots__ = ("_ended", "_incoming", "_more_inside", "_outgoing", "_tls")

    def __init__(self, below: Pipe, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        super().__init__(below)
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._ended = False
        self._more_inside = bool(
            incoming.pending or tls.pending()
        )  # whether there may be whole records that came before

    def _wrap(self, data: memoryview) -> tuple[Buffer, int]:
        written = 0
        try:
            while written < len(data) and written < _BATCH:
                with data[written : written + _RECORD] as record:
                    written += self._tls.write(record)
        except ssl.SSLError as error:
            raise ConnectionLost(f"TLS cannot send any more: {_reason(error)}") from None
        return self._outgoing.read(), written

    def _more(self) -> Buffer:
        return self._outgoing.read()

    def _go_away_reason(self) -> Buffer:
        with suppress(ssl.SSLError):  # it wants the peer's close_notify, which we do not wait for
            self._tls.unwrap()
        return self._outgoing.read()

    @property
    def _at_hand(self) -> bool:
        return self._ended or self._more_inside

    def _receive(self, buffer: memoryview) -> int:
        """Unwrap what there is, and receive more if there is nothing."""
        if self._more_inside and (size := self._unwrap(buffer)):
            return size
        if self._ended:
            return 0
        arrived = bytearray(_RECEIVE)
        with memoryview(arrived) as view:
            received = self._below.receive_nowait(view)
            if not received:
                self._ended = True
                raise ConnectionLost("the connection ended without an end of TLS")
            self._incoming.write(view[:received])
        size = self._unwrap(buffer)
        if not size and not self._ended:
            raise trio.WouldBlock
        return size

    def _unwrap(self, buffer: memoryview) -> int:
        filled = 0
        self._more_inside = True
        try:
            while filled < len(buffer):
                with buffer[filled:] as room:
                    size = cast("int", self._tls.read(len(room), room))  # with a buffer it returns a size
                if not size:
                    self._ended = True
                    break
                filled += size
            else:
                return filled
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._ended = True
            self._answer()
            if (refusal := _refusal(error)) is not None:
                raise refusal from None
            raise RemoteProtocolError(f"TLS: a record does not decrypt, or is not one: {_reason(error)}") from None
        self._more_inside = False
        if self._outgoing.pending:
            self._answer()
        return filled


async def connect_tls(below: Pipe, context: ssl.SSLContext, name: str) -> TlsPipe:
    """Begin TLS as the client with a server that must prove to be `name`, a host name or IP address.

    Raises RemoteProtocolError with the check that failed, ConnectionLost, InvalidAddress for an impossible name.
    """
    return await _handshake(below, context, server_side=False, name=name)


async def accept_tls(below: Pipe, context: ssl.SSLContext) -> TlsPipe:
    """Begin TLS as the server. Raises RemoteProtocolError with the check that failed, ConnectionLost."""
    return await _handshake(below, context, server_side=True)


async def _handshake(below: Pipe, context: ssl.SSLContext, *, server_side: bool, name: str | None = None) -> TlsPipe:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        tls = context.wrap_bio(incoming, outgoing, server_side=server_side, server_hostname=name)
    except ValueError as error:
        raise InvalidAddress(f"no certificate can be for the host name {name!r}: {error}") from None
    received = 0
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            with suppress(trio.BrokenResourceError):
                below.send_nowait(outgoing.read())  # the alert that tells the peer
            raise (_refusal(error) or RemoteProtocolError(f"TLS handshake: {_reason(error)}")) from None
        else:
            break
        await below.send_all(outgoing.read())
        data = await below.receive_some()
        received += len(data)
        if not data:
            perhaps = "" if received else "; it may not speak TLS"
            raise ConnectionLost(f"TLS handshake: the peer closed the connection{perhaps}")
        if received > MAX_HANDSHAKE:
            raise RemoteProtocolError(f"TLS handshake: more than {MAX_HANDSHAKE} bytes, and it is not done")
        incoming.write(data)
    await below.send_all(outgoing.read())
    return TlsPipe(below, tls, incoming, outgoing)


def _refusal(error: ssl.SSLError) -> ConnectionLost | None:
    """Return what the peer refused, if its alert is all that is wrong: then it did not break the protocol."""
    _, found, alert = (error.reason or "").lower().replace("_", " ").partition(" alert ")
    if not found:
        return None
    certificate = "certificate" in alert or alert == "unknown ca"
    meaning = "does not accept our certificate" if certificate else "ended TLS"
    return ConnectionLost(f"the peer {meaning} (TLS alert {alert.replace(' ', '_')})")


def _reason(error: ssl.SSLError) -> str:
    """Return in words what OpenSSL found."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    reason = error.reason or "unknown"
    words = reason.lower().replace("_", " ")
    return f"{words} ({_ADVICE[reason]})" if reason in _ADVICE else words
