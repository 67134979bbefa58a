"""Which peers are accepted: certificates, ALPN and versions, verified before a byte of the peer is handed on."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from multiaddr import Multiaddr

from peerstack.stack.addressing import parse_address
from peerstack.stack.errors import ConnectionLost, NegotiationError, PeerIdMismatch, RemoteProtocolError
from peerstack.stack.identity import Identity
from peerstack.stack.net.datagrams import SocketAddress
from peerstack.stack.report import Outcome, StageName
from peerstack.stack.security.tls.certificate import CertificateError, Credentials, make_certificate
from peerstack.transports.quic import QuicConfig, QuicTransport
from peerstack.transports.quic import address as addresses
from peerstack.transports.quic.certificates import CertificateVerifier
from peerstack.transports.quic.engine_aioquic import AioquicEngine, engine
from peerstack.transports.quic.interface import Arrived, Ended

from .hosts import ANYWHERE, accept, attempt, connected, join
from .link import MemoryNetwork
from .raw import CLIENT, SERVER, Attack, RawClient, settings


def bare_certificate(*, days: int = 10) -> Credentials:
    """Return a self-signed certificate without libp2p's extension."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(days))
    return Credentials(builder.sign(key, hashes.SHA256()), key)


def test_a_client_with_the_right_certificate_is_let_in() -> None:
    identity = Identity.generate()
    attack = Attack(RawClient(credentials=make_certificate(identity))).exchange()
    assert attack.connected
    assert attack.verifier.key == identity.public_key


@pytest.mark.parametrize(
    ("client", "complaint"),
    [
        (lambda: RawClient(show_certificate=False), "showed no certificate"),
        (lambda: RawClient(credentials=bare_certificate()), "no libp2p extension"),
        (lambda: RawClient(chain=[bare_certificate().certificate]), "a chain of certificates"),
        (
            lambda: RawClient(
                credentials=make_certificate(Identity.generate(), now=datetime.now(UTC) + timedelta(days=2))
            ),
            "not valid before",
        ),
        (lambda: RawClient(credentials=make_certificate(Identity.generate("rsa", bits=2048))), None),
    ],
    ids=["none", "no extension", "chain", "not yet valid", "rsa identity is fine"],
)
def test_client_certificates_are_verified(client: Callable[[], RawClient], complaint: str | None) -> None:
    attack = Attack(client()).exchange()
    if complaint is None:
        assert attack.connected
        return
    assert not attack.connected
    assert isinstance(attack.failure, CertificateError)
    assert complaint in str(attack.failure)
    assert attack.verifier.key is None


def test_a_certificate_of_another_key_is_refused() -> None:
    honest, other = make_certificate(Identity.generate()), make_certificate(Identity.generate())
    stolen = Credentials(honest.certificate, other.key)
    attack = Attack(RawClient(credentials=stolen)).exchange()
    assert not attack.connected
    assert isinstance(attack.failure, RemoteProtocolError)
    assert "decrypt error" in str(attack.failure)


def test_another_alpn_is_refused() -> None:
    attack = Attack(RawClient(alpn=["h3"])).exchange()
    assert isinstance(attack.failure, RemoteProtocolError)
    assert "ALPN" in str(attack.failure)


def test_a_server_without_the_extension_is_refused_before_our_certificate_is_shown() -> None:
    server, client = AioquicEngine(replace(settings(), credentials=bare_certificate())), AioquicEngine(settings())
    server.listen(True)
    client.connect(SERVER, CertificateVerifier(None), 1.0)
    verifier, failures, now = CertificateVerifier(None), [], 1.0
    for _ in range(6):
        now += 0.01
        for data, segment, _ in client.flush(now, 64)[1]:
            server.receive(data, segment, CLIENT, now)
        events, transmits, _, _ = server.flush(now, 64)
        for event in events:
            if isinstance(event, Arrived):
                server.accept(event.arrival, verifier, now)
        transmits += server.flush(now, 64)[1]
        for data, segment, _ in transmits:
            client.receive(data, segment, SERVER, now)
        failures += [event.failure for event in client.flush(now, 64)[0] if isinstance(event, Ended)]
    assert "no libp2p extension" in str(failures[0])
    assert verifier.key is None


