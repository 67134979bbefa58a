"""Settings of the peer score and its decay that make no sense are refused, and the presets keep their promises."""

from __future__ import annotations

import math

import pytest

from peerstack.protocols.pubsub.scoring.config import ScoreConfig, TopicScoreConfig
from peerstack.protocols.pubsub.scoring.decay import DecayClock, decay_factor, faded

NOT_NUMBERS = [math.nan, math.inf, -math.inf]
NOT_FRACTIONS = [*NOT_NUMBERS, 0.0, 1.0, -0.5, 1.5]


def refused(kind: type[ScoreConfig] | type[TopicScoreConfig], name: str, value: float) -> bool:
    # The settings are too many to write a call for each: `**` with a name keeps the table of cases readable.
    settings = {name: value}
    try:
        kind(**settings)  # type: ignore[arg-type]  # every name below is one of a float
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize(
    "name",
    [
        "weight",
        "time_in_mesh_weight",
        "time_in_mesh_quantum",
        "time_in_mesh_cap",
        "first_deliveries_weight",
        "first_deliveries_cap",
        "mesh_deliveries_weight",
        "mesh_deliveries_cap",
        "mesh_deliveries_threshold",
        "mesh_deliveries_window",
        "mesh_deliveries_activation",
        "mesh_failure_weight",
        "invalid_weight",
    ],
)
def test_topic_settings_are_finite(name: str, value: float) -> None:
    assert refused(TopicScoreConfig, name, value)


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize(
    "name",
    [
        "gossip_threshold",
        "publish_threshold",
        "graylist_threshold",
        "accept_px_threshold",
        "opportunistic_graft_threshold",
        "topic_score_cap",
        "application_weight",
        "colocation_weight",
        "behaviour_weight",
        "behaviour_threshold",
        "decay_interval",
        "retain",
        "delivery_ttl",
    ],
)
def test_settings_are_finite(name: str, value: float) -> None:
    assert refused(ScoreConfig, name, value)


@pytest.mark.parametrize("value", NOT_FRACTIONS)
@pytest.mark.parametrize(
    "name", ["first_deliveries_decay", "mesh_deliveries_decay", "mesh_failure_decay", "invalid_decay"]
)
def test_decays_of_a_topic_lie_between_0_and_1(name: str, value: float) -> None:
    assert refused(TopicScoreConfig, name, value)


@pytest.mark.parametrize("value", NOT_FRACTIONS)
@pytest.mark.parametrize("name", ["behaviour_decay", "decay_to_zero"])
def test_decays_lie_between_0_and_1(name: str, value: float) -> None:
    assert refused(ScoreConfig, name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", -1.0),
        ("time_in_mesh_weight", -1.0),
        ("time_in_mesh_quantum", 0.0),
        ("time_in_mesh_cap", 0.0),
        ("first_deliveries_weight", -1.0),
        ("first_deliveries_cap", 0.0),
        ("mesh_deliveries_weight", 1.0),
        ("mesh_deliveries_cap", 0.0),
        ("mesh_deliveries_threshold", 0.0),
        ("mesh_deliveries_threshold", 101.0),
        ("mesh_deliveries_window", -0.1),
        ("mesh_deliveries_activation", 0.9),
        ("mesh_failure_weight", 1.0),
        ("invalid_weight", 1.0),
    ],
)
def test_a_topic_neither_rewards_harm_nor_punishes_service(name: str, value: float) -> None:
    assert refused(TopicScoreConfig, name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gossip_threshold", 1.0),
        ("gossip_threshold", -50.5),
        ("publish_threshold", -9.0),
        ("publish_threshold", -81.0),
        ("graylist_threshold", -49.0),
        ("accept_px_threshold", -1.0),
        ("opportunistic_graft_threshold", -1.0),
        ("topic_score_cap", -1.0),
        ("colocation_weight", 1.0),
        ("colocation_threshold", 0),
        ("colocation_private_factor", 0),
        ("behaviour_weight", 1.0),
        ("behaviour_threshold", -1.0),
        ("decay_interval", 0.9),
        ("retain", -1.0),
        ("max_retained", -1),
        ("delivery_ttl", 0.0),
        ("max_deliveries", 0),
    ],
)
def test_thresholds_are_in_order_and_bounds_possible(name: str, value: float) -> None:
    assert refused(ScoreConfig, name, value)


def test_networks_allowed_to_share_addresses_are_networks() -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        ScoreConfig(colocation_allowed=("10.0.0.0/8", "localhost"))


def test_the_edges_are_allowed() -> None:
    TopicScoreConfig(weight=0.0, invalid_weight=0.0, mesh_deliveries_threshold=100.0, mesh_deliveries_activation=1.0)
    ScoreConfig(gossip_threshold=-50.0, publish_threshold=-50.0, graylist_threshold=-50.0, retain=0.0, max_retained=0)


def test_a_topic_without_settings_of_its_own_is_scored_by_the_default() -> None:
    loud = TopicScoreConfig(weight=2.0)
    config = ScoreConfig(topics={"loud": loud})
    assert config.topic("loud") is loud
    assert config.topic("quiet") is config.default_topic
    assert ScoreConfig(topics={"loud": loud}, default_topic=None).topic("quiet") is None


def test_what_a_peer_can_earn_does_not_pay_for_a_graylisting() -> None:
    config = ScoreConfig.recommended()
    topic = config.default_topic
    assert topic is not None
    time_in_mesh = topic.time_in_mesh_cap * topic.time_in_mesh_weight
    best = time_in_mesh + topic.first_deliveries_cap * topic.first_deliveries_weight
    assert time_in_mesh < -(2**2) * topic.invalid_weight, "two invalid messages outweigh any time in the mesh"
    assert (best + 14**2 * topic.invalid_weight) * topic.weight < config.gossip_threshold
    assert config.topic_score_cap + 4**2 * config.behaviour_weight < config.graylist_threshold


def test_without_scores_no_threshold_acts_on_the_score_0() -> None:
    config = ScoreConfig.none()
    for lowest in (config.gossip_threshold, config.publish_threshold, config.graylist_threshold):
        assert not lowest > 0.0
    assert config.accept_px_threshold <= 0.0
    assert config.opportunistic_graft_threshold <= 0.0


def test_a_counter_fades_to_zero_in_the_time_given() -> None:
    factor = decay_factor(60.0, interval=2.0, to_zero=0.01)
    assert factor**30 == pytest.approx(0.01)
    assert decay_factor(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("duration", "interval", "to_zero"),
    [(0.5, 1.0, 0.1), (1.0, 0.0, 0.1), (math.nan, 1.0, 0.1), (math.inf, 1.0, 0.1), (10.0, 1.0, 0.0), (10.0, 1.0, 1.0)],
)
def test_a_counter_that_cannot_fade_is_refused(duration: float, interval: float, to_zero: float) -> None:
    with pytest.raises(ValueError, match=r"fade|between 0 and 1"):
        decay_factor(duration, interval, to_zero)


def test_several_steps_at_once_fade_as_much_as_one_by_one() -> None:
    assert faded(faded(10.0, 0.5, 1, 0.1), 0.5, 1, 0.1) == faded(10.0, 0.5, 2, 0.1) == 2.5
    assert faded(1.0, 0.5, 4, 0.1) == 0.0
    assert faded(0.2, 0.5, 1, 0.1) == 0.1


def test_decay_keeps_its_pace_however_irregular_the_ticks() -> None:
    clock = DecayClock(1.0, 100.0)
    assert [clock.due(now) for now in (100.5, 100.9999999, 101.4, 104.2, 104.9, 105.0)] == [0, 1, 0, 3, 0, 1]
