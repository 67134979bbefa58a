"""The note on hostile peers names every attack there is, and only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .attacks import ATTACKS

ROOT = Path(__file__).parents[2]
NOTE = (ROOT / "docs/notes/hostile-peers.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", NOTE)))


def test_every_attack_is_in_the_note() -> None:
    table = NOTE.partition("## Published advisories")[0]
    missing = [attack.name for attack in ATTACKS if f"`{attack.name}`" not in table]
    assert missing == []


def test_every_attacker_in_the_note_exists() -> None:
    rows = [line for line in NOTE.partition("## Published advisories")[0].splitlines() if line.startswith("| ")]
    named = {name for row in rows[1:] for name in re.findall(r"`(\w+)`", row.rsplit("|", 2)[1])}
    assert named <= {attack.name for attack in ATTACKS}
    assert len(named) > 50


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda value: value.rsplit("/", 1)[-1])
def test_a_test_in_the_note_exists(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)


def test_the_note_names_tests() -> None:
    assert len(NAMED) > 30
