"""Draws shapes and live progress on a terminal, with rich."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table as RichTable
from rich.text import Text

from .events import Progress
from .shapes import Line, Shape, Table, Tree, printable
from .signals import undone
from .units import MIB

_NARROWEST = 20
"""Characters for the text of a branch, however narrow the terminal."""


class Terminal:
    """A terminal to draw on."""

    def __init__(self, file: TextIO | None) -> None:
        self._console = Console(file=file, highlight=False, markup=False, emoji=False)

    def draw(self, shape: Shape) -> None:
        """Print a shape."""
        match shape:
            case Table():
                self._console.print(_table(shape))
            case Tree():
                for text in self._branches(shape):
                    self._console.print(text, soft_wrap=True)
            case _:
                # The terminal wraps long lines; broken by us, an address could not be copied.
                self._console.print(_text(shape), soft_wrap=True)

    def _branches(self, tree: Tree, head: str = "", below: str = "") -> Iterator[Text]:
        """Yield the lines of a tree, broken between words only: an address that is cut cannot be copied."""
        width = max(self._console.width - len(head), _NARROWEST)
        label = _text(tree.label)
        for number, part in enumerate(label.divide(_breaks(label.plain, width))):
            yield Text.assemble((below if number else head, "dim"), part)
        for child in tree.children:
            last = child is tree.children[-1]
            yield from self._branches(child, below + ("└── " if last else "├── "), below + ("    " if last else "│   "))

    @contextmanager
    def spinner(self, what: str) -> Iterator[None]:
        """Show for the time of the block what is being waited for."""
        with undone(self._show_cursor), self._console.status(Text(printable(what), "dim")):
            yield

    def _show_cursor(self) -> None:
        self._console.show_cursor(True)

    @contextmanager
    def bars(self) -> Iterator[Callable[[Progress], None]]:
        """Show for the time of the block a bar for each transfer; call what is yielded to draw its progress."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[amount]}"),
            TextColumn("{task.fields[rate]}", style="bold"),
        )
        tasks: dict[str, TaskID] = {}
        # The task that reports progress refreshes it: a thread of rich would compete with the transfer.
        with (
            undone(self._show_cursor),
            Bars(*columns, console=self._console, auto_refresh=False, expand=True) as bars,
        ):

            def draw(progress: Progress) -> None:
                name = progress.direction
                if name not in tasks:
                    tasks[name] = bars.add_task(f"{name:<8}", total=progress.total, amount="", rate="")
                amount = f"{progress.bytes / MIB:.1f} of {progress.total / MIB:.1f} MiB"
                rate = f"{progress.mib_s:>7,.0f} MiB/s"
                bars.update(tasks[name], completed=progress.bytes, amount=amount, rate=rate, refresh=True)

            yield draw


def _breaks(text: str, width: int) -> list[int]:
    """Return where to break a text so that its lines fit, as far as its words do."""
    breaks = [0]
    for word in re.finditer(r"\S+", text):
        if word.end() - breaks[-1] > width and text[breaks[-1] : word.start()].strip():
            breaks.append(word.start())
    return breaks[1:]


def _text(line: Line) -> Text:
    return Text.assemble(*((printable(span.text), str(span.style)) for span in line))


def _table(table: Table) -> RenderableType:
    drawn = RichTable(box=box.ROUNDED, show_header=False, border_style="dim")
    drawn.add_column(style="cyan", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in table.rows:
        drawn.add_row(printable(name), _text(value))
    return drawn
