"""Runs the rounds: in each group everyone takes a turn before anyone takes the next."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from time import perf_counter

import trio

from benchmarks.document import number
from benchmarks.entrants import Entrants
from benchmarks.footprint import CanNotInstall, import_time, installed
from benchmarks.machine import describe_machine, load
from benchmarks.measures import CEILINGS, LABELS, MEASURES, PACED, Group, Sizes
from benchmarks.progress import Teller, open_teller
from benchmarks.pubsub import TEAM_WORK, open_team
from benchmarks.results import Results
from benchmarks.work import LAYERS, WORK, Values, open_pair
from interop.layers import PLAIN
from interop.peer import PeerError


@dataclass(frozen=True)
class Turn:
    """One sample to take."""

    number: int
    """Which turn of this group it is, counted from 0 through all rounds."""
    group: Group
    entrant: str

    def __str__(self) -> str:
        return f"turn {self.number + 1}, {self.group.title.lower()}, {LABELS[self.entrant]}"


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
        try:
            values = await self._values(turn)
        except (PeerError, CanNotInstall, OSError, ValueError) as error:
            reason = (str(error) or repr(error)).splitlines()[0]
            self.results.failures.append(f"{turn}: {reason}")
            self.teller.ends(f"{turn}: FAILED, {reason}")
            return
        self.results.add(turn.entrant, turn.number, values)
        self.teller.ends(f"{turn}: {_words(values)} ({perf_counter() - begun:.1f} s)")

    async def _values(self, turn: Turn) -> Values:
        if turn.group.key in WORK:
            return await self._work_of_a_pair(turn)
        if turn.group.key in TEAM_WORK:
            return await self._work_of_a_team(turn)
        if turn.group.key == "size":
            return await trio.to_thread.run_sync(installed, self.entrants.pythons, turn.entrant)
        python = self.entrants.pythons[Entrants.lender(turn.entrant)]
        return await trio.to_thread.run_sync(import_time, python, turn.entrant, self.sizes.starts)

    async def _work_of_a_pair(self, turn: Turn) -> Values:
        layers = LAYERS.get(turn.group.key, PLAIN)
        async with open_pair(self.entrants.programs[turn.entrant], layers) as pair:
            self._note_version(turn.entrant, pair.listener.version)
            return await WORK[turn.group.key](pair, self.sizes)

    async def _work_of_a_team(self, turn: Turn) -> Values:
        count, work = TEAM_WORK[turn.group.key]
        async with open_team(self.entrants.programs[turn.entrant], count) as team:
            if turn.entrant != PACED:
                self._note_version(turn.entrant, team.version)
            return await work(team, self.sizes)

    def _note_version(self, entrant: str, version: str) -> None:
        if entrant not in CEILINGS:
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
    )
    with open_teller(len(turns)) as teller:
        run = Run(entrants, sizes, results, teller)
        for turn in turns:
            await run.take(turn)
    results.seconds = perf_counter() - begun
    results.machine = {**results.machine, "Load before the run": before}
    return results


def plan(entrants: Entrants, groups: Sequence[Group], runs: int) -> list[Turn]:
    """Return the turns in their order: by round, by group, then everyone in the group."""
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
