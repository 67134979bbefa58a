"""The order of the turns, what becomes of one that fails, and the work itself against a peer that answers at once."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.entrants import Entrants, gather
from benchmarks.footprint import four_requirements
from benchmarks.measures import BARE, FOREIGN, FOUR, GROUPS, OURS, QUICK, SMALL, TRIO, Group, Sizes
from benchmarks.rounds import measure, plan
from benchmarks.run import main
from benchmarks.work import WORK, affordable, bytes_to_move
from interop.matrix import Program
from interop.peerstack.layers import add_options, layers

FAKE = str(Path(__file__).with_name("fake_bench_peer.py"))


def groups(*keys: str) -> list[Group]:
    return [group for group in GROUPS if group.key in keys]


def fakes(names: Iterable[str], **faults: str) -> Entrants:
    def fake(name: str) -> Program:
        return Program(name=name, argv=[sys.executable, FAKE, faults.get(name, "")])

    return Entrants(programs={name: fake(name) for name in names})


def test_everyone_takes_a_turn_before_anyone_takes_the_next() -> None:
    turns = plan(fakes([OURS, "go"]), groups("ping", "streams"), 2)
    assert [(turn.number, turn.group.key, turn.entrant) for turn in turns] == [
        *((turn, "ping", name) for turn in (0, 1, 2) for name in (OURS, "go")),
        (0, "streams", OURS),
        (0, "streams", "go"),
        *((turn, "ping", name) for turn in (3, 4, 5) for name in (OURS, "go")),
        (1, "streams", OURS),
        (1, "streams", "go"),
    ]


def test_what_cannot_change_is_looked_at_once() -> None:
    entrants = Entrants(pythons={OURS: Path("a"), FOUR: Path("b")})
    turns = plan(entrants, groups("import", "size"), 2)
    assert [turn.entrant for turn in turns if turn.group.key == "import"] == [OURS, TRIO, BARE] * 2
    assert [turn.entrant for turn in turns if turn.group.key == "size"] == [OURS, FOUR]


def test_who_cannot_do_a_group_is_not_asked() -> None:
    assert [turn.entrant for turn in plan(fakes(["go", "raw", "sealed"]), groups("dials"), 1)] == ["go", "raw"]


async def test_every_work_turns_answers_into_numbers() -> None:
    entrants = fakes(["go"])
    sizes = replace(QUICK, patience=1000)
    results = await measure(entrants, groups("throughput", "ping", "dials", "streams"), 1, sizes, "bench")
    assert (results.failures, results.missing) == ([], {})
    assert results.samples == {
        "download": {"go": [8.0] * 2},  # 32 MiB in the 4 s that the fake says
        "upload": {"go": [16.0] * 2},  # and in 2 s
        "ping": {"go": [50.0] * 3},
        "dials": {"go": [10.0]},
        "dials50": {"go": [10.0]},
        "streams": {"go": [20.0]},
        "streams100": {"go": [20.0]},
    }
    assert results.versions == {"go": "v1"}


async def test_failure_costs_one_sample_and_is_noted() -> None:
    results = await measure(fakes([OURS, "go"], go="bench_streams"), groups("streams"), 1, QUICK, "bench")
    assert results.samples == {"streams": {OURS: [20.0]}, "streams100": {OURS: [20.0]}}
    assert results.failures == ["turn 1, streams, go-libp2p: go (dialer), bench_streams: not today"]


async def test_direction_that_fails_costs_the_other_nothing() -> None:
    results = await measure(fakes(["py"], py="download"), groups("quic"), 1, QUICK, "bench")
    assert results.samples == {"quic_upload": {"py": [0.25]}}  # half a MiB in 2 s
    (reason,) = results.missing["quic_download"].values()
    assert reason == "py (dialer), perf: left with code 1"
    assert results.failures == [f"turn 1, throughput over quic, py-libp2p: download, {reason}"]


async def test_pair_that_does_not_connect_is_tried_once_and_lacks_both_directions() -> None:
    results = await measure(fakes(["js"], js="connect"), groups("wss"), 1, QUICK, "bench")
    assert results.samples == {}
    assert {measure: list(why) for measure, why in results.missing.items()} == {
        "wss_download": ["js"],
        "wss_upload": ["js"],
    }


async def test_planned_measures_are_kept_even_without_entrants() -> None:
    results = await measure(Entrants(), groups("quic"), 1, QUICK, "bench")
    assert results.planned == ["quic_download", "quic_upload"]


@pytest.mark.parametrize(
    ("seconds", "total"),
    [
        (0.1, 64 << 20),  # 8 MiB in 0.1 s: everything
        (4.0, 10 << 20),  # 2 MiB/s for 5 s
        (3.9, (8 << 20) * 5 / 3.9 // (256 << 10) * (256 << 10)),  # whole writes only
        (100, 8 << 20),  # as many as in the warm-up at least
    ],
)
def test_slow_transfers_are_of_fewer_bytes(seconds: float, total: float) -> None:
    assert bytes_to_move(Sizes(bytes=64 << 20, chunk=256 << 10, patience=5), seconds) == total


@pytest.mark.parametrize(("rate", "count"), [(1, 5), (20, 40), (1000, 200)])
def test_slow_dials_are_fewer(rate: float, count: int) -> None:
    assert affordable(Sizes(patience=2), rate, 5, 200) == count


def test_ours_sends_small_datagrams_when_asked_to() -> None:
    with gather([], groups("quic")) as entrants:
        _, _, *words = entrants.programs[SMALL].argv
    parser = ArgumentParser()
    add_options(parser)
    assert layers(parser.parse_args(words)).quic.loopback_datagram_size == 1350


def test_parts_take_all_measures_of_their_groups() -> None:
    taken = {group.key: [measure.key for measure in group.measures] for group in GROUPS if group.key in WORK}
    assert {key: [measure for part in parts for measure in part.measures] for key, parts in WORK.items()} == taken


@pytest.mark.parametrize("key", ["throughput", "tls", "ws", "wss", "quic"])
def test_every_transport_is_measured_beside_all_others(key: str) -> None:
    (group,) = groups(key)
    assert {OURS, *FOREIGN} <= set(group.entrants)


def test_four_dependencies_are_told_from_the_others() -> None:
    pyproject = '[project]\ndependencies = ["trio>=0.30", "trio-websocket", "multiaddr", "dnspython>=2", "protobuf<9"]'
    assert four_requirements(pyproject) == ["trio>=0.30", "multiaddr", "protobuf<9"]


def test_saved_run_is_rendered_without_measuring(tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    known = {"command": "bench", "runs": 1, "machine": {}, "sizes": {}, "samples": {"ping": {OURS: [5.5]}}}
    saved.write_text(json.dumps(known))
    assert main(["--render", str(saved), "--docs", str(tmp_path)]) == 0
    assert "| **peerstack** | 5.50 |" in (tmp_path / "benchmarks.md").read_text()
    assert "<svg" in (tmp_path / "benchmarks.svg").read_text()


def test_quick_run_writes_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.run.DOCS", tmp_path)
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps({"command": "bench", "runs": 1, "machine": {}, "sizes": {}}))
    assert main(["--render", str(saved), "--quick"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["saved.json"]


@pytest.mark.parametrize("wrong", [["--with", "zig"], ["--only", "pings"]])
def test_unknown_names_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(wrong)
    assert "choose from" in capsys.readouterr().err
