"""Draws a run as an SVG picture: one panel a group, horizontal bars, readable on light and on dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.document import number, rounds
from benchmarks.measures import CEILINGS, FOUR, GROUPS, LABELS, OURS, SMALL, TRIO, Group, Measure
from benchmarks.results import Results, Spread
from peerstack.cli.svg import page

WIDTH, MARGIN, GUTTER = 1000, 24, 32
PANEL = (WIDTH - 2 * MARGIN - GUTTER) / 2
LABEL, VALUE = 186, 62
ROOM = PANEL - LABEL - VALUE
ROW, BAR = 19, 12
TITLE, SUBTITLE, AFTER = 22, 24, 32
HEAD = 64
MOST_ON_LINEAR = 40
"""Above this ratio of the greatest to the least, a linear scale hides the small ones."""
NOT_DRAWN = {"start", "listener_pss", "dialer_rss", "packages", "beyond"}
NOT_DRAWN |= {
    measure.key
    for group in GROUPS
    if group.key in ("pubsub", "pubsub10", "burst", "burst10")
    for measure in group.measures
    if not measure.key.startswith("rate1k")
}
REFERENCES = {*CEILINGS, TRIO, FOUR}


@dataclass(frozen=True)
class Bar:
    """One bar: whose, and how long."""

    entrant: str
    spread: Spread


@dataclass(frozen=True)
class Scale:
    """Turns numbers into lengths from 0 to 1."""

    least: float
    """Where the axis begins; 0 on a linear scale."""
    greatest: float
    logarithmic: bool

    @classmethod
    def of(cls, bars: Sequence[Bar]) -> Scale:
        """Return the scale on which all bars can be told apart."""
        greatest = max(bar.spread.greatest for bar in bars)
        least = min(bar.spread.least for bar in bars)
        if least > 0 and greatest / least > MOST_ON_LINEAR:
            return cls(10 ** math.floor(math.log10(least)), greatest, logarithmic=True)
        return cls(0.0, greatest, logarithmic=False)

    def __call__(self, value: float) -> float:
        """Return the length for a number."""
        if self.greatest <= 0 or value <= self.least:
            return 0.0
        if self.logarithmic:
            return math.log(value / self.least) / math.log(self.greatest / self.least)
        return value / self.greatest

    def decades(self) -> list[float]:
        """Return the powers of ten to mark, which only a logarithmic scale needs."""
        if not self.logarithmic:
            return []
        return [
            10.0**power for power in range(round(math.log10(self.least)), math.floor(math.log10(self.greatest)) + 1)
        ]


@dataclass(frozen=True)
class Panel:
    """The bars of one measure."""

    group: Group
    measure: Measure
    bars: Sequence[Bar]

    @property
    def title(self) -> str:
        """What stands above it."""
        same = self.group.title.lower().endswith(self.measure.title)
        return self.group.title if same else f"{self.group.title}, {self.measure.title}"


def to_svg(results: Results) -> str:
    """Return the picture."""
    height = HEAD
    panels: list[str] = []
    for row in _in_rows(list(_panels(results))):
        for column, panel in enumerate(row):
            panels += _panel(MARGIN + column * (PANEL + GUTTER), height, panel)
        height += TITLE + SUBTITLE + ROW * max(len(panel.bars) for panel in row) + AFTER
    head = [
        f'<text class="big" x="{MARGIN}" y="34">peerstack beside the other implementations</text>',
        f'<text class="quiet" x="{MARGIN}" y="52">Medians of {rounds(results.runs)} on loopback; '
        "whiskers from the least to the greatest. Pale bars are references without a protocol.</text>",
    ]
    return page(WIDTH, height, "Benchmarks of peerstack and other implementations", [*head, *panels])


def _panels(results: Results) -> Iterator[Panel]:
    for group in GROUPS:
        for measure in (measure for measure in group.measures if measure.key not in NOT_DRAWN):
            if bars := list(_bars(results, group, measure)):
                yield Panel(group, measure, bars)


def _in_rows(panels: Sequence[Panel]) -> Iterator[Sequence[Panel]]:
    """Yield two panels at a time: first those that share a group, then the others."""
    groups = [panel.group for panel in panels]
    ordered = sorted(panels, key=lambda panel: groups.count(panel.group) == 1)
    for start in range(0, len(ordered), 2):
        yield ordered[start : start + 2]


def _bars(results: Results, group: Group, measure: Measure) -> Iterator[Bar]:
    for entrant in (name for name in LABELS if name in group.entrants):
        if (found := results.spread(measure.key, entrant)) is not None:
            yield Bar(entrant, found)


def _panel(x: float, y: float, panel: Panel) -> Iterable[str]:
    bars, scale = panel.bars, Scale.of(panel.bars)
    notes = [panel.measure.unit, f"{'more' if panel.measure.more_is_better else 'less'} is better"]
    notes += ["logarithmic scale"] * scale.logarithmic
    top = y + TITLE + SUBTITLE - 8
    yield f'<text class="title" x="{x:g}" y="{y + 14:g}">{escape(panel.title)}</text>'
    yield f'<text class="quiet" x="{x:g}" y="{y + 30:g}">{escape("; ".join(filter(None, notes)))}</text>'
    start, bottom = x + LABEL, top + ROW * len(bars)
    for decade in scale.decades():
        at = start + ROOM * scale(decade)
        yield f'<line class="decade" x1="{at:.1f}" y1="{top:g}" x2="{at:.1f}" y2="{bottom:g}"/>'
        yield f'<text class="quiet tick" x="{at:.1f}" y="{bottom + 11:g}">{decade:g}</text>'
    for index, bar in enumerate(bars):
        yield from _bar(x, top + index * ROW, bar, scale)
    yield f'<line class="axis" x1="{start:g}" y1="{top:g}" x2="{start:g}" y2="{bottom:g}"/>'


def _bar(x: float, y: float, bar: Bar, scale: Scale) -> Iterable[str]:
    start, middle = x + LABEL, y + ROW / 2
    kind = "ours" if bar.entrant in (OURS, SMALL) else "reference" if bar.entrant in REFERENCES else "theirs"
    strong = " ours-text" if bar.entrant == OURS else ""
    low, mid, high = (start + ROOM * scale(n) for n in (bar.spread.least, bar.spread.median, bar.spread.greatest))
    yield f'<text class="label{strong}" x="{start - 8:g}" y="{middle + 4:g}">{escape(LABELS[bar.entrant])}</text>'
    yield (
        f'<rect class="{kind}" x="{start:g}" y="{middle - BAR / 2:g}" width="{max(mid - start, 1):.1f}" '
        f'height="{BAR}" rx="2"/>'
    )
    if high - low >= 1:
        yield f'<line class="whisker" x1="{low:.1f}" y1="{middle:g}" x2="{high:.1f}" y2="{middle:g}"/>'
    value = number(bar.spread.median)
    yield f'<text class="{strong.strip()}" x="{max(high, mid) + 6:.1f}" y="{middle + 4:g}">{value}</text>'
