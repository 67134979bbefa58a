"""What text output is made of: lines, tables and trees. terminal.py draws them with rich; `plain_lines` without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

_INDENT = "  "


class Style(StrEnum):
    """How a piece of text should look; the values are styles of rich."""

    PLAIN = ""
    BOLD = "bold"
    DIM = "dim"
    GOOD = "green"
    BAD = "bold red"
    HINT = "yellow"
    NAME = "cyan"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text in one style."""

    text: str
    style: Style = Style.PLAIN


Line: TypeAlias = tuple[Span, ...]
"""One line of text. A terminal may wrap it; we do not, so that it can be copied."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of a name and a value."""

    rows: tuple[tuple[str, Line], ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """A line and the trees below it."""

    label: Line
    children: tuple[Tree, ...] = ()


Shape: TypeAlias = Line | Table | Tree


def line(*parts: str | Span) -> Line:
    """Return a line of strings and styled pieces."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts)


def printable(text: str) -> str:
    """Escape what could control a terminal: much of what is printed comes from other peers."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )


def plain_lines(shape: Shape) -> Iterator[str]:
    """Yield the lines of a shape for a file or pipe, without line endings."""
    match shape:
        case Table(rows):
            width = max((len(name) for name, _ in rows), default=0)
            for name, value in rows:
                yield f"{name:<{width}}  {_text(value)}".rstrip()
        case Tree():
            yield from _branch(shape, 0)
        case _:
            yield _text(shape)


def _branch(tree: Tree, depth: int) -> Iterator[str]:
    yield _INDENT * depth + _text(tree.label)
    for child in tree.children:
        yield from _branch(child, depth + 1)


def _text(line: Line) -> str:
    return "".join(printable(span.text) for span in line).rstrip()
