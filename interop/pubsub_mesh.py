"""One mesh of all implementations: a ring with chords, in which every peer must receive what every other publishes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice

import trio

from interop.matrix import Cell, Direction, Place, Program, expect, to_cell
from interop.pubsub_rows import STRICT, UNSIGNED
from interop.pubsub_stage import Member, Start, start_process
from interop.pubsub_talk import (
    FAILURES,
    KIB,
    describe,
    expect_flawless,
    side_by_side,
    subscribe,
    wait_known,
    wait_mesh,
)

ALL = "all together"
"""Stands for the peer in the report."""
SIZE = 8
TOPIC = "interop/mesh"
MESH_SECONDS = 60.0
"""No row may take longer."""
WAIT_SECONDS = 40.0


@dataclass(frozen=True, kw_only=True)
class Mesh:
    """One row: who is in the mesh, and what each publishes."""

    members: tuple[str, ...]
    """Programs beside ours, in order round the ring; those at hand are repeated as often as it takes."""
    messages: int
    """That each publishes, without a pause."""
    direction: Direction
    """Who dials between ours and others; among others it is the one with the lower number."""
    size: int = SIZE
    """How many peers, an even number."""
    options: tuple[str, ...] = STRICT
    """With which each is started."""
    kind: str = ""
    """What the name of the row adds."""

    def present(self, programs: Iterable[Program]) -> list[Program]:
        """Return those of the others that are at hand."""
        by_name = {program.name: program for program in programs}
        return [by_name[name] for name in self.members if name in by_name]


MESHES: Sequence[Mesh] = (
    Mesh(members=("go", "rust"), messages=500, direction=Direction.OURS_DIALS),
    Mesh(members=("go", "rust", "js"), messages=500, direction=Direction.THEIRS_DIALS),
    Mesh(members=("py", "go", "rust", "js"), messages=200, direction=Direction.OURS_DIALS),
    # As in Ethereum: nothing is signed, and the id of a message is the SHA-256 of its data.
    Mesh(members=("js",), messages=50, direction=Direction.OURS_DIALS, size=8, options=UNSIGNED, kind=", unsigned"),
)


def neighbours(size: int) -> list[tuple[int, int]]:
    """Return who is connected to whom: the next one round the ring, and the one opposite."""
    ring = [(number, (number + 1) % size) for number in range(size)]
    return ring + [(number, number + size // 2) for number in range(size // 2)]


async def run_meshes(ours: Program, programs: Sequence[Program], *, start: Start = start_process) -> list[Cell]:
    """Run every mesh that has at least two of its other programs at hand, or the only one."""
    cells: dict[Place, Cell] = {}
    for mesh in MESHES:
        others = mesh.present(programs)
        names = ", ".join(program.name for program in (ours, *others))
        row = f"{mesh.size} peers, {mesh.messages} x 1 KiB from each{mesh.kind}: {names}"
        place = Place(peer=ALL, direction=mesh.direction, key_type="ed25519", row=row)
        if len(others) >= min(2, len(mesh.members)):
            cells[place] = await _run_mesh(mesh, place, ours, others, start)
    return list(cells.values())


async def _run_mesh(mesh: Mesh, place: Place, ours: Program, others: Sequence[Program], start: Start) -> Cell:
    begun = trio.current_time()
    reason = ""
    try:
        with trio.fail_after(MESH_SECONDS):
            async with trio.open_nursery() as nursery:
                members = await _start(mesh, [ours, *others], start, nursery)
                await _connect(mesh, members, ours)
                await _flood(mesh, members)
                nursery.cancel_scope.cancel()
    except* FAILURES as errors:
        reason = describe(_first(errors))
    except* trio.TooSlowError:
        reason = f"not over after {MESH_SECONDS:g} s"
    return to_cell(place, reason, trio.current_time() - begun, ())


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _start(mesh: Mesh, programs: Sequence[Program], start: Start, nursery: trio.Nursery) -> list[Member]:
    async def keep(program: Program, *, task_status: trio.TaskStatus[Member]) -> None:
        async with start(program, "ed25519", mesh.options) as member:
            task_status.started(member)
            await trio.sleep_forever()

    return [await nursery.start(keep, program) for program in islice(cycle(programs), mesh.size)]


async def _connect(mesh: Mesh, members: Sequence[Member], ours: Program) -> None:
    we_dial = mesh.direction is Direction.OURS_DIALS
    for first, second in neighbours(len(members)):
        dialer, listener = members[first], members[second]
        if (dialer.name == ours.name) != (listener.name == ours.name) and (dialer.name == ours.name) != we_dial:
            dialer, listener = listener, dialer
        await dialer.call("connect", address=listener.address)


async def _flood(mesh: Mesh, members: Sequence[Member]) -> None:
    await subscribe(TOPIC, *members)
    for number, member in enumerate(members):
        others = [members[other] for other in _known(number, len(members))]
        await wait_known(TOPIC, member, others)
        await wait_mesh(TOPIC, member, others)
    await side_by_side(*(partial(_publish, mesh, member) for member in members))
    await side_by_side(*(partial(_receive, mesh, len(members) - 1, member) for member in members))


def _known(number: int, size: int) -> list[int]:
    pairs = [pair for pair in neighbours(size) if number in pair]
    return [second if first == number else first for first, second in pairs]


async def _publish(mesh: Mesh, member: Member) -> None:
    answer = await member.call("publish", topic=TOPIC, count=mesh.messages, bytes=KIB, start=0, interval_ms=0)
    expect(answer["published"] == mesh.messages, f"{member.name} could not publish: {answer['first_error']}")


async def _receive(mesh: Mesh, publishers: int, member: Member) -> None:
    wanted = mesh.messages * publishers
    answer = await member.call("wait_received", topic=TOPIC, count=wanted, seconds=WAIT_SECONDS)
    found = sorted(answer["authors"].values())
    expect(found == [mesh.messages] * publishers, f"{member.name} received {found} of {publishers} publishers")
    expect_flawless(member, answer)
