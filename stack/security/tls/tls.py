"""TLS 1.3 over a byte stream: runs the handshake through memory, checks the certificate, returns the channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import trio
from cryptography import x509
from OpenSSL import SSL, crypto

from ...abc import Pipe, Secured
from ...errors import ConnectionLost, PeerIdMismatch, RemoteProtocolError, StackError
from ...identity import Identity, PeerId, PublicKey
from ...net.pipes import as_pipe
from .alerts import alert_in, describe_alert
from .certificate import CertificateError, make_certificate, verify_certificate
from .channel import TlsChannel
from .records import HEADER, SUITES, TrafficKeys

PROTOCOL_ID: Final = "/tls/1.0.0"
FALLBACK: Final = b"libp2p"
"""The ALPN entry that leaves the muxer to multistream-select; every peer offers it."""
CIPHERS: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""AES first: with the instructions that nearly all processors have it is three times as fast as ChaCha20."""
_CLIENT_SECRET: Final = b"CLIENT_TRAFFIC_SECRET_0"
_SERVER_SECRET: Final = b"SERVER_TRAFFIC_SECRET_0"
_OUTPUT: Final = 64 * 1024
MAX_HANDSHAKE: Final = 64 * 1024
"""Bytes that a peer may send before the handshake is done; ours has about 1 KiB."""


class _Handshake:
    """The state of one handshake, for the callbacks of OpenSSL."""

    __slots__ = ("expect", "failure", "key", "secrets")

    def __init__(self, expect: PeerId | None) -> None:
        self.expect = expect
        self.key: PublicKey | None = None
        self.failure: RemoteProtocolError | PeerIdMismatch | None = None
        self.secrets: dict[bytes, bytes] = {}

    def traffic_keys(self, cipher: str, *, client: bool) -> TrafficKeys:
        """Return the keys of what the client or the server sends."""
        return TrafficKeys(SUITES[cipher], self.secrets[_CLIENT_SECRET if client else _SERVER_SECRET])


