"""Runs the rounds: in each group every entrant takes a turn before any takes the next."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Self

import trio

from benchmarks.document import number
from benchmarks.entrants import Entrants
from benchmarks.footprint import CanNotInstall, import_time, installed
from benchmarks.machine import describe_machine, load
from benchmarks.measures import CEILINGS, LABELS, MEASURES, PACED, SMALL, Group, Sizes
from benchmarks.progress import Teller, open_teller
from benchmarks.pubsub import TEAM_WORK, open_team
from benchmarks.results import Results
from benchmarks.work import LAYERS, WORK, Part, Values, open_pair
from interop.layers import PLAIN
from interop.peer import PeerError

FAULTS = (PeerError, CanNotInstall, OSError, ValueError)
"""What a turn may fail of without the run failing."""


@dataclass(frozen=True)
class Turn:
    """One sample to take."""

    number: int
    """Which turn of this group it is, counted from 0 through all rounds."""
    group: Group
    entrant: str

    def __str__(self) -> str:
        return f"turn {self.number + 1}, {self.group.title.lower()}, {LABELS[self.entrant]}"


@dataclass(frozen=True)
class Fault:
    """Why some measures of a turn are missing."""

    reason: str
    measures: Sequence[str]
    part: str

    @classmethod
    def of(cls, error: Exception, measures: Sequence[str], part: str = "") -> Self:
        """Return what an error says in its first line."""
        return cls((str(error) or repr(error)).splitlines()[0], measures, part)

    def __str__(self) -> str:
        return f"{self.part}, {self.reason}" if self.part else self.reason


@dataclass
class Found:
    """What came of a turn."""

    values: Values = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


@dataclass
class Run:
    """What the turns share."""

    entrants: Entrants
    sizes: Sizes
    results: Results
    teller: Teller

    async def take(self, turn: Turn) -> None:
        """Take one sample; a failure is noted, and the others go on."""
        self.teller.begins(str(turn))
        begun = perf_counter()
        found = await self._work(turn)
        self.results.add(turn.entrant, turn.number, found.values)
        for fault in found.faults:
            self.results.failures.append(f"{turn}: {fault}")
            self.results.miss(turn.entrant, fault.measures, fault.reason)
        said = [_words(found.values)] * bool(found.values) + [f"FAILED, {fault}" for fault in found.faults]
        self.teller.ends(f"{turn}: {'; '.join(said)} ({perf_counter() - begun:.1f} s)")

    async def _work(self, turn: Turn) -> Found:
        found = Found()
        if turn.group.key in WORK:
            left = WORK[turn.group.key]
            while left:
                left = await self._work_of_a_pair(turn, left, found)
            return found
        try:
            found.values |= await self._work_of_another_kind(turn)
        except FAULTS as error:
            found.faults.append(Fault.of(error, [measure.key for measure in turn.group.measures]))
        return found

    async def _work_of_a_pair(self, turn: Turn, parts: Sequence[Part], found: Found) -> Sequence[Part]:
        """Let a fresh pair do parts up to the first that fails; return those that are left for another."""
        begun = 0
        try:
            async with open_pair(self.entrants.programs[turn.entrant], LAYERS.get(turn.group.key, PLAIN)) as pair:
                self._note_version(turn.entrant, pair.listener.version)
                for part in parts:
                    begun += 1
                    found.values |= await part.work(pair, self.sizes)
        except FAULTS as error:
            failed, left = (parts[begun - 1 : begun], parts[begun:]) if begun else (parts, ())
            found.faults += [Fault.of(error, part.measures, part.name) for part in failed]
            return left
        return ()

    async def _work_of_another_kind(self, turn: Turn) -> Values:
        if turn.group.key in TEAM_WORK:
            return await self._work_of_a_team(turn)
        if turn.group.key == "size":
            return await trio.to_thread.run_sync(installed, self.entrants.pythons, turn.entrant)
        python = self.entrants.pythons[Entrants.lender(turn.entrant)]
        return await trio.to_thread.run_sync(import_time, python, turn.entrant, self.sizes.starts)

    async def _work_of_a_team(self, turn: Turn) -> Values:
        count, work = TEAM_WORK[turn.group.key]
        async with open_team(self.entrants.programs[turn.entrant], count) as team:
            self._note_version(turn.entrant, team.version)
            return await work(team, self.sizes)

    def _note_version(self, entrant: str, version: str) -> None:
        if entrant not in (*CEILINGS, PACED, SMALL):
            toolchain = self.entrants.toolchains.get(entrant)
            self.results.versions[entrant] = f"{version} ({toolchain})" if toolchain else version


async def measure(entrants: Entrants, groups: Sequence[Group], runs: int, sizes: Sizes, command: str) -> Results:
    """Take all samples."""
    turns = plan(entrants, groups, runs)
    before, begun = load(), perf_counter()
    results = Results(
        command=command,
        runs=runs,
        machine=describe_machine(),
        sizes=asdict(sizes),
        began=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        left_out=dict(entrants.left_out),
        planned=[measure.key for group in groups for measure in group.measures],
    )
    with open_teller(len(turns)) as teller:
        run = Run(entrants, sizes, results, teller)
        for turn in turns:
            await run.take(turn)
    results.seconds = perf_counter() - begun
    results.machine = {**results.machine, "Load before the run": before}
    return results


def plan(entrants: Entrants, groups: Sequence[Group], runs: int) -> list[Turn]:
    """Return the turns in their order: by round, by group, then by entrant."""
    return [
        Turn(round_number * group.turns + turn, group, entrant)
        for round_number in range(runs)
        for group in groups
        if group.rounds is None or round_number < group.rounds
        for turn in range(group.turns)
        for entrant in entrants.of(group)
    ]


def _words(values: Mapping[str, float]) -> str:
    return ", ".join(
        f"{MEASURES[key].title} {number(value)} {MEASURES[key].unit}".strip() for key, value in values.items()
    )
