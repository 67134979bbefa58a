"""Peers that lie, flood, stall or hang up during the handshake."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from peerstack.stack.errors import ConnectionLost, PeerIdMismatch, RemoteProtocolError
from peerstack.stack.memory import MemoryPipe, memory_pipe_pair
from peerstack.stack.security.noise import Noise, StaticKey
from peerstack.stack.security.noise.wire import MAX_HANDSHAKE_MESSAGE, SIGNATURE_PREFIX, Payload

from .parties import ALICE, BOB, MALLORY, RawPeer

ROLES = pytest.mark.parametrize("initiator", [True, False], ids=["we dial", "we listen"])


async def refusal(initiator: bool, payload: Callable[[RawPeer], bytes], error: type[Exception], match: str) -> RawPeer:
    """Run our side of a handshake against a peer with this payload, and return the peer when we refused."""
    near, far = memory_pipe_pair()
    peer = RawPeer(far, initiator=not initiator)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.talk, payload(peer))
        with pytest.raises(error, match=match):
            await Noise(ALICE).secure(near, initiator=initiator, expect=None, muxers=())
        nursery.cancel_scope.cancel()
    return peer


def signed(peer: RawPeer, message: bytes) -> bytes:
    return Payload(peer.identity.public_key.encode(), peer.identity.sign(message)).encode()


@ROLES
async def test_a_signature_of_another_static_key(initiator: bool) -> None:
    def payload(peer: RawPeer) -> bytes:
        return signed(peer, SIGNATURE_PREFIX + StaticKey().public)

    await refusal(initiator, payload, RemoteProtocolError, "signature does not cover its Noise key")


@ROLES
async def test_a_signature_without_its_domain(initiator: bool) -> None:
    await refusal(initiator, lambda peer: signed(peer, peer.static.public), RemoteProtocolError, "does not cover")


@ROLES
@pytest.mark.parametrize("change", [lambda s: b"", lambda s: s[:-1], lambda s: s + b"\0", lambda s: bytes(len(s))])
async def test_a_malformed_signature(initiator: bool, change: Callable[[bytes], bytes]) -> None:
    def payload(peer: RawPeer) -> bytes:
        signature = peer.identity.sign(SIGNATURE_PREFIX + peer.static.public)
        return Payload(peer.identity.public_key.encode(), change(signature)).encode()

    await refusal(initiator, payload, RemoteProtocolError, "does not cover")


@ROLES
async def test_the_payload_of_another_session(initiator: bool) -> None:
    recorded = RawPeer(memory_pipe_pair()[0], initiator=True, identity=BOB).honest_payload()
    await refusal(initiator, lambda peer: recorded, RemoteProtocolError, "does not cover")


@ROLES
@pytest.mark.parametrize("key", [b"", b"\x08\x01", b"\x08\x09\x12\x01a", bytes(5000)])
async def test_an_identity_key_that_is_none(initiator: bool, key: bytes) -> None:
    def payload(peer: RawPeer) -> bytes:
        return Payload(key, peer.identity.sign(SIGNATURE_PREFIX + peer.static.public)).encode()

    await refusal(initiator, payload, RemoteProtocolError, "identity key is not usable")


async def test_an_rsa_key_of_16384_bits_is_refused_before_anything_is_verified() -> None:
    # CVE-2023-39533: a verification with it takes seconds. The modulus is no product of primes; nothing may check that.
    numbers = rsa.RSAPublicNumbers(65537, (1 << 16383) | 1)
    der = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    key = b"\x08\x00\x12" + bytes([len(der) & 0x7F | 0x80, len(der) >> 7]) + der

    def payload(peer: RawPeer) -> bytes:
        return Payload(key, bytes(2048)).encode()

    await refusal(True, payload, RemoteProtocolError, "identity key is not usable.*16384")


@ROLES
async def test_a_payload_that_is_no_protobuf(initiator: bool) -> None:
    await refusal(initiator, lambda peer: b"\xff\xff", RemoteProtocolError, "not a valid protobuf")


@ROLES
async def test_another_peer_than_the_expected_one(initiator: bool) -> None:
    near, far = memory_pipe_pair()
    peer = RawPeer(far, initiator=not initiator)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.talk)
        with pytest.raises(PeerIdMismatch) as caught:
            await Noise(ALICE).secure(near, initiator=initiator, expect=BOB.peer_id, muxers=())
        nursery.cancel_scope.cancel()
    assert (caught.value.expected, caught.value.actual) == (BOB.peer_id, MALLORY.peer_id)
    assert str(BOB.peer_id) in str(caught.value)
    assert str(MALLORY.peer_id) in str(caught.value)


async def test_a_dialer_that_finds_another_peer_does_not_say_who_it_is() -> None:
    near, far = memory_pipe_pair()
    peer = RawPeer(far, initiator=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.talk)
        with pytest.raises(PeerIdMismatch):
            await Noise(ALICE).secure(near, initiator=True, expect=BOB.peer_id, muxers=())
    assert far.incoming.size == 0


async def secure(pipe: MemoryPipe, initiator: bool) -> None:
    await Noise(ALICE).secure(pipe, initiator=initiator, expect=None, muxers=())


@ROLES
async def test_an_oversized_frame_is_refused_before_its_bytes_are_waited_for(initiator: bool) -> None:
    near, far = memory_pipe_pair()
    await far.send_all((MAX_HANDSHAKE_MESSAGE + 1).to_bytes(2, "big"))
    with pytest.raises(RemoteProtocolError, match=f"{MAX_HANDSHAKE_MESSAGE + 1} bytes is over"):
        await secure(near, initiator)


async def test_a_frame_of_the_largest_size_is_waited_for() -> None:
    near, far = memory_pipe_pair()
    await far.send_all(MAX_HANDSHAKE_MESSAGE.to_bytes(2, "big"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(secure, near, False)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


@ROLES
@pytest.mark.parametrize("message", [b"", bytes(31), bytes(32)])
async def test_frames_without_a_message(initiator: bool, message: bytes) -> None:
    near, far = memory_pipe_pair()
    await far.send_all(len(message).to_bytes(2, "big") + message)
    with pytest.raises(RemoteProtocolError, match=r"too short|low-order"):
        await secure(near, initiator)


@ROLES
async def test_a_peer_that_hangs_up_at_any_byte(initiator: bool) -> None:
    cut = 0
    while await _hangs_up_after(cut, initiator):
        cut += 1
    assert cut > 32


async def _hangs_up_after(cut: int, initiator: bool) -> bool:
    """Let the peer send `cut` bytes and hang up; False when that was the whole handshake."""
    near, far = memory_pipe_pair()
    outer, inner = memory_pipe_pair()
    peer = RawPeer(inner, initiator=not initiator)
    finished = False
    reason = "during the Noise handshake"

    async def relay_some() -> None:
        left = cut
        while left:
            data = await outer.receive_some(left)
            await far.send_all(data)
            left -= len(data)
        await far.aclose()

    async def relay_rest() -> None:
        async for data in far:
            await outer.send_all(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.talk)
        nursery.start_soon(_ignore_end, relay_some)
        nursery.start_soon(_ignore_end, relay_rest)
        try:
            await secure(near, initiator)
            finished = True
        except ConnectionLost as error:
            reason = str(error)
        nursery.cancel_scope.cancel()
    assert reason.count("during the Noise handshake") == 1
    return not finished


async def _ignore_end(task: Callable[[], Awaitable[None]]) -> None:
    with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
        await task()


@ROLES
async def test_a_wire_that_breaks(initiator: bool) -> None:
    near, far = memory_pipe_pair()
    far.abort()
    with pytest.raises(ConnectionLost, match="broke during the Noise handshake"):
        await secure(near, initiator)


@ROLES
async def test_a_peer_that_says_nothing_is_left_by_cancelling(
    initiator: bool, autojump_clock: trio.testing.MockClock
) -> None:
    near, _ = memory_pipe_pair()
    with pytest.raises(trio.TooSlowError), trio.fail_after(15):
        await secure(near, initiator)
    assert trio.current_time() >= 15
