"""The commands that the demo ends with can be pasted as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerstack.cli.demo import COMMANDS, commands_to_try


def test_who_has_the_command_sees_it_plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    command = tmp_path / "peerstack"
    command.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", [str(command), "demo"])
    assert commands_to_try() == COMMANDS


def test_who_started_it_by_its_path_sees_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv" / "bin" / "peerstack"), "demo"])
    assert commands_to_try()[0] == ".venv/bin/peerstack listen --perf --listen /ip4/127.0.0.1/tcp/4001"


def test_who_runs_the_module_sees_it_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", ["/somewhere/__main__.py", "demo"])
    assert commands_to_try() == COMMANDS
