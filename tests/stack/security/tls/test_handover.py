"""Where OpenSSL's handshake ends and our records begin: not a byte is lost between them, however the peer frames it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import trio
from OpenSSL import SSL
from OpenSSL._util import lib

from peerstack.stack.abc import Secured
from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.identity import Identity
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security.tls import Tls, make_certificate
from peerstack.stack.security.tls.records import HEADER, SUITES, TrafficKeys
from peerstack.stack.security.tls.tls import take_output

from .parties import DATA, HANDSHAKE, sealed

ALICE, OTHER = Identity.generate(), Identity.generate()
CIPHER = "TLS_AES_128_GCM_SHA256"
CHANGE_CIPHER_SPEC = b"\x14\x03\x03\x00\x01\x01"
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891")  # the random number that marks one (RFC 8446, 4.1.3)
TICKET = b"\x04\x00\x00\x20" + bytes(32)
BOTH = pytest.mark.parametrize("we_dial", [True, False])
Frames = Callable[[bytes], list[bytes]]


class Reframing:
    """OpenSSL as a peer whose encrypted handshake goes in other records, with something behind its Finished."""

    def __init__(self, pipe: MemoryPipe, frames: Frames, *, server: bool) -> None:
        self.pipe = pipe
        self.frames = frames
        self.between = b""
        """Goes before each record."""
        self.behind: Callable[[TrafficKeys], bytes] = lambda _: b""
        """Given the keys of the data, returns what goes behind the Finished, at once with it."""
        self.said = b""
        self.hellos = 0
        self._server = server
        self._secrets: dict[str, bytes] = {}
        self.context = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
        credentials = make_certificate(OTHER)
        self.context.use_certificate(credentials.certificate)
        self.context.use_privatekey(credentials.key)
        self.context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        self.context.set_tls13_ciphersuites(CIPHER.encode())
        self.context.set_keylog_callback(self._keep)

    def _keep(self, _: SSL.Connection, line: bytes) -> None:
        label, _random, secret = line.decode().split()
        self._secrets[label] = bytes.fromhex(secret)

    def _keys(self, label: str) -> TrafficKeys:
        side = "SERVER" if self._server else "CLIENT"
        return TrafficKeys(SUITES[CIPHER], self._secrets[f"{side}_{label}"])

    async def shake_hands(self) -> None:
        connection = SSL.Connection(self.context, None)
        if self._server:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        done = False
        while not done:
            try:
                connection.do_handshake()
                done = True
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return
            output = take_output(connection)
            if not (done and self._server):  # what a server says then are tickets
                output = self._reframed(output)
            self.said += output
            with suppress(trio.BrokenResourceError):
                await self.pipe.send_all(output)
            if not done:
                data = await self.pipe.receive_some()
                if not data:
                    return
                connection.bio_write(data)

    def _reframed(self, wire: bytes) -> bytes:
        clear, messages = b"", b""
        while wire:
            size = HEADER.size + HEADER.unpack_from(wire)[2]
            record, wire = wire[:size], wire[size:]
            if record[0] == DATA:
                messages += self._opened(record, first=not messages)
            else:
                self.hellos += record[0] == HANDSHAKE
                clear += record
        if not messages:
            return clear
        keys = self._keys("HANDSHAKE_TRAFFIC_SECRET")
        again = [self.between + sealed(keys, part, HANDSHAKE) for part in self.frames(messages)]
        return clear + b"".join(again) + self.behind(self._keys("TRAFFIC_SECRET_0"))

    def _opened(self, record: bytes, *, first: bool) -> bytes:
        if first:
            self._opener = self._keys("HANDSHAKE_TRAFFIC_SECRET")
        keys = self._opener
        inner = bytearray(len(record) - HEADER.size - 16)
        nonce = (keys.iv ^ keys.sequence).to_bytes(12, "big")
        keys.decrypt_into(nonce, record[HEADER.size :], record[: HEADER.size], inner)
        keys.sequence += 1
        assert inner[-1] == HANDSHAKE
        return bytes(inner[:-1])


async def against(remote: Reframing, near: MemoryPipe, *, we_dial: bool) -> Secured:
    outcome: Secured | RemoteProtocolError
    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.shake_hands)
        try:
            with trio.fail_after(5):
                outcome = await Tls(ALICE).secure(near, initiator=we_dial, expect=None, muxers=())
        except RemoteProtocolError as error:
            nursery.cancel_scope.cancel()
            outcome = error
    if isinstance(outcome, RemoteProtocolError):
        raise outcome
    assert outcome.remote_peer == OTHER.peer_id
    return outcome


async def read(secured: Secured) -> list[bytes]:
    with trio.fail_after(5):  # where bytes are lost, there is nothing to come
        return await secured.channel.read()


def pair(frames: Frames, *, we_dial: bool) -> tuple[Reframing, MemoryPipe]:
    near, far = memory_pipe_pair(1 << 20)
    return Reframing(far, frames, server=we_dial), near


def whole(messages: bytes) -> list[bytes]:
    return [messages]


def pieces(size: int) -> Frames:
    return lambda messages: [messages[start : start + size] for start in range(0, len(messages), size)]


def two(keys: TrafficKeys) -> bytes:
    return sealed(keys, b"ear") + sealed(keys, b"ly", padding=3)


@BOTH
@pytest.mark.parametrize("frames", [whole, pieces(100), pieces(7), pieces(1)])
async def test_data_right_behind_the_handshake_is_ours_to_open(frames: Frames, we_dial: bool) -> None:
    remote, near = pair(frames, we_dial=we_dial)
    remote.behind = two
    secured = await against(remote, near, we_dial=we_dial)
    assert await read(secured) == [b"early"]


@BOTH
async def test_other_records_that_middleboxes_like_to_see_may_stand_between(we_dial: bool) -> None:
    remote, near = pair(pieces(200), we_dial=we_dial)
    remote.between = CHANGE_CIPHER_SPEC
    remote.behind = two
    secured = await against(remote, near, we_dial=we_dial)
    assert await read(secured) == [b"early"]


@BOTH
async def test_but_not_behind_the_handshake(we_dial: bool) -> None:
    remote, near = pair(whole, we_dial=we_dial)
    remote.behind = lambda _: CHANGE_CIPHER_SPEC
    secured = await against(remote, near, we_dial=we_dial)
    with pytest.raises(RemoteProtocolError, match="it has the type 20 and 1 bytes"):
        await read(secured)


@BOTH
@pytest.mark.parametrize("more", [TICKET, TICKET[:2]])
async def test_nothing_may_follow_in_the_record_of_the_finished(more: bytes, we_dial: bool) -> None:
    remote, near = pair(lambda messages: [messages + more], we_dial=we_dial)
    with pytest.raises(RemoteProtocolError, match="the TLS handshake failed: not on record boundary"):
        await against(remote, near, we_dial=we_dial)


@BOTH
async def test_a_message_behind_the_finished_in_a_record_of_its_own_is_ours_too(we_dial: bool) -> None:
    remote, near = pair(whole, we_dial=we_dial)
    # In the keys of the handshake, which have come to their end.
    remote.frames = lambda messages: [messages, TICKET]
    secured = await against(remote, near, we_dial=we_dial)
    with pytest.raises(RemoteProtocolError, match="TLS record 0 of 53 bytes does not decrypt"):
        await read(secured)


@BOTH
async def test_after_a_second_hello(we_dial: bool) -> None:
    remote, near = pair(pieces(50), we_dial=we_dial)
    # A server that wants another group than we guess, and a client that guesses one we do not know.
    groups = b"P-521" if we_dial else b"brainpoolP384r1tls13:P-256"
    assert lib.SSL_CTX_set1_curves_list(remote.context._context, groups) == 1
    remote.behind = two
    secured = await against(remote, near, we_dial=we_dial)
    assert await read(secured) == [b"early"]
    if we_dial:
        assert remote.said[11:].startswith(RETRY)  # behind headers, length and version
    else:
        assert remote.hellos == 2


async def test_a_server_sends_nothing_of_its_own_before_its_data() -> None:
    remote, near = pair(whole, we_dial=False)
    await against(remote, near, we_dial=False)
    assert not remote.pipe.incoming.size
