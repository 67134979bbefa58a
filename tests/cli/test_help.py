"""Every command teaches itself with an example, and help costs no import of what it does not need."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from .drive import cli

HOST = ("--identity", "--swarm-key", "--verbose", "--json")
NODE = ("--announce", "--cert", "--cert-key", "--ca", *HOST)
COMMANDS = {
    ("demo",): ["--size", "--json"],
    ("listen",): ["[ADDRESS...]", "--listen", "--announce", "--perf", "--cert", "--cert-key", *HOST],
    ("ping",): ["ADDRESS", "--count", "--interval", "--timeout", "--ca", *HOST],
    ("perf",): ["ADDRESS", "--upload", "--download", "--ca", *HOST],
    ("identify",): ["ADDRESS", "--ca", *HOST],
    ("explain",): ["ADDRESS", "--ca", *HOST],
    ("demo", "pubsub"): ["--messages", "--json"],
    ("pubsub", "subscribe"): ["TOPIC...", "--listen", "--peer", "--no-sign", "--count", "--when-full", *NODE],
    ("pubsub", "publish"): ["TOPIC [DATA...]", "--file", "--lines", "--peer", "--listen", "--count", "--wait", *NODE],
    ("chat",): ["ROOM", "--peer", "--listen", "--name", *NODE],
    ("simulate", "gossip"): ["--nodes", "--seed", "--version", "--attack", "--no-score", "--plot", "--json"],
    ("swarm-key", "new"): ["--out", "--json"],
    ("swarm-key", "show"): ["FILE", "--json"],
    ("id", "new"): ["--type", "--bits", "--out", "--json"],
    ("id", "show"): ["WHAT", "--json"],
    ("id", "convert"): ["PEER_ID", "--to", "--json"],
    ("id", "import"): ["KEY", "--out", "--password-file", "--json"],
    ("id", "export"): ["KEY", "--out", "--form", "--password-file", "--json"],
}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_a_command_lists_its_options_and_gives_examples(command: tuple[str, ...]) -> None:
    ran = cli(*command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: peerstack {' '.join(command)}")
    for option in COMMANDS[command]:
        assert option in ran.out
    examples = ran.out.partition("Examples:")[2]
    assert f"  peerstack {' '.join(command)}" in examples
    assert "--no-" not in ran.out.replace("--no-sign", "").replace("--no-score", "")
    assert max(len(text) for text in ran.out.splitlines()) <= 80


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_help_of_all_lists_every_command_and_first_steps(arguments: list[str]) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.err) == (0, "")
    for name, *_ in COMMANDS:
        assert f" {name} " in ran.out
    assert "  peerstack demo " in ran.out
    assert max(len(text) for text in ran.out.splitlines()) <= 80


def test_a_group_alone_shows_its_help() -> None:
    ran = cli("id")
    assert ran.code == 0
    assert [name for name in ("new", "show", "convert") if f" {name} " in ran.out] == ["new", "show", "convert"]


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version(option: str) -> None:
    ran = cli(option)
    assert (ran.code, ran.out, ran.err) == (0, f"peerstack {version('peerstack')}\n", "")


def test_help_imports_no_command() -> None:
    program = (
        "import sys\n"
        "from peerstack.cli import main\n"
        "main(['--help'])\n"
        "unwanted = ['cli.demo', 'cli.listen', 'cli.measure', 'cli.ask', 'cli.identity', 'cli.runner', 'cli.chat']\n"
        "unwanted.append('cli.simulate')\n"
        "sys.exit(', '.join(name for name in unwanted if 'peerstack.' + name in sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stderr == "\n"


def test_plain_output_needs_no_drawing() -> None:
    program = (
        "import sys\n"
        "from peerstack.cli import main\n"
        "main(['id', 'show', '12D3KooWKuuqYue5DwRK2EDZkhpazjDziAEzumuk6pRXHQTKXsRj'])\n"
        "sys.exit(', '.join(name for name in ('rich.progress', 'rich.tree') if name in sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.stdout.startswith("peer id ")
    assert ran.stderr == "\n"
