"""Puts pairs of peers through the publish/subscribe rows, and knows what the others cannot do in them."""

from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial

import trio

from interop.matrix import (
    KNOWN_LIMITS,
    Cell,
    Direction,
    Limit,
    Place,
    Program,
    to_cell,
)
from interop.peer import NoAnswer
from interop.pubsub_rows import LANES, ROWS, Row
from interop.pubsub_stage import Stage, Start, open_stage, start_process
from interop.pubsub_talk import FAILURES, describe

ROW_SECONDS = 45.0
"""No row may take longer."""
LANES_AT_ONCE = 8
"""Most of a lane's time is waiting for heartbeats and backoffs, so there may be more of them than processors."""

PUBSUB_LIMITS: Sequence[Limit] = (
    Limit(
        peer="rust",
        row="floodsub: theirs knows nothing else",
        reason="rust-libp2p's floodsub neither signs nor verifies, and reads one RPC a stream, of at most 2048 bytes",
    ),
    *(
        Limit(
            peer="py",
            row=row,
            reason="py-libp2p without signing still sends `from` and `seqno`, which StrictNoSign forbids",
        )
        for row in ("publish 20 unsigned both ways", "ours strict, theirs unsigned: both refuse")
    ),
)


@dataclass
class Findings:
    """What rows brought so far."""

    cells: dict[Place, Cell] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


async def run_pubsub(
    ours: Program,
    programs: Sequence[Program],
    key_types: Sequence[str],
    *,
    limits: Sequence[Limit] = (*KNOWN_LIMITS, *PUBSUB_LIMITS),
    start: Start = start_process,
    both_ways: bool = True,
    at_once: int = LANES_AT_ONCE,
) -> tuple[list[Cell], dict[str, str]]:
    """Put ours and each of the others through every row; return the cells, and "implementation version" by name.

    Without `both_ways` each row is run in one direction, which says it all where both sides are the same program.
    `at_once` is how many lanes run beside one another.
    """
    findings = Findings()
    seats = trio.CapacityLimiter(at_once)
    jobs = [
        partial(
            _run_lane, partial(open_stage, ours, theirs, key_type, start), key_type, rows, limits, findings, both_ways
        )
        for theirs in programs
        for rows in LANES
        for key_type in key_types
        if any(key_type in row.key_types for row in rows)
    ]

    async def work(job: Callable[[], Awaitable[None]]) -> None:
        async with seats:
            await job()

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(work, job)
    order = {place: index for index, place in enumerate(_places(programs, key_types))}
    return sorted(findings.cells.values(), key=lambda cell: order[cell.place]), findings.versions


def _places(programs: Sequence[Program], key_types: Sequence[str]) -> Iterator[Place]:
    """Yield the places of all cells in the order of the report."""
    for theirs in programs:
        for direction in Direction:
            for rows in LANES:
                yield from _places_of(rows, theirs.name, direction, key_types)


def _places_of(rows: Sequence[Row], peer: str, direction: Direction, key_types: Sequence[str]) -> Iterator[Place]:
    for row in rows:
        for key_type in key_types:
            if direction in row.directions and key_type in row.key_types:
                yield Place(peer=peer, direction=direction, key_type=key_type, row=row.name)


def _last(directions: Container[Direction]) -> Direction:
    return next(direction for direction in reversed(Direction) if direction in directions)


async def _run_lane(
    open_lane: Callable[[], AbstractAsyncContextManager[Stage]],
    key_type: str,
    rows: Sequence[Row],
    limits: Sequence[Limit],
    findings: Findings,
    both_ways: bool,
) -> None:
    async with open_lane() as stage:
        for direction in Direction:
            for place in _places_of(rows, stage.theirs.name, direction, [key_type]):
                if not both_ways and direction is not _last(ROWS[place.row].directions):
                    continue
                findings.cells[place] = await _run_row(stage, place, limits)
                findings.versions |= stage.versions


async def _run_row(stage: Stage, place: Place, limits: Sequence[Limit]) -> Cell:
    row = ROWS[place.row]
    begun, prepared = trio.current_time(), False
    try:
        with trio.fail_after(ROW_SECONDS):
            scene = await stage.prepare(row, place.direction)
            begun, prepared = trio.current_time(), True
            await row.check(scene)
        reason = ""
    except FAILURES as error:
        reason = describe(error)
        if isinstance(error, NoAnswer) and not prepared:
            limits = ()  # what a program that does not start can do is not what a limit is about
    except trio.TooSlowError:
        reason = f"not over after {ROW_SECONDS:g} s"
    return to_cell(place, reason, trio.current_time() - begun, limits)
