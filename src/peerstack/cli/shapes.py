"""The few shapes that output for people is made of, drawn plainly (plain.py) or on a terminal (terminal.py)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


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
"""One line of text; a terminal may wrap it, we do not, so that it can be copied."""


@dataclass(frozen=True, slots=True)
class Table:
    """Names and what they stand for."""

    rows: tuple[tuple[str, Line], ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """A line with what belongs below it."""

    label: Line
    children: tuple[Tree, ...] = ()


Shape: TypeAlias = Line | Table | Tree


def line(*parts: str | Span) -> Line:
    """Return a line of strings and styled pieces."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts)


def printable(text: str) -> str:
    """Return the text with all that could steer a terminal escaped; much of what is printed was said by strangers."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in text
    )
