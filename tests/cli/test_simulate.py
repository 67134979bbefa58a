"""`peerstack simulate gossip`: what it tells programs and people, what it draws, and what it refuses."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest

from peerstack.cli.simulate_events import Latencies, Meshes, Sent, Simulated
from peerstack.cli.simulate_plot import Comparison, compare
from peerstack.protocols.pubsub.simulation import Attack, Scenario, Simulation

from .drive import cli

SMALL = ("simulate", "gossip", "--nodes", "30", "--messages", "6", "--warm-up", "4", "--degree", "6")
SVG = "{http://www.w3.org/2000/svg}"


def names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def test_the_json_form_is_one_object_with_everything() -> None:
    ran = cli(*SMALL, "--json")
    assert (ran.code, ran.err) == (0, "")
    (told,) = ran.events
    assert list(told) == ["event", *names(Simulated)]
    assert (told["event"], told["nodes"], told["messages"], told["seed"]) == ("simulation", 30, 6, 1)
    assert (told["version"], told["scored"], told["attack"], told["sybils"]) == ("1.0", False, "none", 0)
    assert (told["deliveries"], sum(told["histogram"])) == (180, 174)
    for latencies in (told["latency"], told["affected"], told["settled"]):
        assert list(latencies) == names(Latencies)
        assert latencies["missing"] == 0
        assert 10 <= latencies["median_ms"] <= latencies["p99_ms"] <= latencies["max_ms"]
    assert list(told["sent"]) == names(Sent)
    assert told["sends_per_delivery"] == round(told["sent"]["messages"] / 180, 3)
    mesh = told["mesh"]
    assert list(mesh) == names(Meshes)
    assert sum(mesh["degrees"]) == 30
    assert len(mesh["degrees"]) == mesh["max"] + 1
    assert sum(mesh["degrees"][: mesh["min"]]) == 0
    assert mesh["mean"] == round(sum(n * count for n, count in enumerate(mesh["degrees"])) / 30, 3)
    assert len(told["trace_hash"]) == 64
    assert told["wall_seconds"] > 0
    assert told["peak_memory_bytes"] > 10_000_000


def test_every_option_has_its_effect() -> None:
    plain = cli(*SMALL, "--json").events[0]
    for option in (
        ["--seed", "2"],
        ["--sources", "1"],
        ["--interval", "0.5"],
        ["--size", "1024"],
        ["--latency", "20-30"],
        ["--jitter", "50"],
        ["--bandwidth", "64KiB"],
        ["--loss", "5"],
        ["--version", "1.1"],
    ):
        assert cli(*SMALL, *option, "--json").events[0]["trace_hash"] != plain["trace_hash"], option


def test_one_latency_is_a_range_of_one() -> None:
    hashes = {cli(*SMALL, "--latency", text, "--json").events[0]["trace_hash"] for text in ("25", "25-25")}
    assert len(hashes) == 1


def test_sybils_are_two_for_each_node_unless_told_otherwise() -> None:
    attack = (*SMALL, "--version", "1.1", "--attack", "sybil", "--json")
    told = cli(*attack).events[0]
    assert (told["sybils"], told["attack"], told["scored"]) == (60, "sybil", True)
    assert told["mesh"]["sybil_share"] > 0.5
    told = cli(*attack, "--sybils", "5", "--no-score").events[0]
    assert (told["sybils"], told["scored"]) == (5, False)


def test_people_see_tables_and_bars() -> None:
    ran = cli(*SMALL)
    assert (ran.code, ran.err) == (0, "")
    told = dict(line.split("  ", 1) for line in ran.out.splitlines() if "  " in line)
    assert told["sends per delivery"].strip().startswith(("4.", "5.", "6.", "7."))
    assert "180, the authors' own included" in told["deliveries"]
    assert "missing" not in ran.out
    assert "0-100 ms" in told
    assert "#" * 40 in ran.out
    assert "sybils" not in ran.out


def test_people_see_what_an_attack_did() -> None:
    ran = cli(*SMALL, "--version", "1.1", "--attack", "sybil", "--linger", "0")
    for name in ("under attack", "last quarter", "sybils in meshes", "honest suspects"):
        assert f"\n{name} " in ran.out
    assert "60 sybils (sybil)" in ran.out
    assert " missing" in ran.out
    assert "never" in ran.out


def test_the_picture_shows_as_many_bars_as_there_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    told = cli(*SMALL, "--plot", str(file), "--json").events[0]
    root = ElementTree.parse(file).getroot()
    bars = [box for box in root.iter(f"{SVG}rect") if box.attrib["class"] == "ours"]
    assert len(bars) == len(told["histogram"]) + len(told["mesh"]["degrees"])
    heights = [float(box.attrib["height"]) for box in bars[: len(told["histogram"])]]
    longest = max(told["histogram"])
    assert [height / max(heights) for height in heights] == pytest.approx(
        [count / longest for count in told["histogram"]], abs=0.01
    )
    (curve,) = root.iter(f"{SVG}polyline")
    assert len(curve.attrib["points"].split()) == 6
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert "gossipsub 1.0, 30 nodes" in texts
    assert any(told["trace_hash"][:16] in text for text in texts)


def test_runs_are_drawn_side_by_side_with_the_moment_of_the_attack() -> None:
    scenario = Scenario(
        nodes=12, messages=8, connections=4, warm_up=2, linger=0, attack=Attack.ECLIPSE, sybils=30, sources=3
    )
    world = Simulation(scenario)
    for _ in world.run():
        pass
    results = world.results()
    root = ElementTree.fromstring(
        compare("eclipse & more", [Comparison("<first>", scenario, {"<one>": results, "other": results})])
    )
    assert [curve.attrib["class"] for curve in root.iter(f"{SVG}polyline")] == ["curve curve1", "curve curve0"]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"<first>", "<one>", "other", "eclipse & more", "the attack begins"} <= set(texts)


def test_a_picture_that_cannot_be_written_is_a_failure_after_the_results(tmp_path: Path) -> None:
    ran = cli(*SMALL, "--plot", str(tmp_path / "no" / "a.svg"), "--json")
    assert ran.code == 2
    assert [event["event"] for event in ran.events] == ["simulation", "error"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--nodes", "10", "--sources", "11"], "11 sources cannot be among 10 nodes"),
        (["--latency", "fast"], "Give milliseconds, such as 10-150"),
        (["--latency", "150-10"], "latencies go from the least to the greatest"),
        (["--loss", "100"], "loss below 1"),
        (["--sybils", "3"], "sybils need an attack"),
        (["--nodes", "1"], "Must be >= 2"),
        (["--version", "1.4"], "--version"),
        (["--attack", "boredom"], "--attack"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_one_line(arguments: list[str], reason: str) -> None:
    ran = cli("simulate", "gossip", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert reason in ran.err
    assert ran.err.count("\n") == 1
