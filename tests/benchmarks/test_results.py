"""Statistics of the samples, and the way through JSON."""

import pytest

from benchmarks.results import Results, Spread, ratios


def make_results() -> Results:
    return Results(command="bench", runs=3, machine={"Cores": "2"}, sizes={"bytes": 1 << 20})


def test_spread_is_of_the_samples_that_are_there() -> None:
    assert Spread.of([3.0, None, 1.0, 10.0]) == Spread(median=3.0, least=1.0, greatest=10.0, count=3)


@pytest.mark.parametrize("nothing", [[], [None, None]])
def test_without_samples_there_is_no_spread(nothing: list[float | None]) -> None:
    assert Spread.of(nothing) is None


def test_ratios_are_made_within_a_round() -> None:
    # The machine gets slower from round to round, for both.
    assert ratios([100, 50, 25], [50, 25, 12.5]) == [2, 2, 2]


def test_ratios_leave_out_rounds_where_one_failed() -> None:
    assert ratios([10, None, 30, 40], [5, 5, None]) == [2]


def test_ratios_leave_out_division_by_zero() -> None:
    assert ratios([1, 6], [0, 2]) == [3]


def test_rounds_that_failed_keep_their_place() -> None:
    results = make_results()
    results.add("go", 0, {"ping": 1.0})
    results.add("go", 2, {"ping": 3.0})
    results.add("js", 1, {"ping": 2.0})
    assert results.of("ping", "go") == [1.0, None, 3.0]
    assert results.of("ping", "js") == [None, 2.0]
    assert results.of("ping", "rust") == []
    assert results.spread("ping", "go") == Spread(2.0, 1.0, 3.0, 2)


def test_json_holds_everything() -> None:
    results = make_results()
    results.add("go", 1, {"ping": 1.5})
    results.versions["go"] = "v1"
    results.left_out["js"] = "no node"
    results.failures.append("round 1, ping, go-libp2p: gone")
    assert Results.from_json(results.to_json()) == results


def test_only_failures_of_ours_count_as_ours() -> None:
    results = make_results()
    results.failures.append("round 1, ping, go-libp2p: peerstack was not there")
    assert not results.ours_failed
    results.failures.append("round 1, ping, peerstack: gone")
    assert results.ours_failed
