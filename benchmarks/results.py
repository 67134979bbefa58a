"""What a run found, its statistics, and its form as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Self

from benchmarks.measures import LABELS, OURS

Samples = dict[str, dict[str, list[float | None]]]
"""By measure and by who took part: one number for each turn, None where it failed."""


@dataclass(frozen=True)
class Spread:
    """The median of some numbers with the least and the greatest."""

    median: float
    least: float
    greatest: float
    count: int

    @classmethod
    def of(cls, numbers: Iterable[float | None]) -> Self | None:
        """Return the spread of the numbers that are there, or None if none is."""
        known = [number for number in numbers if number is not None]
        return cls(median(known), min(known), max(known), len(known)) if known else None


def ratios(above: Sequence[float | None], below: Sequence[float | None]) -> list[float]:
    """Return the ratio in each turn in which both are there, so that drift from turn to turn cancels out."""
    pairs = zip(above, below, strict=False)
    return [one / other for one, other in pairs if one is not None and other is not None and other]


@dataclass(kw_only=True)
class Results:
    """One run of the benchmarks."""

    command: str
    """What to type to have the like again."""
    runs: int
    machine: Mapping[str, str]
    """Name and value of what matters of the machine, in the order to show them."""
    sizes: Mapping[str, float]
    """The fields of `Sizes`."""
    began: str = ""
    seconds: float = 0.0
    """How long the whole run took, without builds and installations."""
    samples: Samples = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """What each peer calls itself, and its toolchain."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Why one did not take part."""
    failures: list[str] = field(default_factory=list)
    """Samples that failed, and why, a line each."""
    planned: list[str] = field(default_factory=list)
    """The measures that were to be taken."""
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    """By measure and by who took part: why the last sample that failed did."""

    def add(self, entrant: str, turn: int, values: Mapping[str, float]) -> None:
        """Note what one found in a turn, counted from 0; turns before it that failed are filled with None."""
        for measure, value in values.items():
            turns = self.samples.setdefault(measure, {}).setdefault(entrant, [])
            turns += [None] * (turn - len(turns))
            turns.append(value)

    def miss(self, entrant: str, measures: Iterable[str], reason: str) -> None:
        """Note why one could not take a sample of some measures."""
        for measure in measures:
            self.missing.setdefault(measure, {})[entrant] = reason

    def of(self, measure: str, entrant: str) -> Sequence[float | None]:
        """Return the samples by turn, possibly none."""
        return self.samples.get(measure, {}).get(entrant, [])

    def spread(self, measure: str, entrant: str) -> Spread | None:
        """Return median, least and greatest, or None without samples."""
        return Spread.of(self.of(measure, entrant))

    def why(self, measure: str, entrant: str) -> str:
        """Return why there is no sample at all, empty if there is one or none was asked for."""
        if self.spread(measure, entrant) is not None:
            return ""
        return self.left_out.get(entrant) or self.missing.get(measure, {}).get(entrant, "")

    @property
    def ours_failed(self) -> bool:
        """Whether a sample of ours is missing."""
        return any(f", {LABELS[OURS]}: " in line for line in self.failures)

    def to_json(self) -> str:
        """Return everything as JSON, every sample too."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote."""
        known: dict[str, Any] = json.loads(text)
        return cls(**known)
