"""Plaintext: its bytes on the wire, what it refuses, and that it is never on by accident."""

from __future__ import annotations

import inspect
from random import Random

import pytest
import trio
import trio.testing

from peerstack import DialError, open_host
from peerstack.stack.abc import Buffer, Secured
from peerstack.stack.errors import InvalidInput, PeerIdMismatch, RemoteProtocolError
from peerstack.stack.identity import Identity
from peerstack.stack.identity.keys import KeyType
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security.plaintext import InsecurePlaintext, PlainChannel
from peerstack.stack.security.plaintext.wire import MAX_EXCHANGE, Exchange
from peerstack.stack.testing import seeded_identity
from peerstack.stack.wire import varint
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

Clock = trio.testing.MockClock
ALICE, BOB = seeded_identity(Random(1)), seeded_identity(Random(2))
BOBS = Exchange(BOB.peer_id.to_bytes(), BOB.public_key.encode())


def plaintext(identity: Identity) -> InsecurePlaintext:
    return InsecurePlaintext(identity, for_tests_only=True)


async def against(raw: bytes, *, initiator: bool = True) -> Secured:
    """Run our side against a peer that sends these bytes and hangs up."""
    near, far = memory_pipe_pair()
    await far.send_all(raw)
    await far.send_eof()
    return await plaintext(ALICE).secure(near, initiator=initiator, expect=None, muxers=("/yamux/1.0.0",))


def framed(message: bytes) -> bytes:
    return varint.encode(len(message)) + message


@pytest.mark.parametrize("initiator", [True, False])
async def test_the_bytes_on_the_wire(initiator: bool) -> None:
    near, far = memory_pipe_pair()
    await far.send_all(framed(BOBS.encode()) + b"next")
    secured = await plaintext(ALICE).secure(near, initiator=initiator, expect=BOB.peer_id, muxers=("/a",))
    peer_id, key = ALICE.peer_id.to_bytes(), ALICE.public_key.encode()
    # An Ed25519 id has 38 bytes, its key 36.
    assert await far.receive_some() == b"\x4e\x0a\x26" + peer_id + b"\x12\x24" + key
    assert secured.remote_peer == BOB.peer_id
    assert secured.muxer is None
    assert await secured.channel.receive_some() == b"next"


async def test_unknown_fields_are_left_out_and_the_last_of_a_field_counts() -> None:
    unknown = b"\x18\x96\x01" + b"\x21" + bytes(8) + b"\x2d" + bytes(4) + b"\x32\x01x"
    twice = b"\x0a\x01x" + BOBS.encode() + unknown
    assert (await against(framed(twice))).remote_peer == BOB.peer_id


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"", "lacks its id or its key"),
        (BOBS.encode()[:40], "lacks its id or its key"),
        (BOBS.encode()[40:], "lacks its id or its key"),
        (BOBS.encode()[:-1], "ends inside a field"),
        (BOBS.encode() + b"\x2d\x00", "ends inside a field"),
        (BOBS.encode() + b"\x1b", "wire type 3"),
        (BOBS.encode() + b"\x18", "ended inside a varint"),
        (Exchange(ALICE.peer_id.to_bytes(), BOBS.public_key).encode(), "not that of its key"),
        (Exchange(b"", BOBS.public_key).encode(), "not that of its key"),
        (Exchange(BOBS.peer_id, b"\x08\x01\x12\x20").encode(), "key is not usable"),
    ],
)
async def test_bad_claims_are_refused(message: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        await against(framed(message))


async def test_an_oversized_claim_is_refused_by_its_length() -> None:
    with pytest.raises(RemoteProtocolError, match="over the limit"):
        await against(varint.encode(MAX_EXCHANGE + 1))


async def test_the_expected_peer_is_checked() -> None:
    near, far = memory_pipe_pair()
    await far.send_all(framed(BOBS.encode()))
    with pytest.raises(PeerIdMismatch):
        await plaintext(ALICE).secure(near, initiator=True, expect=ALICE.peer_id, muxers=())


@pytest.mark.parametrize("key_type", [KeyType.SECP256K1, KeyType.RSA])
async def test_ids_that_are_hashes_of_keys(key_type: KeyType) -> None:
    identity = Identity.generate(key_type)
    near, far = memory_pipe_pair()
    secured: dict[bool, Secured] = {}

    async def one(pipe: MemoryPipe, initiator: bool, ours: Identity) -> None:
        secured[initiator] = await plaintext(ours).secure(pipe, initiator=initiator, expect=None, muxers=())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, near, True, identity)
        nursery.start_soon(one, far, False, BOB)
    assert (secured[False].remote_peer, secured[True].remote_peer) == (identity.peer_id, BOB.peer_id)


# ---- never by accident


def test_it_must_be_asked_for_in_so_many_words() -> None:
    assert inspect.signature(InsecurePlaintext).parameters["for_tests_only"].default is inspect.Parameter.empty
    for word in (False, None, 1, "yes"):
        with pytest.raises(InvalidInput, match="protects nothing"):
            InsecurePlaintext(ALICE, for_tests_only=word)  # type: ignore[arg-type] # what a careless caller writes


async def test_a_host_of_the_defaults_does_not_speak_it(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with (
        open_host(transports=[MemoryTransport(network)], listen=["/memory/0"]) as secure,
        open_host(transports=[MemoryTransport(network)], security=[plaintext(BOB)], identity=BOB) as bare,
    ):
        with pytest.raises(DialError, match=r"/plaintext/2\.0\.0"):
            await bare.connect(secure.addresses[0])


async def test_two_hosts_that_asked_for_it_talk(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with (
        open_host(
            transports=[MemoryTransport(network)], security=[plaintext(ALICE)], identity=ALICE, listen=["/memory/0"]
        ) as alice,
        open_host(transports=[MemoryTransport(network)], security=[plaintext(BOB)], identity=BOB) as bob,
    ):
        assert await bob.connect(alice.addresses[0]) == ALICE.peer_id
        (connection,) = bob.connections()
        assert (connection.info.security, connection.info.muxer) == ("/plaintext/2.0.0", "/yamux/1.0.0")


# ---- the channel


class Flighty(MemoryPipe):
    """A pipe that wakes its reader for nothing, once."""

    woken = False

    async def wait_receive_might_not_block(self) -> None:
        if self.woken:
            await super().wait_receive_might_not_block()
        self.woken = True


async def test_a_reader_that_is_woken_for_nothing_waits_on(autojump_clock: Clock) -> None:
    near, far = memory_pipe_pair()
    channel = PlainChannel(Flighty(near.incoming, near.outgoing))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(far.send_all, b"at last")
        assert await channel.read() == [b"at last"]


class SlowPipe(MemoryPipe):
    """A pipe that takes the bytes, and tells of it when it is closed."""

    closed = False

    async def send_some(self, data: Buffer) -> int:
        sent = await super().send_some(data)
        while not self.closed:
            await trio.lowlevel.checkpoint()
        return sent

    async def aclose(self) -> None:
        self.closed = True
        await super().aclose()


async def test_a_flush_that_is_closed_meanwhile_ends_in_order(autojump_clock: Clock) -> None:
    near, far = memory_pipe_pair()
    channel = PlainChannel(SlowPipe(near.incoming, near.outgoing))
    channel.write([b"x" * 10])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.flush)
        assert await far.receive_some() == b"x" * 10
        await channel.aclose()
    assert channel.queued == 0
