"""Our records against OpenSSL's own: data both ways, tickets, key updates, close_notify, and alerts by their names."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

import pytest
import trio
from OpenSSL import SSL

from peerstack.stack.abc import Channel
from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.identity import Identity
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security.tls import Tls, make_certificate
from peerstack.stack.security.tls.channel import TlsChannel
from peerstack.stack.security.tls.records import HANDSHAKE
from peerstack.stack.security.tls.tls import take_output

ALICE, OTHER = Identity.generate(), Identity.generate()
CIPHERS = [b"TLS_AES_128_GCM_SHA256", b"TLS_AES_256_GCM_SHA384", b"TLS_CHACHA20_POLY1305_SHA256"]
T = TypeVar("T")
BOTH = pytest.mark.parametrize("we_dial", [True, False])


class OpenSsl:
    """OpenSSL at the other end of a pipe."""

    def __init__(self, pipe: MemoryPipe, *, server: bool, cipher: bytes = CIPHERS[0]) -> None:
        context = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
        credentials = make_certificate(OTHER)
        context.use_certificate(credentials.certificate)
        context.use_privatekey(credentials.key)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.set_tls13_ciphersuites(cipher)
        context.set_session_id(b"test")
        self.pipe = pipe
        self.connection = SSL.Connection(context, None)
        if server:
            self.connection.set_accept_state()
        else:
            self.connection.set_connect_state()

    async def shake_hands(self) -> None:
        await self._until(self.connection.do_handshake)

    async def send(self, data: bytes) -> None:
        sent = 0
        while sent < len(data):
            sent += self.connection.send(data[sent:])
        await self.pipe.send_all(take_output(self.connection))

    async def receive(self) -> bytes:
        return await self._until(lambda: self.connection.recv(1 << 16))

    async def _until(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except SSL.WantReadError:
                pass
            finally:
                if output := take_output(self.connection):
                    await self.pipe.send_all(output)
            data = await self.pipe.receive_some()
            assert data, "the connection ended"
            self.connection.bio_write(data)


async def connected(*, we_dial: bool, cipher: bytes = CIPHERS[0]) -> tuple[TlsChannel, OpenSsl]:
    near, far = memory_pipe_pair(1 << 20)
    remote = OpenSsl(far, server=we_dial, cipher=cipher)
    found: list[Channel] = []

    async def secure() -> None:
        found.append((await Tls(ALICE).secure(near, initiator=we_dial, expect=None, muxers=())).channel)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(secure)
        await remote.shake_hands()
    (channel,) = found
    assert isinstance(channel, TlsChannel)
    return channel, remote


async def check_echo(channel: TlsChannel, remote: OpenSsl, seed: int = 0) -> None:
    random = Random(seed)
    for size in (1, 100, 16_384, 16_385, 200_000):
        data = random.randbytes(size)
        channel.write([data])
        channel.flush_nowait()
        got = b""
        while len(got) < size:
            got += await remote.receive()
        assert got == data
        await remote.send(data)
        back = b""
        while len(back) < size:
            back += b"".join(await channel.read())
        assert back == data


@BOTH
@pytest.mark.parametrize("cipher", CIPHERS)
async def test_data_of_every_cipher(cipher: bytes, we_dial: bool) -> None:
    channel, remote = await connected(we_dial=we_dial, cipher=cipher)
    assert remote.connection.get_cipher_name() == cipher.decode()
    await check_echo(channel, remote)


@BOTH
@pytest.mark.parametrize("cipher", CIPHERS)
async def test_openssl_follows_our_new_keys(cipher: bytes, we_dial: bool) -> None:
    channel, remote = await connected(we_dial=we_dial, cipher=cipher)
    for seed in range(3):
        channel._update_keys()
        await check_echo(channel, remote, seed)


@BOTH
async def test_we_follow_the_new_keys_of_openssl(we_dial: bool) -> None:
    channel, remote = await connected(we_dial=we_dial)
    for seed in range(3):
        # A request for new keys, which only a test makes: OpenSSL changes its own before what it sends next.
        before = channel._receive_keys
        channel._seal_bytes(b"\x18\x00\x00\x01\x01", HANDSHAKE)
        channel._send_keys = channel._send_keys.next()
        await check_echo(channel, remote, seed)
        assert channel._receive_keys is not before


@BOTH
async def test_close_notify_both_ways(we_dial: bool) -> None:
    channel, remote = await connected(we_dial=we_dial)
    await channel.send_eof()
    with pytest.raises(SSL.ZeroReturnError):
        await remote.receive()
    remote.connection.shutdown()
    await remote.pipe.send_all(take_output(remote.connection))
    assert await channel.read() == []


@BOTH
async def test_openssl_hears_why_we_refuse_its_record(we_dial: bool) -> None:
    channel, remote = await connected(we_dial=we_dial)
    remote.connection.send(b"data")
    record = bytearray(take_output(remote.connection))
    record[-1] ^= 1
    await remote.pipe.send_all(record)
    with pytest.raises(RemoteProtocolError, match="does not decrypt"):
        await channel.read()
    with pytest.raises(SSL.Error, match="bad record mac"):
        await remote.receive()


@BOTH
async def test_we_hear_why_openssl_refuses_our_record(we_dial: bool) -> None:
    channel, remote = await connected(we_dial=we_dial)
    channel.write([b"data"])
    channel._segments[0].view[20] ^= 1
    channel.flush_nowait()
    with pytest.raises(SSL.Error, match="bad record mac"):
        await remote.receive()
    with pytest.raises(ConnectionLost, match="alert bad_record_mac"):
        await channel.read()
