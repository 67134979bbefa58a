"""TLS handshakes with peers that do not keep to the rules, and what both sides learn of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from peerstack.stack.abc import Secured
from peerstack.stack.errors import ConnectionLost, PeerIdMismatch, RemoteProtocolError, StackError
from peerstack.stack.identity import Identity
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security.tls import CertificateError, Tls, make_certificate
from peerstack.stack.security.tls.alerts import alert_in, describe_alert
from peerstack.stack.security.tls.channel import TlsChannel
from peerstack.stack.security.tls.tls import MAX_HANDSHAKE, take_output

ALICE, BOB, MALLORY = (Identity.generate() for _ in range(3))
Change = Callable[[SSL.Context], None]


def openssl_peer(*, server: bool, change: Change = lambda _: None, certificate: bool = True) -> SSL.Connection:
    """Return OpenSSL as a peer that checks nothing."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
    if certificate:
        credentials = make_certificate(MALLORY)
        context.use_certificate(credentials.certificate)
        context.use_privatekey(credentials.key)
    context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    change(context)
    connection = SSL.Connection(context, None)
    if server:
        connection.set_accept_state()
    else:
        connection.set_connect_state()
    return connection


async def talk(connection: SSL.Connection, pipe: MemoryPipe, said: list[str]) -> None:
    """Shake hands as the peer and read on; note how it ends."""
    done = False
    while True:
        try:
            if done:
                connection.recv(1000)
            else:
                connection.do_handshake()
                done = True
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            said.append(str(error))
        with suppress(trio.BrokenResourceError):
            await pipe.send_all(take_output(connection))
        if said:
            await pipe.aclose()
            return
        data = await pipe.receive_some()
        if not data:
            said.append("end")
            return
        connection.bio_write(data)


async def against(connection: SSL.Connection, *, initiator: bool) -> tuple[Secured | StackError, str]:
    """Let Alice shake hands with such a peer; return the outcome on both sides."""
    near, far = memory_pipe_pair()
    said: list[str] = []
    outcome: Secured | StackError
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk, connection, far, said)
        with trio.fail_after(5):
            try:
                outcome = await Tls(ALICE).secure(near, initiator=initiator, expect=None, muxers=("/yamux/1.0.0",))
            except StackError as error:
                outcome = error
            await near.aclose()
    return outcome, " ".join(said)


async def test_an_unknown_peer_with_a_good_certificate_is_accepted(autojump_clock: trio.testing.MockClock) -> None:
    for initiator in (True, False):
        outcome, _ = await against(openssl_peer(server=initiator), initiator=initiator)
        assert isinstance(outcome, Secured)
        assert outcome.remote_peer == MALLORY.peer_id
        assert outcome.muxer is None


async def test_a_client_without_a_certificate_is_refused_and_told(autojump_clock: trio.testing.MockClock) -> None:
    outcome, said = await against(openssl_peer(server=False, certificate=False), initiator=False)
    assert isinstance(outcome, RemoteProtocolError)
    assert "peer did not return a certificate" in str(outcome)
    assert "certificate required" in said


def old(context: SSL.Context) -> None:
    context.set_max_proto_version(SSL.TLS1_2_VERSION)


async def test_older_tls_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    for initiator in (True, False):
        outcome, _ = await against(openssl_peer(server=initiator, change=old), initiator=initiator)
        assert isinstance(outcome, ConnectionLost if initiator else RemoteProtocolError)
        assert "protocol" in str(outcome)


def unsatisfied(context: SSL.Context) -> None:
    """Refuse every certificate, as one does who has other rules."""
    context.set_verify(SSL.VERIFY_PEER, lambda *_: False)


async def test_a_server_that_refuses_our_certificate_is_not_told_to_have_broken_the_protocol(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # The client is done before the server verifies it, and learns of a refusal in its first read.
    near, far = memory_pipe_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk, openssl_peer(server=True, change=unsatisfied), far, [])
        secured = await Tls(ALICE).secure(near, initiator=True, expect=None, muxers=())
        with pytest.raises(ConnectionLost, match="the peer ended the connection: it does not accept our certificate"):
            await secured.channel.read()
        await near.aclose()


async def test_a_client_that_refuses_our_certificate_is_not_told_to_have_broken_the_protocol(
    autojump_clock: trio.testing.MockClock,
) -> None:
    outcome, _ = await against(openssl_peer(server=False, change=unsatisfied), initiator=False)
    assert isinstance(outcome, ConnectionLost)
    assert "the peer refused the TLS handshake: it does not accept our certificate" in str(outcome)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("ssl/tls alert bad certificate", "does not accept our certificate (TLS alert bad_certificate)"),
        ("tlsv1 alert unknown ca", "asks authorities instead of libp2p's rules (TLS alert unknown_ca)"),
        ("tlsv1 alert no application protocol", "no application protocol in common with us"),
        ("tlsv13 alert certificate required", "got no certificate of ours"),
        ("ssl/tls alert unexpected message", "says that we broke TLS (TLS alert unexpected_message)"),
    ],
)
def test_alerts_say_who_refused_whom(reason: str, words: str) -> None:
    alert = alert_in(reason)
    assert alert is not None
    assert words in describe_alert(alert)


