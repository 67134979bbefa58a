"""Draws a run as an SVG picture: one panel a group, horizontal bars, readable on light and on dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.document import number
from benchmarks.measures import CEILINGS, FOUR, GROUPS, LABELS, OURS, TRIO, Group, Measure
from benchmarks.results import Results, Spread

WIDTH, MARGIN, GUTTER = 1000, 24, 32
PANEL = (WIDTH - 2 * MARGIN - GUTTER) / 2
LABEL, VALUE = 170, 62
ROW, BAR = 19, 12
TITLE, SUBTITLE, AFTER = 22, 24, 26
HEAD = 64
MOST_ON_LINEAR = 40
"""Above this ratio of the greatest to the least, a linear scale hides the small ones."""
NOT_DRAWN = {"start", "listener_pss", "dialer_rss", "packages", "beyond"}
REFERENCES = {*CEILINGS, TRIO, FOUR}

STYLE = """
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12px; fill: #1f2328; }
  .page { fill: #ffffff; }
  .big { font-size: 18px; font-weight: 600; }
  .title { font-size: 14px; font-weight: 600; }
  .quiet { fill: #59636e; }
  .label { text-anchor: end; }
  .ours-text { font-weight: 700; }
  .theirs { fill: #8fa1b5; }
  .ours { fill: #0969da; }
  .reference { fill: #d5dbe1; }
  .axis { stroke: #8c959f; stroke-width: 1; }
  .whisker { stroke: #1f2328; stroke-width: 1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .page { fill: #0d1117; }
    .quiet { fill: #9198a1; }
    .theirs { fill: #6e7f92; }
    .ours { fill: #4493f8; }
    .reference { fill: #363e48; }
    .axis { stroke: #656c76; }
    .whisker { stroke: #e6edf3; }
  }
"""


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


def to_svg(results: Results) -> str:
    """Return the picture."""
    columns = [HEAD, HEAD]
    panels: list[str] = []
    for title, measure, bars in _panels(results):
        column = 0 if columns[0] <= columns[1] else 1
        x = MARGIN + column * (PANEL + GUTTER)
        panels += _panel(x, columns[column], title, measure, bars)
        columns[column] += TITLE + SUBTITLE + ROW * len(bars) + AFTER
    height = max(columns)
    head = [
        f'<text class="big" x="{MARGIN}" y="34">peerstack beside the other implementations</text>',
        f'<text class="quiet" x="{MARGIN}" y="52">Medians of {results.runs} interleaved rounds on loopback; '
        "whiskers from the least to the greatest. Pale bars are references without a protocol.</text>",
    ]
    body = "\n".join([f'<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>', *head, *panels])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="Benchmarks of peerstack and other implementations">\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )


def _panels(results: Results) -> Iterator[tuple[str, Measure, list[Bar]]]:
    for group in GROUPS:
        for measure in group.measures:
            bars = list(_bars(results, group, measure))
            if bars and measure.key not in NOT_DRAWN:
                yield f"{group.title}, {measure.title}", measure, bars


def _bars(results: Results, group: Group, measure: Measure) -> Iterator[Bar]:
    for entrant in (name for name in LABELS if name in group.entrants):
        if (found := results.spread(measure.key, entrant)) is not None:
            yield Bar(entrant, found)


def _panel(x: float, y: float, title: str, measure: Measure, bars: Sequence[Bar]) -> Iterable[str]:
    scale = Scale.of(bars)
    notes = [measure.unit, f"{'more' if measure.more_is_better else 'less'} is better"]
    notes += ["logarithmic scale"] * scale.logarithmic
    top = y + TITLE + SUBTITLE - 8
    yield f'<text class="title" x="{x:g}" y="{y + 14:g}">{escape(title)}</text>'
    yield f'<text class="quiet" x="{x:g}" y="{y + 30:g}">{escape("; ".join(filter(None, notes)))}</text>'
    for index, bar in enumerate(bars):
        yield from _bar(x, top + index * ROW, bar, scale)
    start = x + LABEL
    yield f'<line class="axis" x1="{start:g}" y1="{top:g}" x2="{start:g}" y2="{top + ROW * len(bars):g}"/>'


def _bar(x: float, y: float, bar: Bar, scale: Scale) -> Iterable[str]:
    room, start = PANEL - LABEL - VALUE, x + LABEL
    middle = y + ROW / 2
    kind = "ours" if bar.entrant == OURS else "reference" if bar.entrant in REFERENCES else "theirs"
    strong = " ours-text" if bar.entrant == OURS else ""
    low, mid, high = (start + room * scale(n) for n in (bar.spread.least, bar.spread.median, bar.spread.greatest))
    yield f'<text class="label{strong}" x="{start - 8:g}" y="{middle + 4:g}">{escape(LABELS[bar.entrant])}</text>'
    yield (
        f'<rect class="{kind}" x="{start:g}" y="{middle - BAR / 2:g}" width="{max(mid - start, 1):.1f}" '
        f'height="{BAR}" rx="2"/>'
    )
    if high - low >= 1:
        yield f'<line class="whisker" x1="{low:.1f}" y1="{middle:g}" x2="{high:.1f}" y2="{middle:g}"/>'
    value = number(bar.spread.median)
    yield f'<text class="{strong.strip()}" x="{max(high, mid) + 6:.1f}" y="{middle + 4:g}">{value}</text>'
