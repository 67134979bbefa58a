"""Which goals count as reached."""

import pytest

from benchmarks.goals import GOALS, Goal, Outcome
from benchmarks.measures import GROUPS, MEASURES, OURS, SMALL
from benchmarks.results import Results, Spread


def results_with(**samples: dict[str, list[float | None]]) -> Results:
    return Results(command="", runs=1, machine={}, sizes={}, samples=samples)


@pytest.mark.parametrize(
    ("relation", "ours", "outcome"),
    [
        ("≥", 2.0, Outcome.REACHED),
        ("≥", 1.9, Outcome.MISSED),
        (">", 2.0, Outcome.MISSED),
        (">", 2.1, Outcome.REACHED),
        ("≤", 2.0, Outcome.REACHED),
        ("≤", 2.1, Outcome.MISSED),
        ("<", 2.0, Outcome.MISSED),
        ("<", 1.9, Outcome.REACHED),
    ],
)
def test_bound_of_our_number(relation: str, ours: float, outcome: Outcome) -> None:
    goal = Goal("ping", "ping", None, relation, 2)
    assert goal.outcome(results_with(ping={OURS: [ours]})) is outcome


def test_ratio_is_the_median_of_the_ratios_not_the_ratio_of_the_medians() -> None:
    # By round 1, 1 and 3: medians of 20 and 10 would make 2.
    results = results_with(ping={OURS: [10, 20, 30], "js": [10, 20, 10]})
    goal = Goal("ping", "ping", "js", "<", 1.5)
    assert goal.found(results) == Spread(1, 1, 3, 3)
    assert goal.outcome(results) is Outcome.REACHED


@pytest.mark.parametrize("samples", [{}, {OURS: [1.0]}, {"js": [1.0]}, {OURS: [1.0, None], "js": [None, 1.0]}])
def test_goal_without_a_round_of_both_is_unknown(samples: dict[str, list[float | None]]) -> None:
    goal = Goal("ping", "ping", "js", "<", 1)
    assert goal.outcome(results_with(ping=samples)) is Outcome.UNKNOWN


def test_goal_may_be_about_another_of_ours() -> None:
    goal = Goal("small", "quic_upload", "py", "≥", 10, SMALL)
    results = results_with(quic_upload={OURS: [100.0], SMALL: [40.0], "py": [5.0]})
    assert goal.found(results) == Spread(8, 8, 8, 1)
    assert goal.outcome(results) is Outcome.MISSED


@pytest.mark.parametrize(("key", "against", "bound"), [("tls", "js", 1.5), ("ws", "js", 1.5), ("quic", "py", 10)])
@pytest.mark.parametrize("direction", ["download", "upload"])
def test_every_transport_has_a_goal_each_way(key: str, against: str, bound: float, direction: str) -> None:
    goals = [goal for goal in GOALS if goal.measure == f"{key}_{direction}" and goal.whose == OURS]
    assert [(goal.against, goal.relation, goal.bound) for goal in goals] == [(against, "≥", bound)]


def test_ceiling_prefers_encrypted_frames() -> None:
    goal = Goal("download", "download", "js", "≥", 2.5)
    results = results_with(download={"js": [100], "raw": [900], "sealed": [500]})
    assert goal.ceiling(results) == Spread(5, 5, 5, 1)


def test_ceiling_is_plain_tcp_where_nothing_is_encrypted() -> None:
    goal = Goal("ping", "ping", "go", "≤", 2.5)
    assert goal.ceiling(results_with(ping={"go": [10], "raw": [40]})) == Spread(4, 4, 4, 1)


@pytest.mark.parametrize("against", [None, "sealed"])
def test_goal_without_a_foreigner_has_no_ceiling(against: str | None) -> None:
    results = results_with(download={OURS: [1], "sealed": [2], "raw": [3]})
    assert Goal("download", "download", against, "≥", 0.65).ceiling(results) is None


def test_target_names_the_other_or_the_unit() -> None:
    assert Goal("", "dials", "js", "≥", 3).target == "≥ 3 x js-libp2p"
    assert Goal("", "import", None, "<", 250).target == "< 250 ms"


def test_goals_are_about_what_both_can_measure() -> None:
    entrants = {measure.key: group.entrants for group in GROUPS for measure in group.measures}
    for goal in GOALS:
        assert goal.measure in MEASURES
        assert goal.whose in entrants[goal.measure]
        assert goal.against is None or goal.against in entrants[goal.measure]