async def test_another_peer_than_the_expected_is_told_with_both_names(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as pair, trio.open_nursery() as nursery:
        expected, record = Identity.generate().peer_id, attempt()

        async def serve() -> None:
            with pytest.raises(ConnectionLost, match="the peer refused the QUIC handshake: it does not accept"):
                await accept(pair.listener)

        nursery.start_soon(serve)
        with pytest.raises(PeerIdMismatch) as caught:
            await pair.dialer.dial(pair.listener.address, expected, record)
        assert caught.value.actual == pair.near.remote_peer
        assert record.failure is not None
        assert record.failure.name is StageName.SECURITY
        assert record.failure.expected == str(expected)


async def test_both_stages_of_a_dial_are_recorded(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(MemoryNetwork(latency=0.05)) as pair, trio.open_nursery() as nursery:
        record = attempt()

        async def serve() -> None:
            # The close may come together with the end of the handshake.
            with suppress(ConnectionLost):
                await accept(pair.listener)

        nursery.start_soon(serve)
        connection = await pair.dialer.dial(pair.listener.address, pair.near.remote_peer, record)
        assert [(stage.name, stage.outcome) for stage in record.stages] == [
            (StageName.CONNECT, Outcome.OK),
            (StageName.SECURITY, Outcome.OK),
        ]
        assert record.stages[1].found == str(pair.near.remote_peer)
        info = connection.info
        assert (info.security, info.muxer) == ("tls", "quic")
        await connection.aclose()


async def test_a_silent_address_is_told_as_that(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    silent = QuicTransport(Identity.generate(), network=network)
    async with await silent.listen(ANYWHERE) as listener:
        network.tap = lambda datagram, source, destination: None
        dialer, record = QuicTransport(Identity.generate(), network=network), attempt()
        with pytest.raises(trio.TooSlowError, match="no answer within 5 s"):
            await dialer.dial(listener.address, None, record)
        assert record.failure is not None
        assert record.failure.name is StageName.CONNECT
        assert "firewall" in str(record.failure.advice)
    assert not network.sockets, "a failed dial leaves its socket open"


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EINVAL])
async def test_without_a_route_the_dial_ends_at_once(number: int, autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    transport, record = QuicTransport(Identity.generate(), network=network), attempt()
    socket = network.bind(("127.0.0.1", 0))
    socket.send = lambda datagrams, address: OSError(number, "no way")  # type: ignore[method-assign]
    network.bind = lambda address: socket  # type: ignore[method-assign]
    started = trio.current_time()
    with pytest.raises(OSError, match="no way") as caught:
        await transport.dial(parse_address("/ip4/203.0.113.1/udp/4001/quic-v1"), None, record)
    assert caught.value.errno == number
    assert trio.current_time() == started
    assert record.failure is not None
    assert record.failure.name is StageName.CONNECT


async def test_the_address_of_all_interfaces_is_dialed_as_loopback(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as pair:
        port = pair.listener.address.value_for_protocol("udp")
        anywhere = parse_address(f"/ip4/0.0.0.0/udp/{port}/quic-v1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, pair.listener)
            dialed = await pair.dialer.dial(anywhere, None, attempt())
        assert dialed.info.remote_address == pair.listener.address


async def test_a_link_local_address_without_its_link_is_refused_at_once(autojump_clock: trio.testing.MockClock) -> None:
    # Linux sends UDP to it out on any link, where nothing answers.
    transport = QuicTransport(Identity.generate(), network=MemoryNetwork())
    record = attempt()
    with pytest.raises(OSError, match="Invalid argument") as caught:
        await transport.dial(parse_address("/ip6/fe80::1/udp/4001/quic-v1"), None, record)
    assert caught.value.errno == errno.EINVAL
    assert record.failure is not None
    assert record.failure.name is StageName.CONNECT


async def test_an_arrival_by_an_interface_that_is_no_more_does_not_stop_the_listener(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, original = MemoryNetwork(), addresses.quic_address
    failures = [OSError(errno.ENXIO, "no such device or address")]

    def quic_address(address: SocketAddress) -> Multiaddr:
        if failures:
            raise failures.pop()
        return original(address)

    dialer, server = (QuicTransport(Identity.generate(), network=network) for _ in range(2))
    async with await server.listen(ANYWHERE) as listening:
        monkeypatch.setattr("peerstack.transports.quic.listener.quic_address", quic_address)
        near, far = await join(dialer, listening)
        assert not failures
        near.abandon()
        far.abandon()


async def test_a_peer_that_falls_silent_in_the_handshake_is_told_as_that(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    # A certificate too large for one datagram of 1200 bytes.
    server = QuicTransport(
        Identity.generate("rsa", bits=3072),
        QuicConfig(datagram_size=1200, loopback_datagram_size=1200),
        network=network,
    )
    config = QuicConfig(handshake_timeout=3)
    async with await server.listen(ANYWHERE) as listener, trio.open_nursery() as nursery:
        answers = 0

        def only_the_first_answer(datagram: bytes, source: object, destination: object) -> bytes | None:
            nonlocal answers
            from_server = source == ("127.0.0.1", int(listener.address.value_for_protocol("udp") or 0))
            answers += from_server
            return datagram if not from_server or answers == 1 else None

        async def serve() -> None:
            with trio.move_on_after(20):
                await accept(listener)

        nursery.start_soon(serve)
        network.tap = only_the_first_answer
        record = attempt()
        with pytest.raises(trio.TooSlowError, match="no answer within 3 s"):
            await QuicTransport(Identity.generate(), config, network=network).dial(listener.address, None, record)
        assert record.failure is not None
        assert record.failure.name is StageName.SECURITY
        nursery.cancel_scope.cancel()


async def test_a_peer_of_another_version_is_told_as_that(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    dialer = QuicTransport(Identity.generate(), network=network)
    socket = network.bind(("127.0.0.1", 4001))

    async def answer() -> None:
        await socket.wait_readable()
        ((datagram, source),) = socket.receive_nowait()
        size = datagram[5]
        ours, theirs = datagram[6 : 6 + size], datagram[7 + size : 7 + size + datagram[6 + size]]
        versions = bytes.fromhex("1a2a3a4a")
        reply = b"\x80" + bytes(4) + bytes([len(theirs)]) + theirs + bytes([len(ours)]) + ours + versions
        socket.send([reply], source)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        address = ANYWHERE.__class__("/ip4/127.0.0.1/udp/4001/quic-v1")
        with pytest.raises(NegotiationError, match="does not speak QUIC version 1"):
            await dialer.dial(address, None, attempt())


@pytest.mark.aioquic
async def test_a_refused_peer_is_told_in_one_datagram_and_nothing_is_kept(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    server = QuicTransport(Identity.generate(), network=network)
    passed: list[tuple[int, object]] = []

    def watch(datagram: bytes, source: object, destination: object) -> bytes:
        passed.append((len(datagram), source))
        return datagram

    network.tap = watch
    async with await server.listen(ANYWHERE) as listener, trio.open_nursery() as nursery:

        async def refuse() -> None:
            await (await listener.accept()).refuse()

        nursery.start_soon(refuse)
        dialer, began = QuicTransport(Identity.generate(), network=network), trio.current_time()
        with pytest.raises(ConnectionLost, match="refused the handshake with connection refused"):
            await dialer.dial(listener.address, None, attempt())
        assert trio.current_time() - began < 0.1, "it was not told, but gave up"
        (target,) = network.sockets
        asked = sum(size for size, source in passed if source != target)
        (answered,) = [size for size, source in passed if source == target]
        assert answered < asked
        assert not listener._endpoint._waiting
        kept = listener._endpoint.engine
        assert isinstance(kept, AioquicEngine)
        assert not kept._routes
        assert not kept._arrivals


@pytest.mark.aioquic
@pytest.mark.parametrize(
    ("flaw", "complaint"),
    [("certificate", "QUIC handshake: the certificate has no libp2p extension"), ("alpn", "no application protocol")],
)
async def test_what_is_wrong_with_a_server_is_told_in_its_stage(
    flaw: str, complaint: str, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = MemoryNetwork()
    server = QuicTransport(Identity.generate(), network=network)
    if flaw == "certificate":
        server._settings = replace(server._settings, credentials=bare_certificate())
    async with await server.listen(ANYWHERE) as listener, trio.open_nursery() as nursery:

        async def serve() -> None:
            incoming = await listener.accept()
            if flaw == "alpn":
                monkeypatch.setattr(engine, "ALPN", "h3")
            with pytest.raises((ConnectionLost, RemoteProtocolError)):
                await incoming.upgrade()

        nursery.start_soon(serve)
        dialer, record = QuicTransport(Identity.generate(), network=network), attempt()
        with pytest.raises((ConnectionLost, RemoteProtocolError), match=complaint):
            await dialer.dial(listener.address, None, record)
        assert record.failure is not None
        assert record.failure.name is StageName.SECURITY
    assert not network.sockets, "a failed dial leaves its socket open"
