"""The text output for events of publish/subscribe."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from . import events
from .shapes import Line, Shape, Span, Style, Table, line
from .units import size

MAX_SHOWN = 2000
"""Characters of a message that are shown; longer ones end with their size."""
_SHORT = 8


def short(peer_id: str) -> str:
    """Return the end of a peer id: they all begin alike."""
    return f"…{peer_id[-_SHORT:]}"


def text_of(data: bytes) -> str:
    """Return a message as text, shortened, with invalid UTF-8 escaped."""
    text = data.decode("utf-8", "backslashreplace").rstrip("\r\n")
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({size(len(data))})"


def describe(event: events.OutputEvent) -> list[Shape]:
    """Return the text output for an event."""
    match event:
        case events.MessageReceived():
            return _message(event)
        case events.Receipt():
            return _receipt(event)
        case events.PublishSummary():
            return [_summary(event)]
        case events.Deliveries():
            return [_grid(event.cells)]
        case events.Round():
            got = line(f"   {event.delivered} of {event.expected} messages were delivered in {event.seconds:.2f} s")
            return [got]
        case events.Verdict():
            return [_verdict(event)]
        case _:
            return _of_chat(event)


def _of_chat(event: events.OutputEvent) -> list[Shape]:
    match event:
        case events.Said():
            return [line(Span(event.label, Style.NAME), f": {event.text}")]
        case events.Joined():
            return [line(Span(f"* {who(event.peer_id, event.name)} is here", Style.DIM))]
        case events.Left():
            return [line(Span(f"* {who(event.peer_id, event.name)} has left", Style.DIM))]
        case events.Renamed():
            return [line(Span(f"* {short(event.peer_id)} is now {event.name}", Style.DIM))]
        case events.Noted(level="warning"):
            return [line(Span(f"! {event.text}", Style.HINT))]
        case events.Noted():
            return [line(Span(f"* {event.text}", Style.DIM))]
        case _:
            raise AssertionError(f"no text for {event}")


def who(peer_id: str, name: str | None) -> str:
    """Return a name with the end of the peer id, which cannot be forged."""
    return f"{name} ({short(peer_id)})" if name else short(peer_id)


def _message(event: events.MessageReceived) -> list[Shape]:
    author = "anonymous" if event.author is None else short(event.author)
    text = text_of(base64.b64decode(event.data))
    older = Span("  (fetched by gossip: may be older)" if event.fetched else "", Style.DIM)
    shapes: list[Shape] = [line(Span(event.topic, Style.DIM), "  ", Span(author, Style.NAME), f"  {text}", older)]
    if event.missed:
        lost = f"{event.missed} messages before this one were dropped because they came too fast to print"
        shapes.insert(0, line(Span(lost, Style.HINT)))
    if event.gap:
        skipped = f"{author} skipped {event.gap} numbers: messages that are missing or went to other topics"
        shapes.insert(0, line(Span(skipped, Style.DIM)))
    if event.closes and not event.missing:
        shapes.append(line(Span("all skipped numbers have arrived late", Style.DIM)))
    return shapes


# ---- publishing


def _receipt(event: events.Receipt) -> list[Shape]:
    amount = f"  {size(event.bytes)}  {event.id[-_SHORT:]}"
    if not event.sent:
        head = line(Span("reached no peer", Style.BAD), amount)
    else:
        head = line(Span("sent", Style.GOOD), f" to {_peers(event.sent)}", amount)
    return [
        head,
        *(line("   ", Span(f"not to {short(drop.peer)}: {drop.reason}", Style.BAD)) for drop in event.dropped),
    ]


def _peers(peers: tuple[str, ...]) -> str:
    shown = ", ".join(short(peer) for peer in peers[:3])
    return shown if len(peers) <= 3 else f"{shown} and {len(peers) - 3} more"


def _summary(event: events.PublishSummary) -> Table:
    rows = [
        ("published", line(f"{_count(event.published, 'message')}, {size(event.bytes)}")),
        ("sent", line(f"{_count(event.sent, 'time')}, to {_count(event.peers, 'peer')}")),
        (
            "received",
            line(f"by {event.acknowledged} of {event.peers} hosts; their pubsub may still have dropped it"),
        ),
    ]
    if event.uncertain:
        rows.append(("uncertain", line(Span(f"{_count(event.uncertain, 'time')}: the connection was lost", Style.BAD))))
    if event.dropped:
        rows.append(("dropped", line(Span(f"{_count(event.dropped, 'time')}", Style.BAD))))
    if event.reached_nobody:
        rows.append(("unsent", line(Span(f"{_count(event.reached_nobody, 'message')}", Style.BAD))))
    return Table(tuple(rows))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


# ---- the demo


def _grid(cells: Iterable[events.Cell]) -> Table:
    """Return a row for each publisher, with a column for each receiver."""
    rows: dict[str, dict[str, events.Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.publisher, {})[cell.receiver] = cell
    receivers = list(dict.fromkeys((*rows, *(receiver for row in rows.values() for receiver in row))))
    width = max((len(_amount(cell)) for row in rows.values() for cell in row.values()), default=0) + 2
    head = line(Span("".join(f"{name:>{width}}" for name in receivers), Style.BOLD))
    return Table((("from / to", head), *((name, _row(row, receivers, width)) for name, row in rows.items())))


def _row(row: dict[str, events.Cell], receivers: list[str], width: int) -> Line:
    return tuple(_entry(row.get(receiver), width) for receiver in receivers)


def _entry(cell: events.Cell | None, width: int) -> Span:
    if cell is None or not cell.expected:
        return Span(f"{'-':>{width}}", Style.DIM)
    whole = cell.delivered == cell.expected and not cell.duplicates
    style = Style.DIM if not cell.alive else Style.GOOD if whole else Style.BAD
    return Span(f"{_amount(cell):>{width}}", style)


def _amount(cell: events.Cell) -> str:
    twice = f" +{cell.duplicates}" if cell.duplicates else ""
    return f"{cell.delivered}/{cell.expected}{twice}"


def _verdict(event: events.Verdict) -> Line:
    if event.complete:
        return line(Span("every surviving process got every message once", Style.GOOD))
    return line(Span(f"{event.missing} deliveries are missing, {event.duplicates} are duplicates", Style.BAD))
