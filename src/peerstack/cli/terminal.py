"""Draws shapes and live progress on a terminal, with rich."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table as RichTable
from rich.text import Text
from rich.tree import Tree as RichTree

from .events import Progress
from .shapes import Line, Shape, Table, Tree, printable
from .signals import undone
from .units import MIB


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
                self._console.print(_tree(shape))
            case _:
                # The terminal wraps long lines; broken by us, an address could not be copied.
                self._console.print(_text(shape), soft_wrap=True)

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
        # Refreshed by whoever reports progress: a thread of rich would compete with the transfer it shows.
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


def _text(line: Line) -> Text:
    return Text.assemble(*((printable(span.text), str(span.style)) for span in line))


def _table(table: Table) -> RenderableType:
    drawn = RichTable(box=box.ROUNDED, show_header=False, border_style="dim")
    drawn.add_column(style="cyan", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in table.rows:
        drawn.add_row(printable(name), _text(value))
    return drawn


def _tree(tree: Tree) -> RichTree:
    drawn = RichTree(_text(tree.label), guide_style="dim")
    for child in tree.children:
        drawn.children.append(_tree(child))
    return drawn
