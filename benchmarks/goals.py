"""What is asked of ours: ratios within one run, and a few absolute bounds."""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.measures import CEILINGS, LABELS, MEASURES, OURS, RAW, SEALED, SMALL
from benchmarks.results import Results, Spread, ratios

RELATIONS: Mapping[str, Callable[[float, float], bool]] = {
    "≥": operator.ge,
    ">": operator.gt,
    "≤": operator.le,
    "<": operator.lt,
}


class Outcome(StrEnum):
    """Whether a goal was reached."""

    REACHED = "reached"
    MISSED = "missed"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Goal:
    """A bound on ours: on its number, or on the ratio of its number to another's."""

    what: str
    measure: str
    against: str | None
    """Whose number ours is divided by, if any's."""
    relation: str
    bound: float
    whose: str = OURS
    """Which of ours is meant."""

    def found(self, results: Results) -> Spread | None:
        """Return the ratio in each turn, or the number, as median, least and greatest; None if not measured."""
        ours = results.of(self.measure, self.whose)
        if self.against is None:
            return Spread.of(ours)
        return Spread.of(ratios(ours, results.of(self.measure, self.against)))

    def ceiling(self, results: Results) -> Spread | None:
        """Return what the highest trio reaches against the same, None where that says nothing."""
        if self.against is None or self.against in CEILINGS:
            return None
        best = SEALED if results.of(self.measure, SEALED) else RAW
        return Spread.of(ratios(results.of(self.measure, best), results.of(self.measure, self.against)))

    def outcome(self, results: Results) -> Outcome:
        """Return whether the median keeps to the bound."""
        found = self.found(results)
        if found is None:
            return Outcome.UNKNOWN
        return Outcome.REACHED if RELATIONS[self.relation](found.median, self.bound) else Outcome.MISSED

    @property
    def target(self) -> str:
        """The bound in words."""
        if self.against is None:
            unit = MEASURES[self.measure].unit
            return f"{self.relation} {self.bound:g} {unit}".strip()
        return f"{self.relation} {self.bound:g} x {LABELS[self.against]}"


def _throughput() -> Iterable[Goal]:
    for measure in ("download", "upload"):
        yield Goal(f"Throughput, {measure}", measure, SEALED, "≥", 0.65)
        yield Goal(f"Throughput, {measure}", measure, "js", "≥", 2.5)
        yield Goal(f"Throughput, {measure}", measure, "go", ">", 1)


def _by_transport() -> Iterable[Goal]:
    for key, title, against, bound, whose in (
        ("tls", "TLS", "js", 1.5, OURS),
        ("ws", "WebSocket", "js", 1.5, OURS),
        ("quic", "QUIC", "py", 10, OURS),
        ("quic", "QUIC in small datagrams", "py", 10, SMALL),
    ):
        for direction in ("download", "upload"):
            yield Goal(f"Throughput over {title}, {direction}", f"{key}_{direction}", against, "≥", bound, whose)


GOALS = (
    *_throughput(),
    *_by_transport(),
    Goal("Ping, round trip", "ping", "js", "<", 1),
    Goal("Ping, round trip", "ping", "go", "≤", 2.5),
    Goal("Dials, one after another", "dials", "js", "≥", 3),
    Goal("Streams, one after another", "streams", "js", "≥", 1),
    Goal("Streams, 100 at once", "streams100", "js", "≥", 1),
    Goal("Messages of 1 KiB between two peers", "rate1k_2", "js", "≥", 3),
    Goal("Lost of a burst between two peers", "burst_lost_2", None, "≤", 0),
    Goal("Lost of a burst through ten peers", "burst_lost_10", None, "≤", 0),
    Goal("Memory of an idle connection", "listener_rss", None, "≤", 50),
    Goal("Import, above the bare interpreter", "import", None, "<", 250),
    Goal("Packages beyond the four dependencies and theirs", "beyond", None, "≤", 0),
)
