"""Exceptions of any kind are caught in one place, `contained`; a second one would have holes that it has not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("stack", "protocols", "transports", "src") for path in (ROOT / folder).rglob("*.py")
)


def _blind(path: Path) -> Iterator[int]:
    """Yield the lines where any exception is caught."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            if node.type is None or "Exception" in names or ("BaseException" in names and not raises):
                yield node.lineno


def test_the_sources_are_found() -> None:
    assert len(SOURCES) > 200


@pytest.mark.parametrize("path", ["stack", "protocols", "transports", "src"])
def test_nothing_else_catches_any_exception(path: str) -> None:
    allowed = {ROOT / "stack/background.py"}
    found = [
        f"{source.relative_to(ROOT)}:{line}"
        for source in SOURCES
        if source.relative_to(ROOT).parts[0] == path and source not in allowed
        for line in _blind(source)
    ]
    assert found == []
