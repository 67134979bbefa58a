"""The records of TLS 1.3: published bytes, keys and their updates, and whatever else may stand between the data."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Buffer
from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.memory import memory_pipe_pair
from peerstack.stack.security.tls.channel import MAX_IDLE_RECORDS, MAX_MESSAGE, TlsChannel
from peerstack.stack.security.tls.records import HEADER, MAX_PLAINTEXT, SUITES, TrafficKeys, name_of

from .parties import ALERT, CIPHERS, DATA, HANDSHAKE, ONE, Peer, channel_pair, keys

TICKET = b"\x04\x00\x00\x20" + bytes(32)
UPDATE, UPDATE_BOTH = b"\x18\x00\x00\x01\x00", b"\x18\x00\x00\x01\x01"


def described(text: str) -> bytes:
    return bytes.fromhex(text)


class TestPublished:
    """RFC 8448, section 3: a whole connection with TLS_AES_128_GCM_SHA256."""

    client = described("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
    server = described("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
    data = bytes(range(50))
    asked = described(
        "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292"
        "a2977014bd1e3deae63aeebb21694915e4"
    )
    answered = described(
        "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0"
        "a21c0047c2abf332540dd032e167c2955d"
    )
    close_notify = described("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3")

    def keys(self, secret: bytes) -> TrafficKeys:
        return TrafficKeys(SUITES["TLS_AES_128_GCM_SHA256"], secret)

    def test_keys(self) -> None:
        assert self.keys(self.client).iv == 0x5B78923DEE08579033E523D9
        assert self.keys(self.server).iv == 0xCF782B88DD83549AADF1E984

    async def test_what_the_client_sends(self) -> None:
        near, far = memory_pipe_pair()
        sender = TlsChannel(near, self.keys(self.client), self.keys(self.server))
        sender.write([self.data])
        await sender.send_eof()
        assert await far.receive_some() == self.asked + self.close_notify

    async def test_what_the_client_receives(self) -> None:
        near, far = memory_pipe_pair()
        receive = self.keys(self.server)
        receive.sequence = 1  # the ticket went before
        receiver = TlsChannel(far, self.keys(self.client), receive)
        await near.send_all(self.answered)
        assert await receiver.read() == [self.data]


# ---- data


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_every_cipher_carries_any_size(cipher: str) -> None:
    sender, receiver = channel_pair(cipher)
    for size in (1, 2, 16_383, 16_384, 16_385, 32_768, 100_000):
        sender.write([b"x" * size])
        assert sender.queued == size + 22 * -(-size // MAX_PLAINTEXT)
        sender.flush_nowait()
        assert b"".join(await receiver.read()) == b"x" * size


async def test_buffers_written_together_share_records() -> None:
    sender, receiver = channel_pair()
    sender.write([b"a" * 10_000, bytearray(b"b" * 10_000), memoryview(b"c" * 10_000), b""])
    assert sender.queued == 30_000 + 2 * 22
    sender.flush_nowait()
    assert await receiver.read() == [b"a" * 10_000 + b"b" * 10_000 + b"c" * 10_000]


async def test_nothing_written_is_nothing_sent() -> None:
    sender, _ = channel_pair()
    sender.write([])
    sender.write([b"", b""])
    assert sender.queued == 0


async def test_padding_is_taken_off() -> None:
    peer = Peer()
    peer.send(peer.seal(b"padded", padding=1), peer.seal(b"\0more\0", padding=300), peer.seal(b" and not"))
    assert await peer.channel.read() == [b"padded\0more\0 and not"]


async def test_the_largest_records() -> None:
    peer = Peer()
    peer.send(peer.seal(bytes([7]) * MAX_PLAINTEXT), peer.seal(b"y" * MAX_PLAINTEXT, padding=239))
    assert await peer.channel.read() == [bytes([7]) * MAX_PLAINTEXT + b"y" * MAX_PLAINTEXT]


async def test_empty_records_are_not_the_end() -> None:
    peer = Peer()
    peer.send(peer.seal(b""), peer.seal(b"", padding=9), peer.seal(b"data"))
    assert await peer.channel.read() == [b"data"]


# ---- messages beside the data


async def test_tickets_are_ignored_also_in_parts() -> None:
    peer = Peer()
    peer.send(peer.seal(TICKET + TICKET, HANDSHAKE), peer.seal(b"a"), peer.seal(TICKET[:3], HANDSHAKE))
    peer.send(peer.seal(TICKET[3:20], HANDSHAKE), peer.seal(TICKET[20:], HANDSHAKE), peer.seal(b"b"))
    assert await peer.channel.read() == [b"ab"]
    assert await peer.received() == []


async def test_new_keys_of_the_peer_and_data_on_both_sides_of_the_change() -> None:
    peer = Peer()
    records = [peer.seal(b"old "), peer.seal(UPDATE, HANDSHAKE)]
    peer.keys = peer.keys.next()
    peer.send(*records, peer.seal(b"new"))
    assert await peer.channel.read() == [b"old new"]
    await peer.channel.send_all(b"answer")
    assert await peer.received() == [(DATA, b"answer")]


async def test_many_requests_for_new_keys_get_one_answer_before_the_next_data() -> None:
    peer = Peer()
    for _ in range(3):
        peer.send(peer.seal(UPDATE_BOTH, HANDSHAKE))
        peer.keys = peer.keys.next()
    peer.send(peer.seal(b"x"))
    assert await peer.channel.read() == [b"x"]
    assert await peer.received() == []
    await peer.channel.send_all(b"one")
    await peer.channel.send_all(b"two")
    assert await peer.received() == [(HANDSHAKE, UPDATE), (DATA, b"one"), (DATA, b"two")]


async def test_keys_are_changed_before_they_are_worn_out() -> None:
    sender, receiver = channel_pair()
    sender._send_keys.limit = 2
    first = sender._send_keys
    for number in range(5):
        await sender.send_all(b"%d" % number)
        sender._send_keys.limit = 2
    assert sender._send_keys is not first
    assert first.sequence == 3  # two of data, and the message of the change
    received = b""
    while len(received) < 5:
        received += b"".join(await receiver.read())
    assert received == b"01234"


async def test_no_nonce_serves_twice_even_if_sealing_is_interrupted() -> None:
    sender, _ = channel_pair()
    sealing = sender._send_keys.encrypt_into
    nonces: list[Buffer] = []

    def interrupted(nonce: Buffer, data: Buffer, associated_data: Buffer | None, buf: Buffer) -> int:
        nonces.append(nonce)
        sealing(nonce, data, associated_data, buf)
        raise KeyboardInterrupt

    sender._send_keys.encrypt_into = interrupted
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sender.write([b"data"])
    assert len(set(nonces)) == 2


# ---- the end


async def test_close_notify_is_the_end_and_nothing_after_it_counts() -> None:
    peer = Peer()
    peer.send(peer.seal(b"last"), peer.seal(b"\x01\x00", ALERT), peer.seal(b"too late"))
    assert await peer.channel.read() == [b"last"]
    for _ in range(2):
        assert await peer.channel.read() == []
    await peer.channel.send_all(b"we go on")
    assert await peer.received() == [(DATA, b"we go on")]


@pytest.mark.parametrize(("alert", "name"), [(42, "bad_certificate"), (116, "certificate_required"), (7, "number 7")])
async def test_an_alert_of_the_peer_is_named(alert: int, name: str) -> None:
    assert name_of(alert) == name
    peer = Peer()
    peer.send(peer.seal(b"data"), peer.seal(bytes([2, alert]), ALERT))
    assert await peer.channel.read() == [b"data"]
    for _ in range(2):
        with pytest.raises(ConnectionLost, match=rf"the peer ended the connection: .*\(TLS alert {name}\)"):
            await peer.channel.read()
    assert await peer.received() == []


async def test_user_canceled_is_followed_by_close_notify() -> None:
    peer = Peer()
    peer.send(peer.seal(b"\x01\x5a", ALERT), peer.seal(b"\x01\x00", ALERT))
    assert await peer.channel.read() == []


# ---- hostile records


async def refused(peer: Peer, match: str, alert: int) -> None:
    """Check that the channel refuses what the peer sent, for good, and says why."""
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=match):
            await peer.channel.read()
    assert await peer.received() == [(ALERT, bytes([2, alert]))]


def of_type(number: int, size: int) -> bytes:
    return HEADER.pack(number, 0x0303, size) + bytes(size)


@pytest.mark.parametrize(
    ("record", "match", "alert"),
    [
        (of_type(DATA, 16), "not a TLS record: it has the type 23 and 16 bytes", 10),
        (of_type(DATA, 0), "not a TLS record", 10),
        (of_type(DATA, 16_641), "16641 bytes, more than 16640", 22),
        (of_type(ALERT, 2), "type 21", 10),
        (of_type(HANDSHAKE, 200), "type 22", 10),
        (of_type(20, 1), "type 20", 10),
        (b"\x13/multistream/1.0.0\n", "not a TLS record", 10),
        (of_type(DATA, 17), "record 0 of 17 bytes does not decrypt", 20),
        (of_type(DATA, 16_640), "does not decrypt", 20),
    ],
)
async def test_what_is_no_record(record: bytes, match: str, alert: int) -> None:
    peer = Peer()
    peer.send(record)
    await refused(peer, match, alert)


@pytest.mark.parametrize(
    ("content", "kind", "match", "alert"),
    [
        (b"", None, "the type None and 0 bytes", 10),
        (b"\1", 20, "the type 20 and 1 bytes", 10),
        (b"", HANDSHAKE, "type 22 and 0 bytes", 10),
        (b"\2", ALERT, "type 21 and 1 bytes", 10),
        (b"\2\x2a\2\x2a", ALERT, "type 21 and 4 bytes", 10),
        (b"x" * (MAX_PLAINTEXT + 1), DATA, "more than 16384 bytes", 22),
        (b"\x18\0\0\1\2", HANDSHAKE, "key update asks for 2", 47),
        (b"\x18\0\0\2\0\0", HANDSHAKE, "key update is malformed", 50),
        (b"\x18\0\0\0", HANDSHAKE, "key update is malformed", 50),
        (UPDATE + UPDATE, HANDSHAKE, "not the end of its record", 10),
        (b"\x01\0\0\0", HANDSHAKE, "message 1 is out of place", 10),
        (b"\x0d\0\0\0", HANDSHAKE, "message 13 is out of place", 10),
        (b"\x04\x01\0\1", HANDSHAKE, f"has 65537 bytes, more than {MAX_MESSAGE}", 50),
    ],
)
async def test_what_may_not_stand_in_a_record(content: bytes, kind: int | None, match: str, alert: int) -> None:
    peer = Peer()
    peer.send(peer.seal(content, kind, padding=17 if kind is None else 0))
    await refused(peer, match, alert)


async def test_data_inside_a_message_is_refused() -> None:
    peer = Peer()
    peer.send(peer.seal(b"a"), peer.seal(TICKET[:9], HANDSHAKE), peer.seal(b"b"))
    assert await peer.channel.read() == [b"a"]
    await refused(peer, "inside a message", 10)


@pytest.mark.parametrize(("content", "kind"), [(b"", DATA), (TICKET, HANDSHAKE), (b"\x01\x5a", ALERT)])
async def test_records_without_data_are_counted(content: bytes, kind: int) -> None:
    peer = Peer()
    allowed = [peer.seal(content, kind) for _ in range(MAX_IDLE_RECORDS)]
    peer.send(*allowed, peer.seal(b"data"))
    assert await peer.channel.read() == [b"data"]
    peer.send(*[peer.seal(content, kind) for _ in range(MAX_IDLE_RECORDS + 1)])
    await refused(peer, f"{MAX_IDLE_RECORDS + 1} TLS records in a row", 10)


async def test_repeated_and_swapped_records_are_refused() -> None:
    for order in ((0, 0), (1,)):
        peer = Peer()
        records = [peer.seal(b"a"), peer.seal(b"b")]
        peer.send(*(records[number] for number in order))
        if order[0] == 0:
            assert await peer.channel.read() == [b"a"]
        await refused(peer, f"record {len(order) - 1} of 18 bytes does not decrypt", 20)


async def test_after_a_bad_record_even_a_good_one_is_refused() -> None:
    peer = Peer()
    record = peer.seal(b"abc")
    peer.send(record[:-1] + bytes([record[-1] ^ 1]))
    with pytest.raises(RemoteProtocolError):
        await peer.channel.read()
    peer.send(record)
    with pytest.raises(RemoteProtocolError):
        await peer.channel.read()


async def test_a_wire_that_ends_inside_a_record_is_lost() -> None:
    for cut in (1, 4, 5, 6, 24):
        peer = Peer()
        await peer.pipe.send_all(peer.seal(b"abc")[:cut])
        await peer.pipe.send_eof()
        with pytest.raises(ConnectionLost, match="inside a TLS record"):
            await peer.channel.read()


async def test_the_alert_waits_for_a_flush_that_is_under_way() -> None:
    near, far = memory_pipe_pair(10)
    channel = TlsChannel(far, keys(ONE), keys(ONE))
    channel.write([b"x" * 100])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.flush)
        await trio.testing.wait_all_tasks_blocked()
        near.send_nowait(of_type(ALERT, 2))
        with pytest.raises(RemoteProtocolError):
            await channel.read()
        wire = b""
        while len(wire) < 122 + 24:
            wire += await near.receive_some()
    opener = keys(ONE)
    for start, stop in ((0, 122), (122, 146)):
        opened = bytearray(stop - start - 21)
        nonce = (opener.iv ^ opener.sequence).to_bytes(12, "big")
        opener.decrypt_into(nonce, wire[start + 5 : stop], wire[start : start + 5], opened)
        opener.sequence += 1
        assert opened == (b"x" * 100 + bytes([DATA]) if start == 0 else bytes([2, 10, ALERT]))
