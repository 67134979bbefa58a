"""The text output for the result of a simulation."""

from __future__ import annotations

from .shapes import Line, Shape, Span, Style, Table, line
from .simulate_events import Latencies, Simulated
from .units import size

WIDTH = 40
"""Characters of the longest bar."""


def describe(event: Simulated) -> list[Shape]:
    """Return the tables of a simulation."""
    shapes: list[Shape] = [Table(tuple(_summary(event)))]
    shapes += [line(""), line(Span("Latency of deliveries", Style.BOLD)), Table(tuple(_histogram(event.histogram)))]
    shapes += [line(""), line(Span("Mesh peers of a node", Style.BOLD)), Table(tuple(_degrees(event.mesh.degrees)))]
    return shapes


def _summary(event: Simulated) -> list[tuple[str, Line]]:
    sent, mesh = event.sent, event.mesh
    who = f"{event.nodes} nodes, {event.connections} connections"
    control = f"{sent.ihave} IHAVE, {sent.iwant} IWANT, {sent.graft} GRAFT, {sent.prune} PRUNE"
    rows = [
        ("network", line(who if not event.sybils else f"{who}, {event.sybils} sybils ({event.attack})")),
        ("deliveries", _deliveries(event)),
        ("sends per delivery", line(Span(f"{event.sends_per_delivery:.2f}", Style.BOLD))),
        ("duplicates", line(f"{event.duplicates}")),
        ("latency", line(_lateness(event.latency))),
    ]
    if event.sybils:
        rows.append(("under attack", line(_lateness(event.affected))))
        rows.append(("last quarter", line(_lateness(event.settled))))
        rows.append(("sybils in meshes", line(f"{mesh.sybil_share:.1%}")))
    if event.scored:
        rows.append(("honest suspects", line(f"{mesh.suspects}")))
    rows += [
        ("mesh peers", line(f"{mesh.min} to {mesh.max}, {mesh.mean:.2f} on average")),
        ("control", line(control if not sent.idontwant else f"{control}, {sent.idontwant} IDONTWANT")),
        ("bytes", line(f"{size(sent.bytes)} in {sent.frames} frames")),
        ("trace hash", line(event.trace_hash)),
        ("took", line(_cost(event))),
    ]
    return rows


def _cost(event: Simulated) -> str:
    peak = event.peak_memory_bytes
    return f"{event.wall_seconds:.1f} s" + ("" if peak is None else f", {size(peak)} of memory at most")


def _deliveries(event: Simulated) -> Line:
    text = f"{event.deliveries}, the authors' own included"
    missing = event.latency.missing
    return line(text, Span(f"  {missing} missing", Style.BAD)) if missing else line(text)


def _lateness(latency: Latencies) -> str:
    named = {"median": latency.median_ms, "99 %": latency.p99_ms, "last": latency.max_ms}
    text = ", ".join(f"{name} {'never' if value is None else f'{value:.0f} ms'}" for name, value in named.items())
    return f"{text}; {latency.missing} of {latency.expected} missing" if latency.missing else text


def _histogram(counts: tuple[int, ...]) -> list[tuple[str, Line]]:
    return [(f"{100 * index}-{100 * index + 100} ms", _bar(count, counts)) for index, count in enumerate(counts)]


def _degrees(counts: tuple[int, ...]) -> list[tuple[str, Line]]:
    return [(str(degree), _bar(count, counts)) for degree, count in enumerate(counts) if count]


def _bar(count: int, counts: tuple[int, ...]) -> Line:
    return line(f"{count:>7}  ", Span("#" * round(WIDTH * count / max(counts)), Style.NAME))
