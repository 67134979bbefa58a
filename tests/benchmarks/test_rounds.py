"""The order of the turns, what becomes of one that fails, and the work itself against a peer that answers at once."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from benchmarks.entrants import Entrants
from benchmarks.footprint import four_requirements
from benchmarks.measures import BARE, FOUR, GROUPS, OURS, QUICK, TRIO, Group
from benchmarks.rounds import measure, plan
from benchmarks.run import main
from interop.matrix import Program

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


def test_what_can_not_change_is_looked_at_once() -> None:
    entrants = Entrants(pythons={OURS: Path("a"), FOUR: Path("b")})
    turns = plan(entrants, groups("import", "size"), 2)
    assert [turn.entrant for turn in turns if turn.group.key == "import"] == [OURS, TRIO, BARE] * 2
    assert [turn.entrant for turn in turns if turn.group.key == "size"] == [OURS, FOUR]


def test_who_can_not_do_a_group_is_not_asked() -> None:
    assert [turn.entrant for turn in plan(fakes(["go", "raw", "sealed"]), groups("dials"), 1)] == ["go", "raw"]


async def test_every_work_turns_answers_into_numbers() -> None:
    entrants = fakes(["go"])
    results = await measure(entrants, groups("throughput", "ping", "dials", "streams"), 1, QUICK, "bench")
    assert results.failures == []
    assert results.samples == {
        "download": {"go": [8.0] * 3},  # 32 MiB in the 4 s that the fake says
        "upload": {"go": [16.0] * 3},  # and in 2 s
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
