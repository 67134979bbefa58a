"""Shows how far a run is: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Protocol


class Teller(Protocol):
    """Is told what begins and what came of it."""

    def begins(self, what: str) -> None:
        """Say what is being done from now on."""

    def ends(self, line: str) -> None:
        """Say what came of it, and count it as done."""


class Lines:
    """Writes a line for each thing done."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0

    def begins(self, what: str) -> None:
        """Say nothing: a line follows when it ends."""

    def ends(self, line: str) -> None:
        """Write the line."""
        self.done += 1
        print(f"[{self.done}/{self.total}] {line}", file=sys.stderr, flush=True)


@contextmanager
def open_teller(total: int) -> Iterator[Teller]:
    """Open what tells of `total` things."""
    if sys.stderr.isatty() and find_spec("rich"):  # rich comes with the `cli` extra; plain lines do without
        from benchmarks.bar import open_bar

        with open_bar(total) as bar:
            yield bar
    else:
        yield Lines(total)
