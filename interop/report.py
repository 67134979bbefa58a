"""Renders what the matrix found as Markdown for people and as JSON for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from interop.layers import PLAIN
from interop.matrix import Cell, Direction, Outcome

MARKS = {Outcome.OK: "ok", Outcome.FAILED: "**FAILED**", Outcome.IMPOSSIBLE: "impossible"}


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run of the matrix."""

    ours: str
    """Short name of our side."""
    machine: str
    """Processor, system and Python in one line."""
    seconds: float
    """How long the whole run took, without builds."""
    cells: Sequence[Cell]
    versions: Mapping[str, str] = field(default_factory=dict)
    """What each peer calls itself, by short name."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Why a peer could not be had, by short name."""

    def count(self, outcome: Outcome) -> int:
        """Return how many cells ended so."""
        return sum(cell.outcome is outcome for cell in self.cells)

    def summary(self) -> str:
        """Return the totals in one line."""
        return ", ".join(f"{self.count(outcome)} {outcome}" for outcome in Outcome)


def to_json(report: Report) -> str:
    """Return the report as a JSON object, its cells as a flat list."""
    cells = [{**asdict(cell.place), "layers": str(cell.place.layers), **_result(cell)} for cell in report.cells]
    return json.dumps(
        {
            "ours": report.ours,
            "machine": report.machine,
            "seconds": round(report.seconds, 3),
            "versions": dict(report.versions),
            "left_out": dict(report.left_out),
            "totals": {outcome: report.count(outcome) for outcome in Outcome},
            "cells": cells,
        },
        indent=1,
    )


def _result(cell: Cell) -> dict[str, object]:
    return {"outcome": cell.outcome, "seconds": round(cell.seconds, 4), "reason": cell.reason}


def to_markdown(report: Report) -> str:
    """Return the report as Markdown: a table for each peer and direction, then each reason once."""
    lines = ["# Interop matrix", "", f"{report.summary()}; {report.seconds:.0f} s on {report.machine}.", ""]
    lines += [f"- {name}: {version}" for name, version in sorted(report.versions.items())]
    lines += [f"- {name}: left out, {reason}" for name, reason in sorted(report.left_out.items())]
    for peer in dict.fromkeys(cell.place.peer for cell in report.cells):
        for direction in Direction:
            of_both = [c for c in report.cells if c.place.peer == peer and c.place.direction is direction]
            plain = [cell for cell in of_both if cell.place.layers == PLAIN]
            layered = [cell for cell in of_both if cell.place.layers != PLAIN]
            if plain:
                lines += ["", f"## {peer}: {direction}", "", *_table(plain)]
            if layered:
                lines += ["", f"## {peer} over other transports: {direction}", "", *_layers_table(layered)]
    lines += _section(report.cells, Outcome.FAILED, "Failed")
    lines += _section(report.cells, Outcome.IMPOSSIBLE, "Impossible")
    return "\n".join(lines) + "\n"


def _table(cells: Sequence[Cell]) -> list[str]:
    key_types = list(dict.fromkeys(cell.place.key_type for cell in cells))
    at = {(cell.place.row, cell.place.key_type): _mark(cell) for cell in cells}
    rows = dict.fromkeys(cell.place.row for cell in cells)
    return [
        f"| | {' | '.join(key_types)} |",
        "|---" * (len(key_types) + 1) + "|",
        *(f"| {row} | {' | '.join(at.get((row, key_type), '') for key_type in key_types)} |" for row in rows),
    ]


def _layers_table(cells: Sequence[Cell]) -> list[str]:
    rows = list(dict.fromkeys(cell.place.row for cell in cells))
    at = {(str(cell.place.layers), cell.place.row): _mark(cell) for cell in cells}
    return [
        f"| | {' | '.join(rows)} |",
        "|---" * (len(rows) + 1) + "|",
        *(
            f"| {layers} | {' | '.join(at.get((layers, row), '') for row in rows)} |"
            for layers in dict.fromkeys(str(cell.place.layers) for cell in cells)
        ),
    ]


def _mark(cell: Cell) -> str:
    if cell.outcome is Outcome.OK:
        return f"{MARKS[cell.outcome]}, {cell.seconds * 1000:.0f} ms"
    return MARKS[cell.outcome]


def _section(cells: Iterable[Cell], outcome: Outcome, title: str) -> list[str]:
    found = reasons(cells, outcome)
    return ["", f"## {title}", "", *(f"- {line.replace(chr(10), '<br>')}" for line in found)] if found else []


def reasons(cells: Iterable[Cell], outcome: Outcome) -> list[str]:
    """Return why cells ended so: each reason of a peer once, with the first cell that it is about."""
    of_reason: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.outcome is outcome:
            of_reason.setdefault((cell.place.peer, cell.reason), []).append(cell)
    return [_reason(*key, found) for key, found in of_reason.items()]


def _reason(peer: str, reason: str, cells: Sequence[Cell]) -> str:
    first = cells[0].place
    kind = first.key_type if first.layers == PLAIN else str(first.layers)
    where = f"{first.row} ({first.direction}, {kind})"
    more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
    return f"{peer}, {where}{more}: {reason}"
