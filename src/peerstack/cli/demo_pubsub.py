"""`peerstack demo pubsub`: every process gets every message, although one is killed and replaced."""

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
from .demo_processes import WorkerPool, ask_all, open_worker_pool
from .host_options import NO_PRIVATE_DEMO, refuse_if_forced
from .options import Json
from .output import Output
from .runner import run

INCOMPLETE = 1
"""Exit code when a surviving process missed a message or got one twice."""
PATIENCE = 30.0
"""Seconds after which a message that has not arrived counts as missing."""
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
one takes its place. The table counts the deliveries; the exit code is 1 if a
surviving process missed a message or got one twice.

Examples:
  peerstack demo pubsub
  peerstack demo pubsub --messages 1000 --json""",
)


@dataclass(slots=True)
class Tally:
    """What was published and what arrived, by name."""

    count: int
    rounds: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """The processes of each round: each publishes and expects the messages of the others."""
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    alive: tuple[str, ...] = ()

    def delivered(self, number: int) -> int:
        """Return how many deliveries of a round were made."""
        return sum(
            by_author["delivered"].get(str(number), 0)
            for name in self.rounds[number]
            for by_author in self.reports[name].values()
        )

    def expected(self, number: int) -> int:
        """Return how many deliveries a round should have made."""
        workers = len(self.rounds[number])
        return workers * (workers - 1) * self.count

    def cells(self) -> tuple[events.Cell, ...]:
        """Return the deliveries of each publisher to each receiver."""
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
    """Return whether the surviving processes got everything once."""
    alive = [cell for cell in cells if cell.alive]
    missing = sum(cell.expected - cell.delivered for cell in alive)
    duplicates = sum(cell.duplicates for cell in alive)
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
    """Show that messages reach every process, even when one is killed."""
    return run(partial(_demo, messages), json=json)


async def _demo(count: int, output: Output) -> int:
    refuse_if_forced(NO_PRIVATE_DEMO)
    tally = Tally(count)
    async with open_worker_pool() as pool:
        output.emit(events.Step(1, f"Start {len(NAMES)} processes, each connected to two or three others"))
        with output.working("starting"):
            await pool.start(*NAMES)
            await _connect(pool, LINKS)
        output.emit(events.Step(2, f"Each publishes {count} messages"))
        await _round(1, pool, tally, output)

        victim = next(worker for worker in pool.alive if worker.name == KILLED)
        output.emit(events.Step(3, f"Kill {KILLED} (kill -9 {victim.pid}); the others publish at once"))
        await victim.kill()
        await _round(2, pool, tally, output)

        output.emit(events.Step(4, f"Start {SUCCESSOR} in place of {KILLED}; all publish again"))
        with output.working("starting"):
            await pool.start(SUCCESSOR)
            await _connect(pool, [(_successor(dialer), _successor(listener)) for dialer, listener in LINKS])
        await _round(3, pool, tally, output)
    output.emit(events.Step(5, "Count the deliveries"))
    cells = tally.cells()
    result = verdict(cells)
    output.emit(events.Deliveries(cells))
    output.emit(result)
    return 0 if result.complete else INCOMPLETE


def _successor(name: str) -> str:
    return SUCCESSOR if name == KILLED else name


async def _connect(pool: WorkerPool, links: Sequence[tuple[str, str]]) -> None:
    """Make the connections that are missing, and wait until each exchanges messages with all its neighbours."""
    addresses = {worker.name: worker.address for worker in pool.alive}
    for worker in pool.alive:
        wanted = [addresses[listener] for dialer, listener in links if dialer == worker.name]
        await worker.ask(do="connect", addresses=wanted)
    sizes = Counter(name for link in links for name in link)
    await ask_all(pool.alive, do="mesh", sizes=sizes, seconds=PATIENCE)


async def _round(number: int, pool: WorkerPool, tally: Tally, output: Output) -> None:
    """Let every running process publish, wait until all messages have arrived, and count."""
    workers = pool.alive
    names = tally.rounds[number] = tally.alive = tuple(worker.name for worker in workers)
    started = trio.current_time()
    with output.working(f"{len(workers)} processes publish {tally.count} messages each"):
        await ask_all(workers, do="publish", round=number, count=tally.count)
        await ask_all(workers, do="collect", round=number, authors=names, count=tally.count, seconds=PATIENCE)
    seconds = round(trio.current_time() - started, 3)
    reports = await ask_all(workers, do="report")
    tally.reports.update((name, reports[name]["authors"]) for name in names)
    output.emit(events.Round(number, len(workers), tally.delivered(number), tally.expected(number), seconds))
