"""Writes what was tested over which transport, in a table of four columns, between two comments of a page."""

from collections.abc import Sequence
from pathlib import Path

from interop.build import RECIPES
from interop.layers import PLAIN, all_layers
from interop.matrix import Cell, Direction, Outcome
from interop.report import Report
from interop.transport_matrix import KEY_TYPE, ROWS

BEGIN = "<!-- transports: written by interop/run.py --readme -->"
END = "<!-- end of transports -->"
CONNECT = "connect"


class NoPlace(Exception):
    """A page does not have both comments, each once and in order; the message names the page."""


def write_table(page: Path, report: Report) -> None:
    """Put the table of a run between the comments of `page`. Raises NoPlace if it has none."""
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise NoPlace(f"{page} needs these two lines, each once: {BEGIN} and {END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{to_table(report)}\n{END}{after}")


def to_table(report: Report) -> str:
    """Return a line for each transport with its security protocol and muxer, a column for each implementation."""
    cells = [cell for cell in report.cells if cell.place.key_type == KEY_TYPE and cell.place.row in ROWS]
    lines = [f"| | {' | '.join(report.versions.get(name, name) for name in RECIPES)} |", "|---" * 5 + "|"]
    for layers in (PLAIN, *all_layers()):
        here = [cell for cell in cells if cell.place.layers == layers]
        of_each = [[cell for cell in here if cell.place.peer == name] for name in RECIPES]
        lines.append(f"| {layers} | {' | '.join(map(_summary, of_each))} |")
    return "\n".join(lines) + "\n"


def _summary(cells: Sequence[Cell]) -> str:
    """Sum up the cells of one implementation: a direction counts if it connects, and what is less than all is told."""
    if not cells:
        return "not tried"
    if any(cell.outcome is Outcome.FAILED for cell in cells):
        return "**failed**"
    good = [cell for cell in cells if cell.outcome is Outcome.OK]
    directions = {cell.place.direction for cell in good if cell.place.row == CONNECT}
    if not directions:
        return "not"
    words = "both directions" if len(directions) == len(Direction) else f"{directions.pop()} only"
    return words if len(good) == len(cells) else f"{words}, {len(good)} of {len(cells)} checks"
