"""A signal ends every command quietly with 130 or 143, also while it still loads; a second one ends it at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import peerstack

from .drive import COMMAND

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
PATIENCE = 60.0
"""Seconds after which a command that does not end fails its test; they end at once."""


@contextmanager
def begun(*command: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a command for the time of the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env) as popen:
        try:
            yield popen
        finally:
            popen.kill()


def first_line(popen: subprocess.Popen[str]) -> str:
    assert popen.stdout is not None
    return popen.stdout.readline()


def ended(popen: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code and what came on stderr."""
    _, err = popen.communicate(timeout=PATIENCE)
    return popen.returncode, err


def blocking(tmp_path: Path, module: str) -> dict[str, str]:
    """Return an environment in which the import of a module says so and never ends."""
    (tmp_path / f"{module}.py").write_text(
        "import sys, time\nprint('importing', flush=True)\nwhile True:\n    time.sleep(0.01)\n"
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("module", ["cyclopts", "trio"])
def test_a_signal_during_the_imports(module: str, number: signal.Signals, code: int, tmp_path: Path) -> None:
    env = blocking(tmp_path, module)
    with begun(*COMMAND, "ping", "/ip4/127.0.0.1/tcp/1", env=env) as popen:
        assert first_line(popen) == "importing\n"
        popen.send_signal(number)
        assert ended(popen) == (code, "")


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (["listen", "--json", "/ip4/127.0.0.1/tcp/0"], *SIGNALS[0]),
        (["pubsub", "subscribe", "news", "--json", "--listen", "/ip4/127.0.0.1/tcp/0"], *SIGNALS[1]),
        (["pubsub", "publish", "news", "--lines", "--json", "--listen", "/ip4/127.0.0.1/tcp/0"], *SIGNALS[0]),
        (["chat", "lobby", "--json", "--listen", "/ip4/127.0.0.1/tcp/0"], *SIGNALS[0]),
    ],
)
def test_a_signal_while_a_host_is_open(arguments: list[str], number: signal.Signals, code: int) -> None:
    with begun(*COMMAND, *arguments) as popen:
        assert '"listening"' in first_line(popen)
        popen.send_signal(number)
        assert ended(popen) == (code, "")


def in_a_program(body: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"import sys, time\nimport trio\nfrom peerstack.cli.runner import run\n{body}")


ENDLESS = """
from peerstack.cli import main, simulate
def endless(scenario):
    print("computing", flush=True)
    while True:
        pass
simulate._run_world = endless
sys.exit(main(["simulate", "gossip", "--nodes", "20"]))
"""


def test_a_large_simulation_ends_while_it_computes() -> None:
    with begun(*in_a_program(ENDLESS)) as popen:
        assert first_line(popen) == "computing\n"
        popen.send_signal(signal.SIGINT)
        assert ended(popen) == (130, "")


BUSY = """
async def program(output):
    print("busy", flush=True)
    while True:
        time.sleep(0.01)
sys.exit(run(program, json=False))
"""


def test_a_second_signal_waits_for_nothing() -> None:
    with begun(*in_a_program(BUSY)) as popen:
        assert first_line(popen) == "busy\n"
        popen.send_signal(signal.SIGTERM)
        popen.send_signal(signal.SIGINT)  # of another kind, since two of one may become one
        code, err = ended(popen)
    assert code in (143, 130)  # whichever of the two was handled first
    assert err == ""


READING = """
from peerstack.cli import main, publish
read = publish._read
def told(file):
    print("reading", flush=True)
    return read(file)
publish._read = told
sys.exit(main(["pubsub", "publish", "news", "--file", sys.argv[1], "--peer", "/ip4/127.0.0.1/tcp/1"]))
"""


def test_a_file_that_never_comes_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with begun(*in_a_program(READING), str(pipe)) as popen:
        assert first_line(popen) == "reading\n"
        popen.send_signal(signal.SIGINT)
        assert ended(popen) == (130, "")


@pytest.mark.parametrize("arguments", [["ping", "--help"], ["--version"], ["id", "new"], ["nonsense"]])
def test_a_reader_that_has_gone_is_not_complained_of(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen((*COMMAND, *arguments), stdout=writer, stderr=subprocess.PIPE, text=True) as popen:
        os.close(writer)
        code, err = ended(popen)
    if arguments == ["nonsense"]:
        assert code == 2
        assert err.startswith('peerstack: Unknown command "nonsense"')
    else:
        assert (code, err) == (141, "")


def test_little_is_imported_before_signals_can_be_answered() -> None:
    program = "import sys, peerstack.cli; print(*{'json', 'trio', 'typing'} & set(sys.modules))"
    # Without site, whose hooks import what they like.
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(peerstack.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "\n"