class Tls:
    """The TLS security protocol with our identity; one certificate serves all handshakes of this object."""

    protocol_id = PROTOCOL_ID

    def __init__(self, identity: Identity) -> None:
        self._credentials = make_certificate(identity)
        self.local_peer = identity.peer_id
        """The peer id this proves."""
        self._contexts: dict[tuple[bool, tuple[str, ...]], SSL.Context] = {}

    async def secure(
        self, stream: trio.abc.Stream, *, initiator: bool, expect: PeerId | None, muxers: Sequence[str]
    ) -> Secured:
        """Run the handshake; see `abc.Security.secure`. Raises CertificateError for one that proves no peer."""
        pipe = as_pipe(stream)
        state = _Handshake(expect)
        connection = SSL.Connection(self._context(initiator, tuple(muxers)), None)
        connection.set_app_data(state)
        if initiator:
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        try:
            await _shake_hands(pipe, connection, state, initiator=initiator)
        except ConnectionLost:
            raise
        except trio.BrokenResourceError as error:
            raise ConnectionLost(f"the connection broke during the TLS handshake: {error}") from error
        key = _checked(connection, state, initiator=initiator)
        muxer = _muxer(connection.get_alpn_proto_negotiated(), muxers)
        cipher = connection.get_cipher_name() or ""
        send = state.traffic_keys(cipher, client=initiator)
        receive = state.traffic_keys(cipher, client=not initiator)
        return Secured(TlsChannel(pipe, send, receive), key, muxer)

    def _context(self, initiator: bool, muxers: tuple[str, ...]) -> SSL.Context:
        wanted = initiator, muxers
        if wanted not in self._contexts:
            self._contexts[wanted] = self._make_context(initiator, [muxer.encode() for muxer in muxers])
        return self._contexts[wanted]

    def _make_context(self, initiator: bool, muxers: list[bytes]) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD if initiator else SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_max_proto_version(SSL.TLS1_3_VERSION)
        context.set_tls13_ciphersuites(CIPHERS)
        # A resumed session shows no certificate, and unread tickets make a kernel reset the connection at its end.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)
        context.use_certificate(self._credentials.certificate)
        context.use_privatekey(self._credentials.key)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
        context.set_keylog_callback(_keep_secret)
        offered = [*muxers, FALLBACK]
        if initiator:
            context.set_alpn_protos(offered)
        else:
            # The client's preference counts (connections/inlined-muxer-negotiation.md).
            context.set_alpn_select_callback(
                lambda _, theirs: next((name for name in theirs if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
            )
        return context


def _verify(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
    """Verify the peer's certificate by libp2p's rules, not by the web's; called by OpenSSL, maybe repeatedly."""
    state = connection.get_app_data()
    if depth:
        state.failure = CertificateError("the peer sent a chain of certificates instead of one")
    if state.failure is not None:
        return False
    if state.key is None:
        try:
            state.key = verify_certificate(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))
            if state.expect is not None and state.key.peer_id != state.expect:
                state.failure = PeerIdMismatch(state.expect, state.key.peer_id)
        except CertificateError as failure:
            state.failure = failure
    return state.failure is None


def _keep_secret(connection: SSL.Connection, line: bytes) -> None:
    """Take a secret from OpenSSL, which offers them for logs, as `LABEL client-random secret` in hexadecimal digits."""
    label, _, secret = line.split()
    if label in (_CLIENT_SECRET, _SERVER_SECRET):
        connection.get_app_data().secrets[label] = bytes.fromhex(secret.decode())


async def _shake_hands(pipe: Pipe, connection: SSL.Connection, state: _Handshake, *, initiator: bool) -> None:
    received = missing = 0
    header = b""
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            await _send(pipe, connection)
        except SSL.Error as error:
            await _send(pipe, connection)  # the alert, so that the peer learns why
            raise (state.failure or _refusal(_reasons(error))) from None
        else:
            # All that a server would send now are session tickets, which libp2p does not use, so they are never sent.
            if initiator:
                await _send(pipe, connection)
            return
        # Not a byte beyond the record: the channel opens what follows the handshake.
        data = await pipe.receive_some(missing or HEADER.size - len(header))
        received += len(data)
        if not data:
            raise ConnectionLost("the peer closed the connection during the TLS handshake")
        if received > MAX_HANDSHAKE:
            raise RemoteProtocolError(f"the TLS handshake takes more than {MAX_HANDSHAKE} bytes")
        connection.bio_write(data)
        if missing:
            missing -= len(data)
            continue
        header += data
        if len(header) == HEADER.size:
            _, _, missing = HEADER.unpack(header)
            header = b""


async def _send(pipe: Pipe, connection: SSL.Connection) -> None:
    output = take_output(connection)
    if output:
        await pipe.send_all(output)


def take_output(connection: SSL.Connection) -> bytes:
    """Return the records that OpenSSL wants sent."""
    output: list[bytes] = []
    try:
        while True:
            output.append(connection.bio_read(_OUTPUT))
    except SSL.WantReadError:
        return b"".join(output)


def _checked(connection: SSL.Connection, state: _Handshake, *, initiator: bool) -> PublicKey:
    """Return who the peer is, before any of its data is handed on."""
    chain: Sequence[x509.Certificate | crypto.X509] = connection.get_peer_cert_chain() or ()
    # OpenSSL's chain holds the peer's own certificate on the client's side only.
    if len(chain) > (1 if initiator else 0):
        raise CertificateError("the peer sent a chain of certificates instead of one")
    if state.key is None:
        raise CertificateError("the peer showed no certificate")
    return state.key


def _muxer(chosen: bytes, offered: Sequence[str]) -> str | None:
    """Return the muxer that ALPN negotiated, or None if multistream-select is to negotiate it."""
    if chosen in (b"", FALLBACK):
        return None
    for name in offered:
        if name.encode() == chosen:
            return name
    raise RemoteProtocolError(f"the peer chose {chosen!r}, which was not offered")


def _reasons(error: SSL.Error) -> list[str]:
    reasons = [entry[-1] for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    return list(dict.fromkeys(filter(None, reasons)))


def _refusal(reasons: list[str]) -> StackError:
    """Return the error: ConnectionLost if the peer sent an alert, RemoteProtocolError if OpenSSL refused the peer."""
    for reason in reasons:
        if (alert := alert_in(reason)) is not None:
            return ConnectionLost(f"the peer refused the TLS handshake: {describe_alert(alert)}")
    return RemoteProtocolError(f"the TLS handshake failed: {', '.join(reasons) or 'no reason given'}")
