"""The examples run, and do what their first line says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_echo_comes_back_from_another_process() -> None:
    with subprocess.Popen([sys.executable, str(EXAMPLES / "echo.py")], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert run("echo.py", address, "hello", "world") == "hello world\n"
        finally:
            server.terminate()


def test_requests_are_answered_side_by_side() -> None:
    lines = run("request_response.py").splitlines()
    assert sorted(lines) == sorted(f"{number} {number * (number + 1) // 2}" for number in range(20))


def test_observers_see_the_life_of_a_connection() -> None:
    printed = run("observe.py")
    for event in ("ListenStarted", "ConnectionOpened", "PeerIdentified", "StreamOpened", "ConnectionClosed"):
        assert f"alice: {event}" in printed


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_is_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 150
