"""The Markdown of a run."""

from dataclasses import asdict

import pytest

from benchmarks.document import number, spread, table, to_markdown
from benchmarks.measures import OURS, Sizes
from benchmarks.results import Results, Spread


@pytest.fixture
def results() -> Results:
    return Results(
        command="python benchmarks/run.py --runs 2",
        runs=2,
        machine={"Processor": "A chip"},
        sizes=asdict(Sizes(bytes=64 << 20)),
        began="2026-01-02 03:04 UTC",
        seconds=600,
        samples={
            "download": {OURS: [800, 900], "js": [200, 200], "sealed": [1000, 1000]},
            "upload": {OURS: [500, 500], "js": [250, 250]},
        },
        versions={OURS: "0.1.0", "js": "3.3 (node v20)"},
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (33.0, "33"), (0.654, "0.65"), (9.996, "10.00"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12346")],
)
def test_numbers_keep_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_spread_shows_least_and_greatest_where_they_differ() -> None:
    assert spread(Spread(2.5, 1, 40.25, 3)) == "2.50 (1 to 40.2)"
    assert spread(Spread(2, 2, 2, 3)) == "2"
    assert spread(None) == "-"


def test_table_aligns_numbers_right() -> None:
    assert table(("", "n"), [("a", "1")]) == "|  | n |\n| --- | ---: |\n| a | 1 |\n"


def test_document_has_command_picture_machine_and_versions(results: Results) -> None:
    text = to_markdown(results, "plot.svg")
    assert "```\npython benchmarks/run.py --runs 2\n```" in text
    assert "(plot.svg)" in text
    assert "10 minutes on 2026-01-02 03:04 UTC" in text
    assert "- Processor: A chip\n" in text
    assert "- js-libp2p: 3.3 (node v20)\n" in text


def test_goals_show_ratio_outcome_and_ceiling(results: Results) -> None:
    text = to_markdown(results, "plot.svg")
    encrypted = "≥ 0.65 x trio TCP, encrypted frames"
    assert f"| Throughput, download | 0.85 (0.80 to 0.90) | {encrypted} | reached | - |" in text
    assert "| Throughput, upload | 2 | ≥ 2.5 x js-libp2p | **missed** | - |" in text
    assert "| Throughput, download | 4.25 (4 to 4.50) | ≥ 2.5 x js-libp2p | reached | 5 |" in text
    assert "| Throughput, upload | - | > 1 x go-libp2p | not measured | - |" in text
    assert "| Ping, round trip" not in text


def test_groups_show_who_took_part_and_how(results: Results) -> None:
    text = to_markdown(results, "plot.svg")
    assert "One stream, 64 MiB in writes" in text
    assert "| **peerstack** | 850 (800 to 900) | 500 |\n" in text
    assert "| trio TCP, encrypted frames | 1000 | - |\n" in text
    assert "| go-libp2p |" not in text
    assert "## Round trip" not in text


def test_what_is_missing_is_said(results: Results) -> None:
    assert "## What is missing" not in to_markdown(results, "plot.svg")
    results.left_out["go"] = "no go"
    results.failures.append("round 1, ping, js-libp2p: gone")
    text = to_markdown(results, "plot.svg")
    assert "- left out: go-libp2p, no go\n- failed: round 1, ping, js-libp2p: gone\n" in text


def test_goal_that_was_planned_and_not_measured_is_said_to_be_so(results: Results) -> None:
    results.planned += ["tls_upload", "quic_download", "quic_upload"]
    results.samples |= {"quic_download": {OURS: [100]}, "quic_upload": {OURS: [100], "py": [5]}}
    results.miss("py", ["quic_download"], "8 of 9 bytes arrived | or none")
    results.left_out["js"] = "no node"
    text = to_markdown(results, "plot.svg")
    why = "not measured, py-libp2p: 8 of 9 bytes arrived \\| or none"
    assert f"| Throughput over QUIC, download | - | ≥ 10 x py-libp2p | {why} | - |" in text
    assert "| Throughput over QUIC, upload | 20 | ≥ 10 x py-libp2p | reached | - |" in text
    assert "| Throughput over TLS, upload | - | ≥ 1.5 x js-libp2p | not measured, js-libp2p: no node | - |" in text
    assert "Throughput over WebSocket" not in text


def test_groups_say_why_numbers_are_missing(results: Results) -> None:
    results.samples["quic_upload"] = {OURS: [100], "py": [5], "go": [50]}
    results.miss("py", ["quic_download"], "it broke")
    results.miss("js", ["quic_download", "quic_upload"], "no QUIC")
    results.miss("go", ["quic_upload"], "once in three turns")
    results.left_out["rust"] = "no cargo"
    group = to_markdown(results, "plot.svg").partition("## Throughput over QUIC")[2].partition("## ")[0]
    assert group.endswith("\n\n- rust-libp2p: no cargo\n- js-libp2p: no QUIC\n- py-libp2p, download: it broke\n\n")


def test_group_that_all_failed_is_not_passed_over(results: Results) -> None:
    results.miss(OURS, ["wss_download", "wss_upload"], "no certificates")
    assert "## Throughput over secure WebSocket" in to_markdown(results, "plot.svg")
