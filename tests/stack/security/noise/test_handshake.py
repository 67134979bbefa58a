"""Whole handshakes between honest peers: what both learn, over pipes that cut the bytes as they like."""

import pytest
import trio
import trio.testing

from peerstack.stack.errors import RemoteProtocolError
from peerstack.stack.identity import Identity, KeyType
from peerstack.stack.memory import memory_pipe_pair
from peerstack.stack.security.noise import Noise

from .parties import ALICE, BOB, RawPeer, secure_both

YAMUX, MPLEX = "/yamux/1.0.0", "/mplex/6.7.0"


async def test_both_know_one_another_and_share_a_channel() -> None:
    alice, bob = await secure_both(*memory_pipe_pair(), expect=BOB.peer_id, listener_expects=ALICE.peer_id)
    assert alice.remote_peer == BOB.peer_id
    assert bob.remote_peer == ALICE.peer_id
    assert alice.remote_public_key == BOB.public_key
    assert alice.muxer is None
    await alice.channel.send_all(b"from alice")
    await bob.channel.send_all(b"from bob")
    assert await bob.channel.receive_some() == b"from alice"
    assert await alice.channel.receive_some() == b"from bob"


@pytest.mark.parametrize("capacity", [1, 7])
async def test_over_a_pipe_that_takes_few_bytes_at_a_time(capacity: int) -> None:
    alice, bob = await secure_both(*memory_pipe_pair(capacity))
    assert (alice.remote_peer, bob.remote_peer) == (BOB.peer_id, ALICE.peer_id)


async def test_over_a_plain_trio_stream() -> None:
    alice, bob = await secure_both(*trio.testing.memory_stream_pair())
    await alice.channel.send_all(b"hello")
    assert await bob.channel.receive_some() == b"hello"


@pytest.mark.parametrize("key_type", list(KeyType))
async def test_identities_of_every_type(key_type: KeyType) -> None:
    identity = Identity.generate(key_type)
    near, far = memory_pipe_pair()
    peer = RawPeer(far, initiator=False, identity=identity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.talk)
        secured = await Noise(ALICE).secure(near, initiator=True, expect=identity.peer_id, muxers=())
    assert secured.remote_peer == identity.peer_id


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        ((YAMUX,), (YAMUX,), YAMUX),
        ((MPLEX, YAMUX), (YAMUX, MPLEX), MPLEX),
        ((), (YAMUX,), None),
        ((YAMUX,), (), None),
    ],
)
async def test_both_roles_agree_on_the_same_muxer(
    ours: tuple[str, ...], theirs: tuple[str, ...], agreed: str | None
) -> None:
    alice, bob = await secure_both(*memory_pipe_pair(), muxers=ours, their_muxers=theirs)
    assert alice.muxer == bob.muxer == agreed


@pytest.mark.parametrize("initiator", [True, False])
async def test_muxers_without_overlap_fail_in_both_roles(initiator: bool) -> None:
    near, far = memory_pipe_pair()
    peer = RawPeer(far, initiator=not initiator)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.talk, peer.honest_payload((MPLEX,)))
        with pytest.raises(RemoteProtocolError, match="no muxer in common"):
            await Noise(ALICE).secure(near, initiator=initiator, expect=None, muxers=(YAMUX,))
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("initiator", [True, False])
async def test_more_than_a_hundred_muxers_are_as_good_as_none(initiator: bool) -> None:
    near, far = memory_pipe_pair()
    peer = RawPeer(far, initiator=not initiator)
    names = tuple(f"/m/{number}" for number in range(101))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.talk, peer.honest_payload(names))
        secured = await Noise(ALICE).secure(near, initiator=initiator, expect=None, muxers=(YAMUX,))
    assert secured.muxer is None


async def test_a_payload_as_large_as_js_sends_fits() -> None:
    # js-libp2p may add certificate hashes; an RSA-8192 key and signature make the largest honest payload.
    near, far = memory_pipe_pair()
    peer = RawPeer(far, initiator=False)
    payload = peer.honest_payload() + b"\x22\xc2\x1e" + b"\x0a\xbf\x1e" + bytes(0xF3F)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.talk, payload)
        secured = await Noise(ALICE).secure(near, initiator=True, expect=None, muxers=())
    assert secured.remote_peer == peer.identity.peer_id


@pytest.mark.parametrize("plain_stream", [False, True])
async def test_bytes_behind_the_last_message_reach_the_channel(plain_stream: bool) -> None:
    near, far = memory_pipe_pair()
    mine: trio.abc.Stream = trio.StapledStream(near, near) if plain_stream else near
    peer = RawPeer(far, initiator=True)
    first_frame = b""

    async def talk() -> None:
        # The initiator may send its first frame right behind the handshake, in the same segment.
        nonlocal first_frame
        await peer.send(peer.handshake.write(b""))
        peer.handshake.read(await peer.receive())
        last = peer.handshake.write(peer.honest_payload())
        sealed = peer.handshake.finish().send.encrypt(bytes(12), b"early", None)
        first_frame = len(sealed).to_bytes(2, "big") + sealed
        await far.send_all(len(last).to_bytes(2, "big") + last + first_frame[:-3])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        secured = await Noise(ALICE).secure(mine, initiator=False, expect=None, muxers=())
    await far.send_all(first_frame[-3:])
    assert await secured.channel.receive_some() == b"early"


async def test_the_static_key_is_signed_once_and_may_serve_many_handshakes() -> None:
    noise = Noise(BOB)
    for _ in range(2):
        near, far = memory_pipe_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(RawPeer(far, initiator=True).talk)
            await noise.secure(near, initiator=False, expect=None, muxers=())


async def _talk_after(prologues: tuple[bytes, bytes]) -> bytes:
    near, far = memory_pipe_pair()

    async def listen() -> None:
        noise = Noise(BOB).with_prologue(prologues[1])
        secured = await noise.secure(far, initiator=False, expect=None, muxers=())
        await secured.channel.send_all(b"hello")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        noise = Noise(ALICE).with_prologue(prologues[0])
        secured = await noise.secure(near, initiator=True, expect=None, muxers=())
        return bytes(await secured.channel.receive_some())


async def test_a_prologue_that_both_know_changes_nothing_else() -> None:
    assert await _talk_after((b"libp2p-webrtc-noise:", b"libp2p-webrtc-noise:")) == b"hello"


@pytest.mark.parametrize("prologues", [(b"one", b"two"), (b"one", b""), (b"", b"two")])
async def test_different_prologues_end_the_handshake(prologues: tuple[bytes, bytes]) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await _talk_after(prologues)
    assert caught.group_contains(RemoteProtocolError)
