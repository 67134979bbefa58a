"""`peerstack demo pubsub`: messages reach everybody, though a process is killed and another one takes its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

import trio
from cyclopts import App, Parameter
from cyclopts.validators import Number

from . import events
from .demo_crew import Crew, ask_all, open_crew
from .host_options import NO_PRIVATE_DEMO, refuse_if_forced
from .options import Json
from .output import Output
from .runner import run

INCOMPLETE = 1
"""Exit code when a process that lives has missed a message, or got one twice."""
PATIENCE = 30.0
"""Seconds after which messages that have not come are missing."""
NAMES = ("anna", "ben", "carl", "dora", "emil")
KILLED, SUCCESSOR = "carl", "fritz"
LINKS = (
    *(("anna", "ben"), ("ben", "carl"), ("carl", "dora"), ("dora", "emil"), ("emil", "anna")),
    *(("anna", "carl"), ("ben", "dora")),
)
"""Who dials whom: a ring and two chords, so that most messages must be passed on, and the ring may break once."""

app = App(
    name="pubsub",
    help_epilogue="""Five processes on this machine, each connected to two or three others over TCP,
publish to one topic. One is killed, and the others go on at once; then a new
one takes its place. The table counts what came to whom; the exit code is 1 if a
process that lives has missed a message, or got one twice.

Examples:
  peerstack demo pubsub
  peerstack demo pubsub --messages 1000 --json""",
)


@dataclass(slots=True)
class Tally:
    """What was published and what has come, by name."""

    count: int
    rounds: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Who took part in each round: all of them publish, and shall get what the others do."""
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    alive: tuple[str, ...] = ()

    def delivered(self, number: int) -> int:
        """Return how many messages of a round have come, to all together."""
        return sum(
            by_author["delivered"].get(str(number), 0)
            for name in self.rounds[number]
            for by_author in self.reports[name].values()
        )

    def expected(self, number: int) -> int:
        """Return how many messages of a round should have come, to all together."""
        members = len(self.rounds[number])
        return members * (members - 1) * self.count

    def cells(self) -> tuple[events.Cell, ...]:
        """Return what each got of each."""
        names = list(self.reports)
        return tuple(self._cell(author, receiver) for author in names for receiver in names if author != receiver)

    def _cell(self, author: str, receiver: str) -> events.Cell:
        rounds = [number for number, names in self.rounds.items() if author in names and receiver in names]
        got = self.reports[receiver].get(author, {"delivered": {}, "duplicates": 0})
        return events.Cell(
            publisher=author,
            receiver=receiver,
            delivered=sum(got["delivered"].get(str(number), 0) for number in rounds),
            expected=len(rounds) * self.count,
            duplicates=got["duplicates"],
            alive=receiver in self.alive,
        )


def verdict(cells: Iterable[events.Cell]) -> events.Verdict:
    """Return the judgement on what those that live have got."""
    judged = [cell for cell in cells if cell.alive]
    missing = sum(cell.expected - cell.delivered for cell in judged)
    duplicates = sum(cell.duplicates for cell in judged)
    return events.Verdict(not missing and not duplicates, missing, duplicates)


@app.default
def demo(
    *,
    messages: Annotated[
        int,
        Parameter(help="How many each publishes in a round.", metavar="N", validator=Number(gte=1, lte=10_000)),
    ] = 100,
    json: Json = False,
) -> int:
    """Show that messages reach everybody, kill or no kill."""
    return run(partial(_demo, messages), json=json)


async def _demo(count: int, output: Output) -> int:
    refuse_if_forced(NO_PRIVATE_DEMO)
    tally = Tally(count)
    async with open_crew() as crew:
        output.emit(events.Step(1, f"Start {len(NAMES)} processes, each connected to two or three others"))
        with output.working("starting"):
            await crew.start(*NAMES)
            await _connect(crew, LINKS)
        output.emit(events.Step(2, f"Each publishes {count} messages"))
        await _round(1, crew, tally, output)

        victim = next(member for member in crew.alive if member.name == KILLED)
        output.emit(events.Step(3, f"Kill {KILLED} (kill -9 {victim.pid}); the others publish at once"))
        await victim.kill()
        await _round(2, crew, tally, output)

        output.emit(events.Step(4, f"Start {SUCCESSOR} in the place of {KILLED}; all publish again"))
        with output.working("starting"):
            await crew.start(SUCCESSOR)
            await _connect(crew, [(_heir(dialer), _heir(listener)) for dialer, listener in LINKS])
        await _round(3, crew, tally, output)
    output.emit(events.Step(5, "Who got how much"))
    cells = tally.cells()
    judgement = verdict(cells)
    output.emit(events.Deliveries(cells))
    output.emit(judgement)
    return 0 if judgement.complete else INCOMPLETE


def _heir(name: str) -> str:
    return SUCCESSOR if name == KILLED else name


async def _connect(crew: Crew, links: Sequence[tuple[str, str]]) -> None:
    """Make the connections that are missing, and wait until each exchanges messages with all its neighbours."""
    addresses = {member.name: member.address for member in crew.alive}
    for member in crew.alive:
        wanted = [addresses[listener] for dialer, listener in links if dialer == member.name]
        await member.ask(do="connect", addresses=wanted)
    sizes = Counter(name for link in links for name in link)
    await ask_all(crew.alive, do="mesh", sizes=sizes, seconds=PATIENCE)


async def _round(number: int, crew: Crew, tally: Tally, output: Output) -> None:
    """Let everybody alive publish, wait until it has come everywhere, and count."""
    members = crew.alive
    names = tally.rounds[number] = tally.alive = tuple(member.name for member in members)
    started = trio.current_time()
    with output.working(f"{len(members)} processes publish {tally.count} messages each"):
        await ask_all(members, do="publish", round=number, count=tally.count)
        await ask_all(members, do="collect", round=number, authors=names, count=tally.count, seconds=PATIENCE)
    seconds = round(trio.current_time() - started, 3)
    reports = await ask_all(members, do="report")
    tally.reports.update((name, reports[name]["authors"]) for name in names)
    output.emit(events.Round(number, len(members), tally.delivered(number), tally.expected(number), seconds))
