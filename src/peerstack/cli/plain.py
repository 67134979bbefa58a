"""Draws shapes as plain lines, for files and pipes."""

from __future__ import annotations

from collections.abc import Iterator

from .shapes import Line, Shape, Table, Tree, printable

_INDENT = "  "


def render(shape: Shape) -> Iterator[str]:
    """Yield the lines of a shape, without their ends."""
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
