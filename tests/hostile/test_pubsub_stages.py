"""A peer that misbehaves is scored, ignored, then dropped, all can see why, and two hundred of them hurt no other."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import PubsubConfig, PubsubMessage, SignaturePolicy, ValidationResult
from peerstack.protocols.pubsub.api.events import MalformedRpc, MessageRejected, PeerDropped, PubsubPeerRemoved
from peerstack.protocols.pubsub.router.events import Graylisted, Misbehaved, Pruned, PruneReason
from peerstack.protocols.pubsub.wire import IHave, Prune, encode_control, frame, make_message
from peerstack.stack.events import ConnectionClosed, HandlerFailed
from peerstack.stack.wire.varint import encode_uint64

from ..protocols.pubsub.parts import open_nodes
from .pubsub_peers import TOPIC, Field, Hostile, field_of_battle, hostile_peer, kept

Clock = trio.testing.MockClock


async def keep_on_until_dropped(place: Field, peer: Hostile, data: bytes) -> PeerDropped:
    """Repeat an RPC four times a second, on new streams if need be, until the victim has had enough."""
    with trio.fail_after(120):
        while not place.victim.events.of(PeerDropped):
            await peer.try_raw(data)
            await trio.sleep(0.25)
    (dropped,) = place.victim.events.of(PeerDropped)
    return dropped


async def test_one_hostile_peer_through_all_stages(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        events, me = place.victim.events, peer.peer_id
        await trio.sleep(2)
        assert me in place.at_victim.mesh
        # It is scored: a GRAFT right after the PRUNE.
        await peer.say(*encode_control(prune=[Prune(TOPIC, [], 60)]))
        await peer.graft(TOPIC)
        (misbehaved,) = events.of(Misbehaved)
        assert (misbehaved.peer, misbehaved.reason, misbehaved.penalty) == (me, "GRAFT before its backoff was over", 2)
        about = place.victim.pubsub.statistics().peers[str(me)]
        assert (about.score, about.offence) == (-40, "GRAFT before its backoff was over")
        assert events.of(Graylisted) == []
        # It is ignored: what it sends is not looked at any more.
        await peer.graft(TOPIC)
        (graylisted,) = events.of(Graylisted)
        assert (graylisted.peer, graylisted.score) == (me, -160)
        await peer.publish(peer.message(b"anybody there?"))
        assert place.at_victim.statistics().waiting == 0
        assert place.victim.pubsub.statistics().counts["graylisted"] == 1
        # It goes on whenever it is heard again, and is dropped.
        graft = frame(encode_control(graft=[TOPIC]))
        dropped = await keep_on_until_dropped(place, peer, graft)
        assert dropped.peer == me
        assert "its score stayed low for 10 heartbeats" in dropped.reason
        assert "behaviour -" in dropped.reason
        await trio.testing.wait_all_tasks_blocked()
        assert [event.info.remote_peer for event in events.of(ConnectionClosed)] == [me]
        assert [event.peer for event in events.of(PubsubPeerRemoved)] == [me]
        assert str(me) not in place.victim.pubsub.statistics().peers
        assert place.victim.pubsub.statistics().dropped == {str(me): dropped.reason}
        assert place.victim.pubsub.statistics().counts["grafts_refused"] > 2
        # Coming back it is no better off.
        await peer.host.connect(*place.victim.host.addresses)
        await peer.begin()
        await peer.say()
        assert peer.score < 0


async def test_a_peer_that_sends_invalid_messages_is_dropped(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await trio.sleep(2)
        forged = frame([make_message(TOPIC, b"unsigned").entry] * 5)
        dropped = await keep_on_until_dropped(place, peer, forged)
        assert "topics -" in dropped.reason
        assert place.victim.pubsub.statistics().dropped == {str(peer.peer_id): dropped.reason}
        assert Pruned(peer.peer_id, TOPIC, PruneReason.SCORE) in place.victim.events.of(Pruned)
        assert place.victim.pubsub.statistics().rejected["missing_signature"] >= 20
        assert {event.peer for event in place.victim.events.of(MessageRejected)} == {peer.peer_id}


async def test_a_peer_that_sends_no_rpcs_but_garbage_is_dropped(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        with trio.fail_after(120):
            while not place.victim.events.of(PeerDropped):
                await peer.begin()
                await peer.try_raw(b"\x05HELLO")
                await trio.sleep(0.25)
        assert {event.peer for event in place.victim.events.of(MalformedRpc)} == {peer.peer_id}
        misbehaved = place.victim.events.of(Misbehaved)
        assert {event.reason for event in misbehaved} == {"what it sent was no RPC"}
        assert place.victim.pubsub.statistics().malformed >= len(misbehaved) > 2


async def test_peers_with_another_signature_policy_learn_why_they_are_dropped(autojump_clock: Clock) -> None:
    unsigned = PubsubConfig(signatures=SignaturePolicy.STRICT_NO_SIGN)
    async with open_nodes(2, PubsubConfig(), unsigned) as (signing, plain):
        async with signing.pubsub.join(TOPIC) as at_signing, plain.pubsub.join(TOPIC) as at_plain:
            await at_signing.wait_peers()
            await at_plain.wait_peers()
            for _ in range(5):
                await at_signing.publish(b"signed")
                await at_plain.publish(b"unsigned %d" % trio.current_time())
                await trio.sleep(1)
            assert at_plain.statistics().waiting == at_signing.statistics().waiting == 0
            assert set(signing.pubsub.statistics().rejected) == {"missing_signature"}
            assert set(plain.pubsub.statistics().rejected) == {"unexpected_signature"}
            (first, *_) = signing.events.of(MessageRejected)
            assert (first.peer, first.reason) == (plain.peer_id, "missing_signature")


# ---- two hundred beside an honest pair

HOSTILE = 200


def garbage(peer: Hostile, number: int) -> bytes:
    """Return what one of two hundred sends, by its number."""
    ids = [b"%d %d" % (number, index) for index in range(200)]
    match number % 8:
        case 0:
            return frame(encode_control(ihave=[IHave(TOPIC, ids)]))
        case 1:
            return frame(encode_control(prune=[Prune(TOPIC, [], 2**64 - 1)])) + frame(encode_control(graft=[TOPIC])) * 5
        case 2:
            return frame(encode_control(idontwant=ids)) + b"\0" * 1000
        case 3:
            return frame([make_message(TOPIC, b"unsigned %d" % number).entry] * 20)
        case 4:
            return frame([peer.message(topic="unknown").entry] * 20)
        case 5:
            return encode_uint64(2**40)
        case 6:
            return frame(encode_control(iwant=ids))
        case _:
            return frame([peer.message(b"reject me " + one).entry for one in ids[:5]])


def strict(message: PubsubMessage[bytes]) -> ValidationResult:
    return ValidationResult.REJECT if message.data.startswith(b"reject me") else ValidationResult.ACCEPT


@pytest.mark.slow
async def test_two_hundred_hostile_peers_beside_an_honest_pair(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, AsyncExitStack() as stack:
        await stack.enter_async_context(place.victim.pubsub.join(TOPIC, validators=[strict]))
        await stack.enter_async_context(place.honest.pubsub.join(TOPIC, validators=[strict]))
        before = kept(place.victim)
        siege = stack.push_async_exit(AsyncExitStack())
        peers = [
            await siege.enter_async_context(
                hostile_peer(place, TOPIC, reads=Hostile.never_read if number % 2 else Hostile.listen)
            )
            for number in range(HOSTILE)
        ]
        for _ in range(3):
            for number, peer in enumerate(peers):
                await peer.try_raw(garbage(peer, number))
            await place.honest_exchange(20)
            await trio.sleep(1)
        await trio.sleep(2)
        statistics = place.victim.pubsub.statistics()
        assert statistics.rejected["missing_signature"] > 0
        assert statistics.rejected["validation_failed"] > 0
        assert statistics.counts["broken_promises"] > 0
        assert statistics.counts["grafts_refused"] > 0
        assert statistics.malformed > 0
        assert len(place.at_victim.mesh) <= 12
        for sender, receiver in ((place.at_honest, place.at_victim), (place.at_victim, place.at_honest)):
            for number in range(100):
                await sender.publish(b"burst %d" % number)
            with trio.fail_after(30):
                assert [(await receiver.receive()).data for _ in range(100)] == [b"burst %d" % n for n in range(100)]
        await siege.aclose()
        await trio.sleep(5)
        assert kept(place.victim) == before
        assert place.victim.events.of(HandlerFailed) == []
