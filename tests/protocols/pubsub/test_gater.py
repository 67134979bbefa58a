"""The gater takes messages by chance while validation is overloaded, by what came from their source before."""

from __future__ import annotations

import math
from random import Random

import pytest

from peerstack.protocols.pubsub.scoring.gater import GaterConfig, PeerGater
from peerstack.stack.identity import PeerId

from .names import A, B, C

CONFIG = GaterConfig(threshold=0.1, global_decay=0.9, source_decay=0.999)


def gating(config: GaterConfig = CONFIG, *, overloaded: bool = True) -> PeerGater:
    gater = PeerGater(config, Random(1), 0.0)
    gater.add_peer(A, ["192.0.2.1"], 0.0)
    if overloaded:
        gater.validate()
        gater.throttle(0.0)
    return gater


def share(gater: PeerGater, peer: PeerId = A, now: float = 0.0) -> float:
    return sum(gater.accepts(peer, now) for _ in range(2000)) / 2000


def spoil(gater: PeerGater, peer: PeerId = A, count: int = 10) -> None:
    for _ in range(count):
        gater.reject(peer)


def test_everything_is_taken_while_validation_keeps_up() -> None:
    gater = gating(overloaded=False)
    gater.validate()
    spoil(gater)
    assert share(gater) == 1.0


def test_a_peer_without_a_bad_message_is_never_gated() -> None:
    gater = gating()
    assert share(gater) == 1.0
    gater.deliver(A, "topic")
    assert share(gater) == 1.0


def test_the_chance_is_the_share_of_good_messages_with_one_for_good_measure() -> None:
    gater = gating()
    gater.reject(A)
    assert share(gater) == pytest.approx(1 / 17, abs=0.02)
    for _ in range(15):
        gater.deliver(A, "topic")
    assert share(gater) == pytest.approx(16 / 32, abs=0.04)


def test_ignored_messages_and_duplicates_weigh_less() -> None:
    ignored, repeated = gating(), gating()
    for _ in range(8):
        ignored.ignore(A)
        repeated.duplicate(A)
    assert share(ignored) == pytest.approx(1 / 9, abs=0.03)
    assert share(repeated) == pytest.approx(1 / 2, abs=0.04)


def test_topics_can_weigh_more() -> None:
    gater = gating(GaterConfig(threshold=0.1, topic_weights={"blocks": 15.0}))
    gater.reject(A)
    gater.deliver(A, "blocks")
    assert share(gater) == pytest.approx(16 / 32, abs=0.04)


def test_the_worst_peer_still_has_a_chance() -> None:
    gater = gating()
    gater.ignore(A)
    for _ in range(100):
        gater.ignore(A)
    assert 0.0 < share(gater) < 0.05


def test_a_little_throttling_is_normal() -> None:
    gater = gating(overloaded=False)
    spoil(gater)
    for _ in range(100):
        gater.validate()
    for _ in range(9):
        gater.throttle(0.0)
    assert share(gater) == 1.0
    gater.throttle(0.0)
    assert share(gater) < 0.1


def test_throttling_before_anything_was_validated_is_overload() -> None:
    gater = gating(overloaded=False)
    spoil(gater)
    gater.throttle(0.0)
    assert share(gater) < 0.1


def test_the_gater_rests_when_nothing_was_throttled_for_a_minute() -> None:
    gater = gating()
    spoil(gater)
    assert share(gater, now=60.0) < 0.1
    assert share(gater, now=60.1) == 1.0
    gater.throttle(100.0)
    assert share(gater, now=100.0) < 0.1


def test_the_gater_rests_when_the_throttling_has_faded() -> None:
    gater = gating()
    spoil(gater)
    gater.decay(20.0)
    assert share(gater, now=20.0) < 0.1
    gater.decay(50.0)
    assert share(gater, now=50.0) == 1.0


def test_a_source_is_forgiven_in_time() -> None:
    gater = gating(GaterConfig(threshold=0.1, source_decay=0.5))
    spoil(gater, count=1)
    assert share(gater) < 0.1
    gater.decay(4.0)
    assert share(gater, now=4.0) == pytest.approx(1 / 2, abs=0.04)
    gater.decay(30.0)
    gater.throttle(30.0)
    assert share(gater, now=30.0) == 1.0


