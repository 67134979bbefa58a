"""TLS under a secure WebSocket: what is trusted, what failure says, and ends that are none."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from peerstack.stack.errors import ConnectionLost, InvalidAddress, InvalidInput, RemoteProtocolError
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.testing import check_pipe
from peerstack.transports.websocket import client_context, server_context
from peerstack.transports.websocket.tls import TlsPipe, accept_tls, connect_tls

from .certificates import Authority


class Outcome:
    """What became of each side of a handshake."""

    client: TlsPipe | Exception
    server: TlsPipe | Exception


async def shake_hands(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost", capacity: int = 64 * 1024
) -> Outcome:
    near, far = memory_pipe_pair(capacity)
    outcome = Outcome()

    async def serve() -> None:
        try:
            outcome.server = await accept_tls(far, server)
        except (RemoteProtocolError, ConnectionLost) as error:
            outcome.server = error
            await far.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        try:
            outcome.client = await connect_tls(near, client, name)
        except (RemoteProtocolError, ConnectionLost) as error:
            outcome.client = error
            await near.aclose()
    return outcome


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> ssl.SSLContext:
    return server_context(*authority.issue("127.0.0.1", "localhost"))


@pytest.fixture(scope="module")
def client(authority: Authority) -> ssl.SSLContext:
    return client_context(authority.file)


async def pipes(client: ssl.SSLContext, server: ssl.SSLContext, capacity: int = 64 * 1024) -> tuple[TlsPipe, TlsPipe]:
    outcome = await shake_hands(client, server, capacity=capacity)
    assert isinstance(outcome.client, TlsPipe)
    assert isinstance(outcome.server, TlsPipe)
    return outcome.client, outcome.server


def below(pipe: TlsPipe) -> MemoryPipe:
    raw = pipe._below
    assert isinstance(raw, MemoryPipe)
    return raw


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_names_and_addresses_are_verified(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    outcome = await shake_hands(client, server, name)
    assert isinstance(outcome.client, TlsPipe)
    await outcome.client.send_all(b"hello")
    assert isinstance(outcome.server, TlsPipe)
    assert await outcome.server.receive_some() == b"hello"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("example.com", "not valid for 'example.com'"), ("127.0.0.2", "not valid for '127.0.0.2'")],
)
async def test_another_name_is_not_trusted_and_both_sides_say_why(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str, complaint: str
) -> None:
    outcome = await shake_hands(client, server, name)
    assert isinstance(outcome.client, RemoteProtocolError)
    assert str(outcome.client).startswith("TLS handshake: the certificate is not trusted: ")
    assert complaint in str(outcome.client)
    if isinstance(outcome.server, TlsPipe):  # TLS 1.3: the server is done before it learns of it
        with pytest.raises(ConnectionLost, match=r"the peer does not accept our certificate \(TLS alert"):
            await outcome.server.receive_some()
    else:
        assert isinstance(outcome.server, ConnectionLost)
        assert "the peer does not accept our certificate (TLS alert" in str(outcome.server)


async def test_unknown_authorities_are_not_trusted(tmp_path: Path, server: ssl.SSLContext) -> None:
    outcome = await shake_hands(client_context(Authority(tmp_path, "another").file), server)
    assert isinstance(outcome.client, RemoteProtocolError)
    assert "TLS handshake: the certificate is not trusted: " in str(outcome.client)


async def test_the_system_s_authorities_are_trusted_by_default(server: ssl.SSLContext) -> None:
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    outcome = await shake_hands(context, server)
    assert isinstance(outcome.client, RemoteProtocolError)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x13/multistream/1.0.0\n", r"TLS handshake: .*the other side does not speak TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "TLS handshake: http request .*HTTP without TLS"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "TLS handshake: "),
    ],
)
async def test_a_server_says_what_came_instead_of_tls(server: ssl.SSLContext, data: bytes, complaint: str) -> None:
    near, far = memory_pipe_pair()
    await near.send_all(data)
    with pytest.raises(RemoteProtocolError, match=complaint):
        await accept_tls(far, server)


@pytest.mark.parametrize("data", [b"\x13/multistream/1.0.0\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_client_says_what_came_instead_of_tls(client: ssl.SSLContext, data: bytes) -> None:
    near, far = memory_pipe_pair()
    await far.send_all(data)
    with pytest.raises(RemoteProtocolError, match=r"TLS handshake: .*the other side does not speak TLS"):
        await connect_tls(near, client, "localhost")


async def test_a_handshake_without_end_is_bounded(server: ssl.SSLContext) -> None:
    near, far = memory_pipe_pair()
    # Handshake records of one endless certificate message cannot come first: a ClientHello that never is whole.
    record = b"\x16\x03\x01\x40\x00" + bytes(0x4000)
    async with trio.open_nursery() as nursery:

        async def flood() -> None:
            with suppress(trio.BrokenResourceError):
                await near.send_all(b"\x16\x03\x01\x40\x00\x01\x01\xff\xff" + bytes(0x3FFC))
                while True:
                    await near.send_all(record)

        nursery.start_soon(flood)
        with pytest.raises(RemoteProtocolError, match="TLS handshake: "):
            await accept_tls(far, server)
        await far.aclose()


@pytest.mark.parametrize("side", ["client", "server"])
async def test_leaving_inside_the_handshake_is_a_lost_connection(
    client: ssl.SSLContext, server: ssl.SSLContext, side: str
) -> None:
    near, far = memory_pipe_pair()
    await far.aclose()
    handshake = connect_tls(near, client, "localhost") if side == "client" else accept_tls(near, server)
    with pytest.raises(trio.BrokenResourceError):
        await handshake


@pytest.mark.parametrize("capacity", [200, 1000, 100_000])
@pytest.mark.parametrize("swapped", [False, True])
async def test_it_is_a_proper_pipe(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    capacity: int,
    swapped: bool,
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def make() -> tuple[TlsPipe, TlsPipe]:
        near, far = await pipes(client, server, capacity)
        return (far, near) if swapped else (near, far)

    await check_pipe(make)


@pytest.mark.parametrize("capacity", [1, 100, 100_000])
async def test_bytes_pass_whatever_fits_at_once(client: ssl.SSLContext, server: ssl.SSLContext, capacity: int) -> None:
    data = bytes(range(256)) * (20 if capacity < 1000 else 2000)
    for sender, receiver in (await pipes(client, server, capacity), (await pipes(client, server, capacity))[::-1]):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send_all, data)
            got = b""
            while len(got) < len(data):
                got += await receiver.receive_some()
        assert got == data


async def test_the_end_is_said_and_heard(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    near, far = await pipes(client, server)
    await near.send_all(b"last")
    await near.send_eof()
    assert await far.receive_some() == b"last"
    assert await far.receive_some() == b""


async def test_an_end_of_the_wire_alone_is_a_lost_connection(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    near, far = await pipes(client, server)
    await near.send_all(b"x")
    await below(near).aclose()
    assert await far.receive_some() == b"x"
    with pytest.raises(ConnectionLost, match="without an end of TLS"):
        await far.receive_some()


async def test_records_that_were_tampered_with_are_refused(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    near, far = await pipes(client, server)
    await below(near).send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(RemoteProtocolError, match="TLS: a record does not decrypt, or is not one"):
        await far.receive_some()


@pytest.mark.parametrize("size", [1, 1000, 16 * 1024, 100_000])
async def test_buffers_of_any_size_are_filled(client: ssl.SSLContext, server: ssl.SSLContext, size: int) -> None:
    near, far = await pipes(client, server)
    data = bytes(range(256)) * 20
    await near.send_all(data)
    got, buffer = b"", bytearray(size)
    while len(got) < len(data):
        await far.wait_receive_might_not_block()
        got += buffer[: far.receive_nowait(memoryview(buffer))]
    assert got == data


async def test_a_name_that_no_certificate_can_be_for_is_refused(client: ssl.SSLContext) -> None:
    near, _ = memory_pipe_pair()
    with pytest.raises(InvalidAddress, match="no certificate can be for the host name"):
        await connect_tls(near, client, "ab..cd")


def test_bad_files_are_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        server_context(tmp_path / "nothing.pem")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(ssl.SSLError):
        server_context(empty)


def test_the_password_of_a_key_is_not_asked_for(authority: Authority) -> None:
    certificate_file, key_file = authority.issue("localhost")
    key = load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(InvalidInput, match="the private key is encrypted"):
        server_context(certificate_file, key_file)
