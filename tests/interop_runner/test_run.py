"""The command line: exit codes, missing toolchains, and the files it writes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import interop.run
from interop.build import ToolchainMissing
from interop.matrix import Cell, Direction, Outcome, Place, Program
from interop.run import main

FAKE = str(Path(__file__).with_name("fake_peer.py"))
CONNECTIONS = ("--suites", "connections")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace every peer by a fake one with the faults put in here, and rust by an absent toolchain."""
    faults: dict[str, Any] = {}

    def program(name: str) -> Program:
        if name == "rust":
            raise ToolchainMissing("no cargo")
        return Program(name=name, argv=[sys.executable, FAKE, "--name", name, "--faults", json.dumps(faults)])

    monkeypatch.setattr(interop.run, "program", program)
    monkeypatch.delenv("INTEROP_REQUIRE", raising=False)
    return faults


def test_clean_run_exits_with_zero_and_writes_both_files(
    faults: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_json, as_markdown = tmp_path / "o.json", tmp_path / "o.md"
    files = ["--json", str(as_json), "--markdown", str(as_markdown)]
    assert main([*CONNECTIONS, "--with", "go", "--key-types", "ed25519", *files]) == 0
    assert capsys.readouterr().out == "22 ok, 0 failed, 0 impossible\n"
    assert json.loads(as_json.read_text())["versions"] == {"go": "go v1", "peerstack": "peerstack v1"}
    assert as_markdown.read_text().startswith("# Interop matrix\n")


def test_failed_cell_exits_with_one_and_is_printed(faults: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    faults["reset"] = {"outcome": "eof"}
    assert main([*CONNECTIONS, "--with", "go", "--key-types", "ed25519"]) == 1
    expected = "FAILED go, reset seen as reset (theirs dials ours, ed25519) and 1 more: the dialer saw eof"
    assert expected in capsys.readouterr().out


def test_absent_toolchain_leaves_the_peer_out_and_says_why(
    faults: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--with", "rust"]) == 0
    assert "rust is left out: no cargo" in capsys.readouterr().err


def test_absent_toolchain_of_a_required_peer_fails(faults: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTEROP_REQUIRE", "go, rust")
    assert main(["--with", "rust"]) == 1
    monkeypatch.setenv("INTEROP_REQUIRE", "go")
    assert main(["--with", "rust"]) == 0


def test_unknown_peer_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--with", "go,cobol"])
    assert "cobol: choose from go, rust, js, py, peerstack" in capsys.readouterr().err


def test_publish_subscribe_is_run_and_its_failures_count(
    faults: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run_pubsub(ours: Program, programs: list[Program], _: list[str]) -> tuple[list[Cell], dict[str, str]]:
        return [_cell(theirs.name, Outcome.OK) for theirs in programs], {"go": "go v2"}

    async def run_meshes(ours: Program, programs: list[Program]) -> list[Cell]:
        return [_cell("all together", Outcome.FAILED)]

    monkeypatch.setattr(interop.run, "run_pubsub", run_pubsub)
    monkeypatch.setattr(interop.run, "run_meshes", run_meshes)
    assert main(["--with", "go,js", "--suites", "pubsub"]) == 1
    assert "2 ok, 1 failed, 0 impossible" in capsys.readouterr().out


def test_transports_are_run_and_their_failures_count(
    faults: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run_transports(ours: Program, programs: list[Program]) -> tuple[list[Cell], dict[str, str]]:
        return [_cell(theirs.name, Outcome.FAILED) for theirs in programs], {"go": "go v2"}

    monkeypatch.setattr(interop.run, "run_transports", run_transports)
    assert main(["--with", "go,js", "--suites", "transports"]) == 1
    assert "0 ok, 2 failed, 0 impossible" in capsys.readouterr().out


def _cell(peer: str, outcome: Outcome) -> Cell:
    place = Place(peer=peer, direction=Direction.OURS_DIALS, key_type="ed25519", row="publish")
    return Cell(place=place, outcome=outcome, seconds=1.0, reason="lost" if outcome is Outcome.FAILED else "")
