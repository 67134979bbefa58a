"""Draws simulations: latencies, meshes, and how late messages were from the first to the last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from peerstack.protocols.pubsub.simulation import Published, Results, Scenario

from . import svg

WIDTH, MARGIN, GUTTER = 1000, 24, 40
HEAD, TITLE, AFTER = 66, 40, 44
CHART = 190
"""Height of the area within the axes."""
AXIS = 46
"""Room for the numbers beside an axis."""
BINS = 120
"""Points of a curve at most: messages that are close together are drawn as one."""
NEVER = 60.0
"""Seconds at which messages are drawn that more than one in a hundred never got."""
TICKS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Area:
    """Where to draw: the space within the axes, whose height is `CHART`."""

    x: float
    y: float
    width: float

    @property
    def bottom(self) -> float:
        """Where the horizontal axis is."""
        return self.y + CHART

    def frame(self, title: str, note: str) -> Iterator[str]:
        """Yield the axes and what stands above them."""
        yield svg.text(self.x - AXIS, self.y - 26, title, "title")
        yield svg.text(self.x - AXIS, self.y - 10, note, "quiet")
        yield svg.line(self.x, self.bottom, self.x + self.width, self.bottom, "axis")
        yield svg.line(self.x, self.y, self.x, self.bottom, "axis")


def to_svg(scenario: Scenario, results: Results, title: str) -> str:
    """Return the picture of one simulation."""
    half = (WIDTH - 2 * MARGIN - GUTTER) / 2 - AXIS
    top, low = HEAD + TITLE, HEAD + 2 * TITLE + CHART + AFTER
    left = Area(MARGIN + AXIS, top, half)
    right = Area(WIDTH - MARGIN - half, top, half)
    whole = Area(MARGIN + AXIS, low, WIDTH - 2 * MARGIN - AXIS)
    counts = results.census.degrees
    degrees = [counts.get(degree, 0) for degree in range(max(counts) + 1)]
    note = f"{results.deliveries} deliveries, {results.sends_per_delivery:.2f} sends for each"
    body = [
        svg.text(MARGIN, 32, title, "big"),
        svg.text(MARGIN, 50, f"Seed {scenario.seed}. {note}. Trace {results.trace_hash[:16]}.", "quiet"),
        *_bars(left, results.histogram, "Latency", "deliveries by 100 ms", 0.1),
        *_bars(right, degrees, "Meshes", "honest nodes by mesh peers", 1),
        *_curves(whole, scenario, {"": results.messages}, "Latency over time"),
    ]
    return svg.page(WIDTH, low + CHART + AFTER, title, body)


@dataclass(frozen=True)
class Comparison:
    """Simulations that differ in one thing, by the name of what differs."""

    title: str
    scenario: Scenario
    """Of one of them: what they have in common counts."""
    runs: Mapping[str, Results]


def compare(title: str, comparisons: Sequence[Comparison]) -> str:
    """Return a picture of how late messages were, one diagram above the other; all compare the same things."""
    names = list(dict.fromkeys(name for comparison in comparisons for name in comparison.runs))
    body = [svg.text(MARGIN, 32, title, "big"), *_legend(names)]
    y = float(HEAD + TITLE)
    for comparison in comparisons:
        area = Area(MARGIN + AXIS, y, WIDTH - 2 * MARGIN - AXIS)
        messages = {name: results.messages for name, results in comparison.runs.items()}
        body += _curves(area, comparison.scenario, messages, comparison.title)
        y += CHART + AFTER + TITLE
    return svg.page(WIDTH, y - TITLE, title, body)


def _legend(names: Sequence[str]) -> Iterator[str]:
    for index, name in enumerate(names):
        x = MARGIN + 190 * index
        yield svg.line(x, 50, x + 22, 50, _colour(index, len(names)))
        yield svg.text(x + 28, 54, name)


def _colour(index: int, count: int) -> str:
    """Return the classes of a curve; the last one, to which the others are compared, has the strongest colour."""
    return f"curve curve{count - 1 - index}"


# ---- bars


def _bars(area: Area, counts: Sequence[int], title: str, note: str, unit: float) -> Iterator[str]:
    yield from area.frame(title, note)
    # A little above the longest bar there is room for its number.
    most, step = 1.08 * max(counts, default=1), area.width / max(len(counts), 1)
    every = math.ceil(len(counts) / 16)
    edges = unit < 1
    for index, count in enumerate(counts):
        height = CHART * count / most
        x = area.x + index * step
        yield svg.box(x + 0.08 * step, area.bottom - height, 0.84 * step, height, "ours")
        if count and step > 25:
            yield svg.text(x + step / 2, area.bottom - height - 4, str(count), "tick")
        if index % every == 0:
            at = x if edges else x + step / 2
            yield svg.text(at, area.bottom + 14, f"{index * unit:g}", "quiet tick")
    if edges:
        yield svg.text(area.x + area.width, area.bottom + 14, f"{len(counts) * unit:.1f} s", "quiet tick")


# ---- curves


def _curves(area: Area, scenario: Scenario, curves: Mapping[str, Sequence[Published]], title: str) -> Iterator[str]:
    note = "seconds within which 99 % got a message, by the second it was published; logarithmic scale"
    yield from area.frame(title, note)
    points = [_points(messages) for messages in curves.values()]
    values = [value for curve in points for _, value in curve]
    if not values:
        return
    least, most = _tick_below(min(values)), _tick_above(max(values))
    begins, ends = scenario.warm_up, scenario.warm_up + scenario.messages * scenario.interval

    def across(at: float) -> float:
        return area.x + area.width * (at - begins) / (ends - begins)

    def down(value: float) -> float:
        return area.bottom - CHART * math.log(value / least) / math.log(most / least)

    for tick in [tick for tick in (*TICKS, NEVER) if least <= tick <= most]:
        yield svg.line(area.x, down(tick), area.x + area.width, down(tick), "decade")
        yield svg.text(area.x - 6, down(tick) + 4, "never" if tick == NEVER else f"{tick:g} s", "quiet label")
    for part in range(7):
        at = begins + part * (ends - begins) / 6
        yield svg.text(across(at), area.bottom + 14, f"{at:.0f} s", "quiet tick")
    if scenario.attack.late:
        yield svg.line(across(scenario.attack_at), area.y, across(scenario.attack_at), area.bottom, "moment")
        yield svg.text(across(scenario.attack_at) + 6, area.y + 10, "the attack begins", "quiet")
    for index, curve in enumerate(points):
        path = " ".join(f"{across(at):.1f},{down(value):.1f}" for at, value in curve)
        yield f'<polyline class="{_colour(index, len(points))}" points="{path}"/>'


def _points(messages: Sequence[Published]) -> list[tuple[float, float]]:
    """Return when messages were published and how late they were: the median of those drawn as one."""
    size = math.ceil(len(messages) / BINS)
    chunks = [messages[start : start + size] for start in range(0, len(messages), max(size, 1))]
    return [(median(found.at for found in chunk), median(_lateness(found) for found in chunk)) for chunk in chunks]


def _lateness(published: Published) -> float:
    lateness = published.lateness
    if not lateness.expected:
        return TICKS[0]
    return NEVER if lateness.p99 is None else min(max(lateness.p99, TICKS[0]), NEVER)


def _tick_below(value: float) -> float:
    return max([tick for tick in TICKS if tick < value], default=TICKS[0])


def _tick_above(value: float) -> float:
    return min([tick for tick in TICKS if tick > value], default=NEVER)
