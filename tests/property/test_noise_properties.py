"""Noise channels under random writes and random cuts of the wire: every byte arrives, once and in order."""

from random import Random

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.memory import memory_pipe_pair
from peerstack.stack.security.noise import Handshake, NoiseChannel, Session, StaticKey
from peerstack.stack.security.noise.wire import Payload

SIZES = st.one_of(st.integers(0, 100), st.integers(0, 200_000), st.sampled_from([8191, 8192, 65519, 65520, 131_038]))
WRITES = st.lists(st.lists(SIZES, max_size=5), max_size=5)
CUTS = st.lists(st.one_of(st.integers(1, 20), st.integers(1, 200_000)), min_size=1, max_size=10)


def sessions() -> tuple[Session, Session]:
    alice = Handshake(initiator=True, static=StaticKey())
    bob = Handshake(initiator=False, static=StaticKey())
    bob.read(alice.write(b""))
    alice.read(bob.write(b""))
    bob.read(alice.write(b""))
    return alice.finish(), bob.finish()


async def seal(session: Session, writes: list[list[bytes]]) -> bytes:
    """Return what a channel puts on the wire for these writes."""
    near, far = memory_pipe_pair(2**30)
    channel = NoiseChannel(near, session)
    for pieces in writes:
        channel.write(pieces)
        channel.flush_nowait()
    wire = b""
    while far.incoming.size:
        wire += await far.receive_some()
    return wire


@settings(max_examples=60, deadline=None)
@given(writes=WRITES, cuts=CUTS, seed=st.integers(0, 2**32))
async def test_bytes_arrive_in_order_however_the_wire_cuts_them(
    writes: list[list[int]], cuts: list[int], seed: int
) -> None:
    random = Random(seed)
    data = [[random.randbytes(size) for size in sizes] for sizes in writes]
    mine, theirs = sessions()
    wire = await seal(mine, data)
    near, far = memory_pipe_pair(2**30)
    receiver = NoiseChannel(far, theirs)
    got: list[bytes] = []

    async def receive() -> None:
        while pieces := await receiver.read():
            assert all(pieces)
            got.extend(pieces)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        position, turn = 0, 0
        while position < len(wire):
            size = cuts[turn % len(cuts)]
            # Few bytes at a time are tried at the beginning only, or the test would take for ever.
            size = size if turn < 50 else max(size, 50_000)
            near.send_nowait(wire[position : position + size])
            position, turn = position + size, turn + 1
            await trio.lowlevel.checkpoint()
        await near.aclose()
    assert b"".join(got) == b"".join(piece for pieces in data for piece in pieces)
    assert receiver._partial == b""


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5), data=st.data())
async def test_a_changed_wire_never_yields_changed_bytes(sizes: list[int], data: st.DataObject) -> None:
    mine, theirs = sessions()
    sent = [bytes([number]) * size for number, size in enumerate(sizes)]
    wire = bytearray(await seal(mine, [[piece] for piece in sent]))
    position = data.draw(st.integers(0, len(wire) - 1))
    wire[position] ^= data.draw(st.integers(1, 255))
    near, far = memory_pipe_pair(2**30)
    near.send_nowait(wire)
    await near.aclose()
    receiver = NoiseChannel(far, theirs)
    failed = False
    try:
        pieces = await receiver.read()
        assert b"".join(sent).startswith(b"".join(pieces))
        assert await receiver.read()
    except (RemoteProtocolError, ConnectionLost):
        failed = True
    assert failed


@settings(max_examples=200, deadline=None)
@given(message=st.binary(max_size=200), turn=st.integers(1, 3))
def test_no_message_crashes_a_handshake(message: bytes, turn: int) -> None:
    alice, bob = (Handshake(initiator=initiator, static=StaticKey()) for initiator in (True, False))
    reader = bob
    if turn > 1:
        bob.read(alice.write(b""))
        answer = bob.write(b"")
        reader = alice
        if turn == 3:
            alice.read(answer)
            reader = bob
    try:
        reader.read(message)
        assert turn == 1
        assert len(message) >= 32
    except RemoteProtocolError:
        assert turn > 1 or len(message) < 32


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=100))
def test_no_payload_crashes_the_decoder(data: bytes) -> None:
    try:
        payload = Payload.decode(data)
    except RemoteProtocolError:
        return
    assert Payload.decode(payload.encode()) == payload
