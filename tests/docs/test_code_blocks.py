"""Every code block of the documentation runs: programs as they stand, commands as far as they can inside a test."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from peerstack.cli.app import build

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("*.md", "docs/**/*.md", "interop/*.md", "interop/official/*.md")
PAGES = sorted(page for pattern in FOLDERS for page in ROOT.glob(pattern))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLAIN = {"text", "json", "yaml", "console", ""}
"""Blocks that are no programs: pictures, wire samples, and what a program printed."""


class Block(NamedTuple):
    """One fenced block."""

    page: str
    number: int
    language: str
    text: str


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        for number, match in enumerate(_BLOCK.finditer(page.read_text()), 1):
            found.append(Block(str(page.relative_to(ROOT)), number, match[1], match[2]))
    return found


def _of(language: str) -> list[object]:
    return [pytest.param(item, id=f"{item.page}-{item.number}") for item in blocks() if item.language == language]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    unknown = [item for item in blocks() if item.language not in _PLAIN | {"python", "sh", "toml"}]
    assert unknown == []


def test_the_readme_has_programs() -> None:
    assert sum(item.page == "README.md" and item.language == "python" for item in blocks()) == 3


@pytest.mark.parametrize("block", _of("python"))
def test_a_program_runs(block: Block, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.text)
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def _commands(block: Block) -> list[list[str]]:
    lines = (line.split("#")[0].strip() for line in block.text.replace("\\\n", " ").splitlines())
    return [shlex.split(line) for line in lines if line]


@pytest.mark.parametrize("block", _of("sh"))
def test_a_command_exists(block: Block) -> None:
    for command in _commands(block):
        match command:
            case ["make", *targets]:
                assert shutil.which("make"), "make is not installed"
                subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, capture_output=True, check=True, timeout=60)
            case ["peerstack", *words]:
                known = [word for word in words if not word.startswith(("-", "/", "<"))][:1]
                run = [sys.executable, "-m", "peerstack.cli", *known, "--help"]
                shown = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout
                options = [word.split("=")[0] for word in words if word.startswith("--")]
                assert [option for option in options if option not in shown and option != "--json"] == []
            case ["pip", "install" | "uninstall", *_] | ["python", *_]:
                pass
            case _:
                pytest.fail(f"{block.page}: a test should know how to check {shlex.join(command)!r}")


def _typed(block: Block) -> list[list[str]]:
    """Return what is typed after `$ peerstack` in a block, whatever is piped into it or follows it."""
    lines = [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]
    commands = [shlex.split(part) for line in lines for part in re.split(r" \| | && ", line)]
    return [words[1:] for words in commands if words[0] == "peerstack"]


@pytest.mark.parametrize("block", _of("console"))
def test_what_is_typed_in_a_console_is_understood(block: Block) -> None:
    typed = _typed(block)
    assert typed
    for words in typed:
        build().parse_args(words, print_error=False, exit_on_error=False)


def test_every_link_to_a_file_leads_somewhere() -> None:
    missing = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text()):
            if not (page.parent / target).exists():
                missing.append(f"{page.relative_to(ROOT)}: {target}")
    assert missing == []