def test_a_reason_without_an_alert_is_ours() -> None:
    assert alert_in("peer did not return a certificate") is None


def chain(context: SSL.Context) -> None:
    context.add_extra_chain_cert(make_certificate(BOB).certificate)


async def test_a_chain_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    for initiator in (True, False):
        outcome, _ = await against(openssl_peer(server=initiator, change=chain), initiator=initiator)
        assert isinstance(outcome, CertificateError)
        assert "chain of certificates" in str(outcome)


def web(context: SSL.Context) -> None:
    """Show a certificate as the web has them, without the extension."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    credentials = make_certificate(MALLORY)
    plain = credentials.certificate
    builder = x509.CertificateBuilder().subject_name(plain.subject).issuer_name(plain.issuer).serial_number(1)
    builder = builder.public_key(credentials.key.public_key()).not_valid_before(plain.not_valid_before_utc)
    builder = builder.not_valid_after(plain.not_valid_after_utc)
    context.use_certificate(builder.sign(credentials.key, hashes.SHA256()))
    context.use_privatekey(credentials.key)


async def test_a_certificate_of_the_web_is_refused_and_the_peer_told(autojump_clock: trio.testing.MockClock) -> None:
    for initiator in (True, False):
        outcome, said = await against(openssl_peer(server=initiator, change=web), initiator=initiator)
        assert isinstance(outcome, CertificateError)
        assert "no libp2p extension" in str(outcome)
        assert "alert" in said


async def test_a_certificate_that_only_openssl_can_read_is_refused_as_any_other(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    path = tmp_path / "certificate"
    credentials = make_certificate(MALLORY)
    der = credentials.certificate.public_bytes(Encoding.DER)
    path.write_bytes(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05", 1))  # its version

    def change(context: SSL.Context) -> None:
        context.use_certificate_file(str(path), crypto.FILETYPE_ASN1)
        context.use_privatekey(credentials.key)

    for initiator in (True, False):
        peer = openssl_peer(server=initiator, certificate=False, change=change)
        outcome, said = await against(peer, initiator=initiator)
        assert isinstance(outcome, CertificateError)
        assert "5 is not a valid X509 version" in str(outcome)
        assert "alert" in said


async def test_the_wrong_peer_is_refused_before_it_is_told_anything(autojump_clock: trio.testing.MockClock) -> None:
    near, far = memory_pipe_pair()
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk, openssl_peer(server=True), far, said)
        with pytest.raises(PeerIdMismatch) as refusal:
            await Tls(ALICE).secure(near, initiator=True, expect=BOB.peer_id, muxers=())
        assert (refusal.value.expected, refusal.value.actual) == (BOB.peer_id, MALLORY.peer_id)
        await near.aclose()
    assert "alert" in " ".join(said)


async def test_an_endless_handshake_is_cut_off(autojump_clock: trio.testing.MockClock) -> None:
    near, far = memory_pipe_pair()
    # A handshake record of 16 KiB that begins a ClientHello of 16 MiB, again and again.
    record = b"\x16\x03\x01\x3f\xff" + (b"\x01\xff\xff\xff" + bytes(0x3FFF - 4))

    async def flood() -> None:
        with suppress(trio.BrokenResourceError):
            while True:
                await far.send_all(record)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        with pytest.raises(RemoteProtocolError):
            await Tls(ALICE).secure(near, initiator=False, expect=None, muxers=())
        await near.aclose()
    assert MAX_HANDSHAKE < 1 << 17


@pytest.mark.parametrize("data", [b"\x13/multistream/1.0.0\n", b"GET / HTTP/1.1\r\n\r\n", b"\x00\x20" + bytes(32)])
async def test_other_protocols_are_told_from_tls(autojump_clock: trio.testing.MockClock, data: bytes) -> None:
    for initiator in (True, False):
        near, far = memory_pipe_pair()
        await far.send_all(data)
        with pytest.raises(RemoteProtocolError, match="the TLS handshake failed: "):
            await Tls(ALICE).secure(near, initiator=initiator, expect=None, muxers=())


# ---- muxers


@pytest.mark.parametrize(
    ("client", "server", "agreed"),
    [
        (("/a", "/b"), ("/b", "/a"), "/a"),
        (("/a", "/b"), ("/b",), "/b"),
        (("/a",), ("/b",), None),
        ((), ("/b",), None),
    ],
)
async def test_the_client_prefers_and_without_anything_in_common_it_is_settled_later(
    autojump_clock: trio.testing.MockClock, client: tuple[str, ...], server: tuple[str, ...], agreed: str | None
) -> None:
    dialed, accepted = await pair(client, server)
    assert dialed.muxer == accepted.muxer == agreed


@pytest.mark.parametrize("chosen", [b"/mplex/6.7.0", b"\xff\xfe"])
async def test_a_muxer_that_was_not_offered_is_refused(monkeypatch: pytest.MonkeyPatch, chosen: bytes) -> None:
    # As by an OpenSSL that leaves this to us; newer ones look for themselves.
    monkeypatch.setattr(SSL.Connection, "get_alpn_proto_negotiated", lambda _: chosen)
    outcome, _ = await against(openssl_peer(server=True), initiator=True)
    assert isinstance(outcome, RemoteProtocolError)
    assert f"chose {chosen!r}, which was not offered" in str(outcome)


async def pair(client: tuple[str, ...] = (), server: tuple[str, ...] = ()) -> tuple[Secured, Secured]:
    near, far = memory_pipe_pair()
    secured: dict[bool, Secured] = {}

    async def one(pipe: MemoryPipe, initiator: bool, identity: Identity, muxers: tuple[str, ...]) -> None:
        secured[initiator] = await Tls(identity).secure(pipe, initiator=initiator, expect=None, muxers=muxers)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, near, True, ALICE, client)
        nursery.start_soon(one, far, False, BOB, server)
    return secured[True], secured[False]


# ---- afterwards


async def test_close_notify_is_an_end_and_the_other_direction_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    dialed, accepted = await pair()
    await dialed.channel.send_all(b"question")
    await dialed.channel.send_eof()
    assert await accepted.channel.read() == [b"question"]
    assert await accepted.channel.read() == []
    await accepted.channel.send_all(b"answer")
    assert await dialed.channel.read() == [b"answer"]


async def test_a_wire_that_ends_inside_a_record_is_lost(autojump_clock: trio.testing.MockClock) -> None:
    near, far = memory_pipe_pair()
    async with trio.open_nursery() as nursery:
        outcome: list[Secured] = []

        async def accept() -> None:
            outcome.append(await Tls(BOB).secure(far, initiator=False, expect=None, muxers=()))

        nursery.start_soon(accept)
        dialed = await Tls(ALICE).secure(near, initiator=True, expect=None, muxers=())
    channel = dialed.channel
    assert isinstance(channel, TlsChannel)
    channel.write([b"x" * 1000])
    await near.send_all(bytes(channel._segments[0].view[:500]))
    await near.send_eof()
    with pytest.raises(ConnectionLost, match="inside a TLS record"):
        await outcome[0].channel.read()


@pytest.mark.parametrize("cuts", [[1], [4, 3, 2], [5], [6, 1], [16_000, 7]])
async def test_however_records_are_cut_the_bytes_are_the_same(
    autojump_clock: trio.testing.MockClock, cuts: list[int]
) -> None:
    dialed, accepted = await pair()
    channel = dialed.channel
    assert isinstance(channel, TlsChannel)
    sent = [bytes([index]) * size for index, size in enumerate((1, 20_000, 5, 70_000, 9000))]
    channel.write(sent)
    wire = b"".join(segment.view[: segment.end] for segment in channel._segments)
    got = b""
    async with trio.open_nursery() as nursery:

        async def trickle() -> None:
            position = index = 0
            while position < len(wire):
                size = cuts[index % len(cuts)] if index < 400 else len(wire)
                await channel._pipe.send_all(wire[position : position + size])
                await trio.testing.wait_all_tasks_blocked()
                position, index = position + size, index + 1

        nursery.start_soon(trickle)
        while len(got) < sum(map(len, sent)):
            got += b"".join(await accepted.channel.read())
    assert got == b"".join(sent)


async def test_one_certificate_serves_all_handshakes(autojump_clock: trio.testing.MockClock) -> None:
    tls = Tls(ALICE)
    first = tls._credentials.certificate.public_bytes(Encoding.DER)
    for _ in range(3):
        near, far = memory_pipe_pair()
        async with trio.open_nursery() as nursery:

            async def dial(pipe: MemoryPipe = far) -> None:
                await Tls(BOB).secure(pipe, initiator=True, expect=ALICE.peer_id, muxers=())

            nursery.start_soon(dial)
            await tls.secure(near, initiator=False, expect=None, muxers=())
    assert tls._credentials.certificate.public_bytes(Encoding.DER) == first
    assert len(tls._contexts) == 1