def test_peers_at_one_address_are_one_source() -> None:
    gater = gating()
    gater.add_peer(B, ["192.0.2.1", "198.51.100.1"], 0.0)
    gater.add_peer(C, ["198.51.100.1"], 0.0)
    spoil(gater)
    assert share(gater, B) < 0.1
    assert share(gater, C) == 1.0


def test_an_ipv6_subnet_is_one_source() -> None:
    gater = gating()
    gater.add_peer(B, ["2001:db8::1"], 0.0)
    gater.add_peer(C, ["2001:db8::2"], 0.0)
    spoil(gater, B)
    assert share(gater, C) < 0.1


def test_peers_without_address_are_sources_of_their_own() -> None:
    gater = gating()
    gater.add_peer(B, [], 0.0)
    gater.add_peer(C, [], 0.0)
    spoil(gater, B)
    assert share(gater, B) < 0.1
    assert share(gater, C) == 1.0


def test_unknown_peers_are_not_gated_and_leave_no_trace() -> None:
    gater = gating()
    spoil(gater, B)
    gater.ignore(B)
    gater.duplicate(B)
    gater.deliver(B, "topic")
    gater.remove_peer(B, 0.0)
    assert share(gater, B) == 1.0
    assert gater.sources == 1


def test_a_source_comes_back_as_it_left_and_is_forgotten_in_the_end() -> None:
    gater = gating(GaterConfig(threshold=0.1, source_decay=0.5, retain=1000.0))
    spoil(gater, count=1)
    gater.remove_peer(A, 0.0)
    gater.decay(900.0)
    gater.add_peer(A, ["192.0.2.1"], 900.0)
    gater.throttle(900.0)
    assert share(gater, now=900.0) < 0.1, "it does not fade while it is away"
    gater.remove_peer(A, 900.0)
    gater.decay(1899.0)
    assert gater.sources == 1
    gater.decay(1900.0)
    assert gater.sources == 0


def test_a_source_that_comes_back_late_starts_anew_whether_decay_ran_or_not() -> None:
    gater = gating(GaterConfig(threshold=0.1, retain=1000.0))
    spoil(gater)
    gater.remove_peer(A, 0.0)
    gater.add_peer(A, ["192.0.2.1"], 1000.0)
    gater.throttle(1000.0)
    assert share(gater, now=1000.0) == 1.0


def test_a_source_lasts_as_long_as_one_of_its_peers() -> None:
    gater = gating()
    gater.add_peer(B, ["192.0.2.1"], 0.0)
    gater.add_peer(B, ["192.0.2.1"], 0.0)
    spoil(gater, B)
    gater.remove_peer(B, 0.0)
    assert share(gater, A) < 0.1
    gater.remove_peer(A, 0.0)
    gater.decay(6 * 3600.0)
    assert gater.sources == 0


def test_the_oldest_sources_are_forgotten_when_there_are_too_many() -> None:
    gater = gating(GaterConfig(threshold=0.1, max_retained=1))
    gater.add_peer(B, ["192.0.2.2"], 0.0)
    for peer in (A, B):
        spoil(gater, peer)
        gater.remove_peer(peer, 0.0)
    assert gater.sources == 1
    gater.add_peer(A, ["192.0.2.1"], 0.0)
    gater.add_peer(B, ["192.0.2.2"], 0.0)
    assert share(gater, A) == 1.0
    assert share(gater, B) < 0.1


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0])
@pytest.mark.parametrize(
    "name",
    [
        "threshold",
        "quiet",
        "global_decay",
        "source_decay",
        "decay_interval",
        "decay_to_zero",
        "duplicate_weight",
        "ignore_weight",
        "reject_weight",
    ],
)
def test_settings_that_make_no_sense_are_refused(name: str, value: float) -> None:
    settings = {name: value}
    with pytest.raises(ValueError, match="must be"):
        GaterConfig(**settings)  # type: ignore[arg-type]  # every name above is one of a float


def test_bounds_and_topic_weights_are_checked_too() -> None:
    with pytest.raises(ValueError, match="retain"):
        GaterConfig(retain=-1.0)
    with pytest.raises(ValueError, match="retain"):
        GaterConfig(max_retained=-1)
    with pytest.raises(ValueError, match="topic 'blocks'"):
        GaterConfig(topic_weights={"blocks": 0.0})
