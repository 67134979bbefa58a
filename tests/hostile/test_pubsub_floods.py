"""Floods of topics, control entries and messages: bounded by count, charged if they are no accident, soon forgotten."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.protocols.pubsub import GossipConfig, PubsubConfig, ScoreConfig
from peerstack.protocols.pubsub.api.events import MalformedRpc
from peerstack.protocols.pubsub.router.events import Misbehaved, PeersSuggested, Pruned
from peerstack.protocols.pubsub.wire import (
    IHave,
    PeerInfo,
    Prune,
    Subscription,
    encode_control,
    encode_subscriptions,
)
from peerstack.stack.identity import Identity
from peerstack.stack.wire.varint import encode_uint64

from .pubsub_peers import TOPIC, Hostile, field_of_battle, hostile_peer, kept

Clock = trio.testing.MockClock
TOPICS = 200_000
STEP = 25_000
"""Subscriptions in one RPC; it has to hold some or they are too many to be looked at."""


def subscriptions(names: range, *, subscribe: bool = True) -> list[bytes]:
    return encode_subscriptions([Subscription(subscribe, f"t{number}") for number in names])


# ---- topics (CVE-2026-46679)


async def test_two_hundred_thousand_topics_are_a_thousand_and_none_when_the_peer_left(
    autojump_clock: Clock,
) -> None:
    async with field_of_battle() as place:
        before = kept(place.victim)
        async with hostile_peer(place) as peer:
            for begin in range(0, TOPICS, STEP):
                await peer.say(*subscriptions(range(begin, begin + STEP)))
            sizes = kept(place.victim)
            assert sizes["topics of peers"] == 1024 + 1
            assert sizes["topics"] == 1024 + 1
            counts = place.victim.pubsub.statistics().counts
            assert counts["topics_refused"] == (TOPICS // STEP - 1) * 1024  # the rest was never decoded
            await place.honest_exchange()
            await peer.leave()
        assert kept(place.victim) == before


async def test_topics_joined_and_left_in_turn_leave_nothing(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place) as peer:
        before = kept(place.victim)
        for begin in range(0, 20_000, 1000):
            await peer.say(*subscriptions(range(begin, begin + 1000)))
            await peer.say(*subscriptions(range(begin, begin + 1000), subscribe=False))
        assert kept(place.victim) == before


async def test_giant_names_of_topics_are_not_kept(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place) as peer:
        before = kept(place.victim)
        await peer.subscribe("x" * 1025, "y" * 100_000, "z" * 1_000_000)
        assert kept(place.victim) == before
        await peer.subscribe("x" * 1024)
        assert kept(place.victim)["topics"] == before["topics"] + 1


async def test_messages_of_topics_not_joined_are_not_even_verified(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = 0

    def count(messages: list[object]) -> list[None]:
        nonlocal verified
        verified += len(messages)
        return [None] * len(messages)

    async with field_of_battle() as place, hostile_peer(place) as peer:
        before = kept(place.victim)
        seen = len(place.victim.pubsub._router._seen)
        monkeypatch.setattr("peerstack.protocols.pubsub.validation.signing.verify_batch", count)
        for number in range(10):
            await peer.publish(*[peer.message(topic=f"unknown {number}") for _ in range(100)])
        assert verified == 0
        monkeypatch.undo()
        assert place.victim.pubsub.statistics().ignored == {"not subscribed": 1000}
        assert len(place.victim.pubsub._router._seen) == seen
        assert kept(place.victim) == before


# ---- GRAFT and PRUNE


async def test_grafts_in_the_backoff_are_refused_and_charged(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await peer.say(*encode_control(prune=[Prune(TOPIC, [], 60)]))
        for _ in range(1000):
            await peer.graft(TOPIC)
        assert peer.peer_id not in place.at_victim.mesh
        counts = place.victim.pubsub.statistics().counts
        # The second one is enough to be graylisted: two points for each, since they come right after the PRUNE.
        assert (counts["grafts_refused"], counts["graylisted"]) == (2, 998)
        charged = place.victim.events.of(Misbehaved)
        assert [(event.reason, event.penalty) for event in charged] == [("GRAFT before its backoff was over", 2)] * 2
        assert peer.score == pytest.approx(-10 * 4**2)
        assert [(prune.topic, prune.peers, prune.backoff) for prune in peer.heard.prune] == [(TOPIC, [], 60)] * 2


async def test_grafts_in_one_rpc_count_once_each_topic(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place) as peer:
        await peer.graft(*[f"t{number}" for number in range(1024)], *[TOPIC] * 1000)
        assert peer.heard.prune == []  # no answers about topics that are none of ours: they would tell what we joined
        assert len([name for name in place.victim.pubsub._router._state.topics if name != TOPIC]) == 0


@pytest.mark.parametrize("seconds", [0, 1, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
async def test_a_backoff_of_any_size_is_an_hour_at_most(autojump_clock: Clock, seconds: int) -> None:
    """CVE-2026-33040 and CVE-2026-34219: the sum with the clock, and later with the slack, overflowed."""
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await trio.sleep(2)
        assert peer.peer_id in place.at_victim.mesh
        began = trio.current_time()
        await peer.say(*encode_control(prune=[Prune(TOPIC, [], seconds)]))
        until = place.victim.pubsub._router._mesh.backoffs.until(TOPIC, peer.peer_id)
        assert until is not None
        asked = min(seconds, 3600) if seconds else 60  # 0 is what a peer of version 1.0 would say: the default
        assert until - began == pytest.approx(asked, abs=0.1)
        for _ in range(3):
            await trio.sleep(1)  # a heartbeat
        await place.honest_exchange()


async def test_after_the_longest_backoff_a_peer_is_grafted_again(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await peer.say(*encode_control(prune=[Prune(TOPIC, [], 2**64 - 1)]))
        await trio.sleep(3590)
        assert peer.peer_id not in place.at_victim.mesh
        await trio.sleep(20)
        assert peer.peer_id in place.at_victim.mesh


async def test_a_prune_from_outside_the_mesh_changes_nothing_but_the_backoff(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place) as peer:
        prunes = [Prune(f"t{number}", [], 2**64 - 1) for number in range(1024)]
        await peer.say(*encode_control(prune=prunes))
        backoffs = place.victim.pubsub._router._mesh.backoffs
        assert len(backoffs) == 0
        assert place.victim.events.of(Pruned) == []


def introduced(count: int) -> list[PeerInfo]:
    """Return peers that do not exist, with records that are none."""
    return [PeerInfo(Identity.generate().peer_id.to_bytes(), b"no record") for _ in range(count)]


async def test_peers_suggested_by_a_peer_with_a_low_score_are_not_dialed(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await peer.say(*encode_control(prune=[Prune(TOPIC, introduced(16), 60)]))
        assert place.victim.events.of(PeersSuggested) == []
        assert place.victim.pubsub._dialer.refused == 0


async def test_bad_records_of_suggested_peers_are_refused_one_by_one(autojump_clock: Clock) -> None:
    trusting = PubsubConfig(score=ScoreConfig(accept_px_threshold=0))
    async with field_of_battle(trusting) as place, hostile_peer(place, TOPIC) as peer:
        known = len(place.victim.host.peerstore.peers())
        own = PeerInfo(place.victim.peer_id.to_bytes(), b"no record")
        garbage = [PeerInfo(b"no peer id", b"x"), PeerInfo(b"", b""), own]
        for _ in range(10):
            await peer.say(*encode_control(prune=[Prune(TOPIC, [*garbage, *introduced(200)], 60)]))
        # 64 of each RPC are decoded, 16 of these looked at.
        assert 100 <= place.victim.pubsub._dialer.refused <= 10 * 16
        assert len(place.victim.host.peerstore.peers()) == known
        assert len(place.victim.host.peers) == 2


async def test_a_record_of_another_peer_is_refused(autojump_clock: Clock) -> None:
    trusting = PubsubConfig(score=ScoreConfig(accept_px_threshold=0))
    async with field_of_battle(trusting) as place, hostile_peer(place, TOPIC) as peer:
        record = place.honest.host.peerstore.record(place.victim.peer_id)
        assert record is not None
        unknown = Identity.generate().peer_id
        await peer.say(*encode_control(prune=[Prune(TOPIC, [PeerInfo(unknown.to_bytes(), record)], 60)]))
        assert place.victim.pubsub._dialer.refused == 1
        assert place.victim.host.peerstore.addresses(unknown) == ()


# ---- IHAVE, IWANT, IDONTWANT


def ids(count: int, kind: str = "id") -> list[bytes]:
    return [f"{kind} {number}".encode() for number in range(count)]


async def test_promises_that_are_not_kept_cost_the_score(autojump_clock: Clock) -> None:
    """IHAVE spam of the evaluation of GossipSub 1.1: no message ever follows."""
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        for batch in range(20):
            await peer.say(*encode_control(ihave=[IHave(TOPIC, ids(5000, f"batch {batch}"))]))
        counts = place.victim.pubsub.statistics().counts
        assert len(peer.heard.iwant) == 5000  # of 100 000
        assert counts["ihave_ignored"] >= 19 * 5000
        assert kept(place.victim)["promises"] == 1  # whatever was offered, one id is remembered
        await trio.sleep(5)
        assert place.victim.pubsub.statistics().counts["broken_promises"] == 1
        (event,) = place.victim.events.of(Misbehaved)
        assert event.reason == "1 advertised messages were not sent"
        assert peer.score < 0
        assert kept(place.victim)["promises"] == 0


async def test_a_peer_that_only_promises_is_out_of_the_mesh(autojump_clock: Clock) -> None:
    """CVE-2022-47547: a mesh peer that advertises and never delivers must not keep a positive score."""
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await trio.sleep(2)
        assert peer.peer_id in place.at_victim.mesh
        for second in range(8):
            await peer.say(*encode_control(ihave=[IHave(TOPIC, ids(10, f"second {second}"))]))
            await trio.sleep(1)
        assert peer.score < 0
        assert peer.peer_id not in place.at_victim.mesh


async def test_a_message_is_sent_three_times_at_most_to_a_peer_that_asks(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        receipt = await place.at_victim.publish(b"news")
        await place.at_honest.receive()
        await trio.testing.wait_all_tasks_blocked()
        peer.heard.messages.clear()
        for _ in range(1000):
            await peer.say(*encode_control(iwant=[receipt.id] * 10))
        assert [message.data for message in peer.heard.messages] == [b"news"] * 3
        assert place.victim.pubsub.statistics().counts["iwant_refused"] == 997


async def test_bytes_served_between_two_heartbeats_are_bounded(autojump_clock: Clock) -> None:
    config = PubsubConfig(gossip=GossipConfig(max_iwant_bytes=100_000))
    async with field_of_battle(config) as place, hostile_peer(place) as peer:
        receipts = [await place.at_victim.publish(bytes(10_000)) for _ in range(50)]
        for _ in receipts:
            await place.at_honest.receive()
        await peer.say(*encode_control(iwant=[receipt.id for receipt in receipts]))
        assert len(peer.heard.messages) == 9
        await peer.say(*encode_control(iwant=[receipt.id for receipt in receipts]))
        assert len(peer.heard.messages) == 9
        await trio.sleep(1)
        await peer.say(*encode_control(iwant=[receipt.id for receipt in receipts]))
        assert len(peer.heard.messages) == 18


async def test_ids_that_do_not_exist_cost_nothing(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        before = kept(place.victim)
        for batch in range(20):
            await peer.say(*encode_control(iwant=ids(5000, f"batch {batch}")))
        assert peer.heard.messages == []
        assert kept(place.victim) == before
        assert len(place.victim.pubsub._router._cache._served) == 0


async def test_unwanted_ids_are_bounded_and_forgotten(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        await trio.sleep(1)
        for batch in range(20):
            await peer.say(*encode_control(idontwant=ids(1000, f"batch {batch}")))
        assert kept(place.victim)["unwanted ids"] == 1000
        assert place.victim.pubsub.statistics().counts["idontwant_ignored"] == 19_000
        await trio.sleep(5)
        assert kept(place.victim)["unwanted ids"] == 0


async def test_giant_ids_are_not_kept(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        giant = [bytes([number]) * 1025 for number in range(100)]
        await peer.say(*encode_control(idontwant=giant, iwant=giant, ihave=[IHave(TOPIC, giant)], max_size=1 << 20))
        assert kept(place.victim)["unwanted ids"] == kept(place.victim)["promises"] == 0
        assert peer.heard.iwant == []


# ---- RPCs that are too much, or none


def nested(depth: int) -> bytes:
    """Return a message in a message in a message, in a `control` field."""
    data = b""
    for _ in range(depth):
        data = b"\x3a" + encode_uint64(len(data)) + data
    return b"\x1a" + encode_uint64(len(data)) + data


NO_RPC = {
    "a group": b"\x0b\x0c",
    "an end of a group": b"\x14",
    "nested groups": b"\x13" * 10_000,
    "a length beyond the end": b"\x1a\xff\xff\x03",
    "a varint of eleven bytes": b"\x50" + b"\x80" * 10 + b"\x01",
    "field number 0": b"\x02\x01a",
    "70 000 entries beyond the limits": b"\x0a\x00" * 70_000,
    "70 000 empty IHAVEs": b"\x1a" + encode_uint64(140_000) + b"\x0a\x00" * 70_000,
    "8193 messages": b"\x12\x03\x22\x01t" * 8193,
    "a message without a topic": b"\x12\x00",
    "a topic that is no text": b"\x12\x04\x22\x02\xff\xfe",
    "a message of a giant topic": b"\x12" + encode_uint64(2003) + b"\x22\xd0\x0f" + b"t" * 2000,
}


@pytest.mark.parametrize("what", NO_RPC)
async def test_what_is_no_rpc_costs_the_stream_and_says_why(autojump_clock: Clock, what: str) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        before = kept(place.victim)
        await peer.try_raw(encode_uint64(len(NO_RPC[what])) + NO_RPC[what])
        (event,) = place.victim.events.of(MalformedRpc)
        assert event.peer == peer.peer_id
        assert event.reason
        assert place.victim.pubsub.statistics().malformed == 1
        assert kept(place.victim) == before
        with pytest.raises(trio.BrokenResourceError):
            await peer.raw(b"\0")


async def test_nested_control_is_read_one_level_deep(autojump_clock: Clock) -> None:
    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        before = kept(place.victim)
        await peer.say(nested(10_000))
        assert kept(place.victim) == before
        assert place.victim.events.of(MalformedRpc) == []


async def test_entries_beyond_the_limits_are_never_made_objects(autojump_clock: Clock) -> None:
    made = 0

    class Counted(Subscription):
        def __init__(self, *args: object) -> None:
            nonlocal made
            made += 1
            super().__init__(True, f"t{made}")

    async with field_of_battle() as place, hostile_peer(place, TOPIC) as peer:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("peerstack.protocols.pubsub.wire.decode.Subscription", Counted)
            await peer.say(*subscriptions(range(60_000)))
        assert made == 1024


async def _flood(peer: Hostile) -> None:
    """Send some of everything."""
    for round_ in range(5):
        await peer.try_raw(b"\0" * 1000)
        await peer.subscribe(*[f"t{round_}-{number}" for number in range(1000)])
        await peer.graft(*[f"t{number}" for number in range(1000)])
        await peer.say(*encode_control(ihave=[IHave(TOPIC, ids(1000, f"{round_}"))]))
        await peer.say(*encode_control(idontwant=ids(1000, f"{round_}"), iwant=ids(1000)))


async def test_whatever_a_peer_left_behind_is_gone_with_it(autojump_clock: Clock) -> None:
    async with field_of_battle() as place:
        before = kept(place.victim)
        async with hostile_peer(place, TOPIC) as peer:
            await _flood(peer)
            assert kept(place.victim) != before
            await peer.leave()
        await trio.sleep(5)  # promises are kept as long as they may still be kept
        assert kept(place.victim) == before
