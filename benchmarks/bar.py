"""The progress bar on a terminal; needs rich."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Bar:
    """A bar at the bottom, what is being done beside it, and what came of it above."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def begins(self, what: str) -> None:
        """Say what is being done from now on."""
        self._progress.update(self._task, description=what)

    def ends(self, line: str) -> None:
        """Write the line, and count it as done."""
        self._progress.console.print(line, highlight=False, markup=False)
        self._progress.advance(self._task)


@contextmanager
def open_bar(total: int) -> Iterator[Bar]:
    """Show a bar of `total` things."""
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    columns = (BarColumn(), MofNCompleteColumn(), *times, TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress, total)
