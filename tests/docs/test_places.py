"""CONTRIBUTING says where to find things: the files exist, and define the names beside them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def rows() -> list[tuple[str, str]]:
    """Return each file of the table with the names beside it."""
    table = PAGE.partition("## Where is it?")[2].partition("\n## ")[0]
    return re.findall(r"^\|[^|]+\| `([^`]+)` \|([^|]*)\|$", table, re.MULTILINE)


def defined(source: str) -> set[str]:
    """Return the names of the classes, functions and methods in a module."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_there_are_places() -> None:
    assert len(rows()) >= 15


@pytest.mark.parametrize(("path", "names"), rows())
def test_a_place_has_what_it_is_named_for(path: str, names: str) -> None:
    assert set(re.findall(r"`(\w+)`", names)) <= defined((ROOT / path).read_text())


def test_the_files_that_rules_name_exist() -> None:
    named = re.findall(r"`((?:stack|protocols|transports|interop|src|tests)/[\w./]+)`", PAGE)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_rules_are_numbered_without_a_gap() -> None:
    rules = PAGE.partition("## Rules")[2].partition("\n## ")[0]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. \*\*", rules, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
