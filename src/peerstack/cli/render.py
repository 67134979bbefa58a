"""The text output for each event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import events, render_pubsub, render_simulate
from .events import PeerBack, PeerLost, SwarmKeyShown
from .failure import advice
from .render_pubsub import short
from .shapes import Line, Shape, Span, Style, Table, Tree, line
from .simulate_events import Simulated
from .units import MIB, size, without_number

if TYPE_CHECKING:
    from peerstack.stack.report import Attempt, Stage

OK = "ok"
_STAGE_WIDTH = len("security negotiation")


def describe(event: events.OutputEvent) -> list[Shape]:
    """Return the text output for an event, nothing for one that only the JSON form has."""
    match event:
        case events.Report():
            return list(_report(event))
        case events.KeyShown():
            return [_key(event)]
        case SwarmKeyShown():
            return [Table((("fingerprint", line(event.fingerprint)), ("key file", line(event.file))))]
        case events.Converted():
            return [line(event.text)]
        case events.Step():
            return [line(""), line(Span(f"{event.number}. {event.title}", Style.BOLD))]
        case events.TryNext():
            commands = [line("   ", Span(command, Style.NAME)) for command in event.commands]
            return [line(""), line(Span("Try next:", Style.BOLD)), *commands]
        case Simulated():
            return render_simulate.describe(event)
        case events.Exchanged():
            return [line("   ", _name(event.protocol), f"  sent {event.sent!r}, received {event.received!r}")]
        case _:
            return _of_peers(event)


def _of_peers(event: events.OutputEvent) -> list[Shape]:
    match event:
        case PeerLost(peer_id=peer, address=address, reason=reason):
            why = f": {reason}" if reason else ""
            return [line(Span(f"! lost {short(peer)} at {address}{why}; dialing it until it is back", Style.HINT))]
        case PeerBack(peer_id=peer, address=address, seconds=seconds):
            return [line(Span(f"* {short(peer)} at {address} is back after {seconds:.1f} s", Style.DIM))]
        case events.Listening():
            addresses = [line("   ", _name(address)) for address in event.addresses]
            engines = [line(Span(f"{name} by {engine}", Style.DIM)) for name, engine in event.engines.items()]
            return [line("listening as ", Span(event.peer_id, Style.BOLD)), *addresses, *engines]
        case events.Connected():
            whence = "from" if event.direction == "inbound" else "to"
            return [
                line(Span("connected", Style.GOOD), f" {whence} ", _name(event.peer_id)),
                line("   ", Span(f"{event.address}  {event.security}  {event.muxer}", Style.DIM)),
            ]
        case events.Disconnected():
            reason = f"  {event.reason}" if event.reason else ""
            return [line(Span("disconnected", Style.DIM), " ", _name(event.peer_id), reason)]
        case events.Refused() | events.Stopped():
            return [line(Span(event.event, Style.BAD), f" {event.address}  {event.reason}")]
        case events.Dropped():
            return [line(Span(f"{event.count} more events came too fast to print", Style.HINT))]
        case events.Introduced():
            agent = event.agent or "an agent without a name"
            return [line("identified ", _name(event.peer_id), f"  {agent}")]
        case events.Identified():
            return [_identified(event)]
        case _:
            return _of_measurements(event)


def _of_measurements(event: events.OutputEvent) -> list[Shape]:
    match event:
        case events.Pong():
            return [line(f"{event.seq:>4}  {event.rtt_ms:8.3f} ms")]
        case events.Lost():
            return [line(f"{event.seq:>4}  ", Span("lost", Style.BAD), f"  {event.reason}")]
        case events.PingSummary():
            return [_ping_summary(event)]
        case events.Progress():
            done, total = event.bytes / MIB, event.total / MIB
            return [line(f"{event.direction:<8}  {done:.1f} of {total:.1f} MiB  {event.mib_s:,.1f} MiB/s")]
        case events.Transfer():
            amount = f"{event.direction:<8}  {size(event.bytes)} in {event.seconds:.2f} s  "
            return [line(amount, Span(f"{event.mib_s:,.1f} MiB/s", Style.BOLD))]
        case events.PerfSummary():
            return []  # each transfer has its own line
        case _:
            return render_pubsub.describe(event)


# ---- tables


def _key(event: events.KeyShown) -> Table:
    rows = [
        ("peer id", line(Span(event.peer_id, Style.BOLD))),
        ("type", line(event.type or Span("not in a hashed peer id", Style.DIM))),
        ("public key", line(event.public_key or Span("not in a hashed peer id", Style.DIM))),
        ("cid", line(event.cid)),
        ("base36", line(event.base36)),
        ("hex", line(event.hex)),
    ]
    if event.file is not None:
        rows.append(("key file", line(event.file)))
    return Table(tuple(rows))


def _identified(event: events.Identified) -> Table:
    suffix = f"/p2p/{event.peer_id}"
    record = Span("signed by the peer", Style.GOOD) if event.signed else Span("not signed", Style.HINT)
    return Table(
        (
            ("peer id", line(Span(event.peer_id, Style.BOLD))),
            ("agent", line(event.agent or Span("unknown", Style.DIM))),
            ("record", line(record)),
            ("sees us at", line(event.observed_address or Span("unknown", Style.DIM))),
            *_listed("addresses", tuple(address.removesuffix(suffix) for address in event.addresses)),
            *_listed("protocols", event.protocols),
        )
    )


def _listed(name: str, values: tuple[str, ...]) -> list[tuple[str, Line]]:
    if not values:
        return [(name, line(Span("none", Style.DIM)))]
    return [("" if index else name, line(value)) for index, value in enumerate(values)]


def _ping_summary(event: events.PingSummary) -> Table:
    lost = event.sent - event.received
    counts = line(f"{event.received} of {event.sent}", *([Span(f"  {lost} lost", Style.BAD)] if lost else []))
    times = event.rtt_ms
    rows = [("min", times.min), ("median", times.median), ("max", times.max)]
    return Table(
        (("answered", counts), *((name, line(f"{value:.3f} ms")) for name, value in rows if value is not None))
    )


# ---- dial reports


def _report(event: events.Report) -> Iterator[Shape]:
    report = event.report
    if event.reached is not None:
        yield line(Span("reached", Style.GOOD), " ", Span(event.reached, Style.BOLD))
    else:
        yield line(Span("could not reach", Style.BAD), " ", Span(report.peer or "the address", Style.BOLD))
    for routing in report.routings:
        yield _attempt("asking ", routing)
    for resolution in report.resolutions:
        yield _attempt("resolving ", resolution)
    for attempt in report.attempts:
        yield _attempt("", attempt)
    for note in report.notes:
        yield line(Span("note", Style.HINT), f"  {note}")
    if event.reached is None and report.telling is None and (what := advice(report)):
        yield line(Span("advice", Style.HINT), f"  {what}")


def _attempt(prefix: str, attempt: Attempt) -> Tree:
    engine = () if attempt.engine is None else (Span(f"  by {attempt.engine}", Style.DIM),)
    label = line(prefix, _name(attempt.address), "  ", _outcome(attempt.outcome), *engine)
    return Tree(label, tuple(_stage(stage) for stage in attempt.stages))


def _stage(stage: Stage) -> Tree:
    took = "" if stage.ended is None else f"{(stage.ended - stage.started) * 1000:.1f} ms"
    label = line(f"{stage.name:<{_STAGE_WIDTH}} {took:>11}  ", _outcome(stage.outcome))
    if stage.outcome == OK:
        return Tree((*label, Span(f"  {stage.found}", Style.DIM)) if stage.found else label)
    details = (
        ("expected", stage.expected, Style.PLAIN),
        ("found", stage.found, Style.PLAIN),
        ("error", without_number(stage.error or ""), Style.BAD),
        ("limit", stage.limit, Style.PLAIN),
        ("advice", stage.advice, Style.HINT),
    )
    return Tree(label, tuple(Tree(line(f"{name:<8}  ", Span(text, style))) for name, text, style in details if text))


def _outcome(outcome: str) -> Span:
    return Span(outcome, Style.GOOD if outcome == OK else Style.BAD)


def _name(text: str) -> Span:
    return Span(text, Style.NAME)
