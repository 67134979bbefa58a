"""TLS records with random data, cuts and faults: the same bytes come out, or an error does, and nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from peerstack.stack.errors import ConnectionLost, RemoteProtocolError
from peerstack.stack.memory import memory_pipe_pair
from peerstack.stack.security.tls.channel import TlsChannel
from peerstack.stack.security.tls.records import SUITES, TrafficKeys

SECRET = bytes(48)
ciphers = st.sampled_from(list(SUITES))
pieces = st.lists(st.integers(0, 40_000), min_size=1, max_size=6)


def keys(cipher: str) -> TrafficKeys:
    suite = SUITES[cipher]
    return TrafficKeys(suite, SECRET[: suite.hash().digest_size])


async def seal(cipher: str, sizes: list[int]) -> tuple[bytes, bytes]:
    """Return data of these sizes, and the wire."""
    near, _ = memory_pipe_pair()
    sender = TlsChannel(near, keys(cipher), keys(cipher))
    data = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    for piece in data:
        sender.write([piece])
    return b"".join(data), b"".join(bytes(segment.view[: segment.end]) for segment in sender._segments)


@settings(max_examples=60, deadline=None)
@given(cipher=ciphers, sizes=pieces, cuts=st.lists(st.integers(1, 60_000), min_size=1, max_size=5))
async def test_however_the_wire_is_cut(cipher: str, sizes: list[int], cuts: list[int]) -> None:
    data, wire = await seal(cipher, sizes)
    near, far = memory_pipe_pair(1 << 30)
    receiver = TlsChannel(far, keys(cipher), keys(cipher))
    got, position, turn = b"", 0, 0
    while position < len(wire):
        cut = max(cuts[turn % len(cuts)], 1 if turn < 100 else 10_000)
        near.send_nowait(wire[position : position + cut])
        position, turn = position + cut, turn + 1
        opened = receiver._read_nowait()
        assert opened is not None
        got += b"".join(opened)
    assert got == data
    assert not receiver._partial


@settings(max_examples=150, deadline=None)
@given(cipher=ciphers, sizes=st.lists(st.integers(1, 300), min_size=1, max_size=5), data=st.data())
async def test_a_changed_wire_never_yields_changed_bytes(cipher: str, sizes: list[int], data: st.DataObject) -> None:
    sent, sealed = await seal(cipher, sizes)
    wire = bytearray(sealed)
    wire[data.draw(st.integers(0, len(wire) - 1))] ^= data.draw(st.integers(1, 255))
    assert sent.startswith(await received(cipher, bytes(wire)))


@settings(max_examples=200, deadline=None)
@given(wire=st.binary(max_size=200))
async def test_no_bytes_crash_it(wire: bytes) -> None:
    assert await received("TLS_AES_128_GCM_SHA256", wire) == b""


async def received(cipher: str, wire: bytes) -> bytes:
    """Return what is read before the error that a wire which is cut or changed must end with."""
    near, far = memory_pipe_pair(1 << 30)
    near.send_nowait(wire)
    await near.aclose()
    receiver = TlsChannel(far, keys(cipher), keys(cipher))
    got = b""
    try:
        while opened := await receiver.read():
            got += b"".join(opened)
    except (RemoteProtocolError, ConnectionLost):
        return got
    assert not wire, "a whole wire was read without an error"
    return got
