"""One mesh of all implementations: a ring with chords, in which every peer must receive what every other publishes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice

import trio

from interop.matrix import Cell, CheckFailed, Direction, Place, Program, expect, judge
from interop.peer import CommandFailed, NoAnswer, Unsupported
from interop.pubsub_rows import STRICT
from interop.pubsub_stage import Member, Start, start_process
from interop.pubsub_talk import KIB, expect_flawless, subscribe, wait_known, wait_mesh

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

    row: str
    direction: Direction
    """Who dials between ours and others; among others it is the one with the lower number."""
    members: tuple[str, ...]
    """Programs in order round the ring, those at hand repeated as often as it takes; "ours" is ours."""
    messages: int
    interval_ms: int = 0
    """Milliseconds that each waits between two messages, where somebody's queues would lose bursts."""


MESHES: Sequence[Mesh] = (
    Mesh(
        row="8 peers, 500 x 1 KiB from each at once: ours, go, rust",
        direction=Direction.OURS_DIALS,
        members=("ours", "go", "rust"),
        messages=500,
    ),
    Mesh(
        row="8 peers, 500 x 1 KiB from each: ours, go, rust, js",
        direction=Direction.THEIRS_DIALS,
        members=("ours", "go", "rust", "js"),
        messages=500,
        interval_ms=10,
    ),
    Mesh(
        row="8 peers, 50 x 1 KiB from each: ours, py, go, rust, js",
        direction=Direction.OURS_DIALS,
        members=("ours", "py", "go", "rust", "js"),
        messages=50,
        interval_ms=100,
    ),
)


def neighbours(size: int) -> list[tuple[int, int]]:
    """Return who is connected to whom: the next one round the ring, and the one opposite."""
    ring = [(number, (number + 1) % size) for number in range(size)]
    return ring + [(number, number + size // 2) for number in range(size // 2)]


async def run_meshes(ours: Program, programs: Sequence[Program], *, start: Start = start_process) -> list[Cell]:
    """Run every mesh that has at least two of the other programs at hand."""
    at_hand = {"ours": ours, **{program.name: program for program in programs}}
    return [
        await _run_mesh(mesh, ours, found, start)
        for mesh in MESHES
        if len(found := {name: at_hand[name] for name in mesh.members if name in at_hand}) > 2
    ]


async def _run_mesh(mesh: Mesh, ours: Program, programs: Mapping[str, Program], start: Start) -> Cell:
    place = Place(peer=ALL, direction=mesh.direction, key_type="ed25519", row=mesh.row)
    begun = trio.current_time()
    reason = ""
    try:
        with trio.fail_after(MESH_SECONDS):
            async with trio.open_nursery() as nursery:
                members = await _start(programs, start, nursery)
                await _connect(mesh, members, ours)
                await _flood(mesh, members)
                nursery.cancel_scope.cancel()
    except* (CheckFailed, CommandFailed, NoAnswer, Unsupported) as errors:
        reason = str(_first(errors))
    except* trio.TooSlowError:
        reason = f"not over after {MESH_SECONDS:g} s"
    return judge(place, reason, trio.current_time() - begun, ())


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _start(programs: Mapping[str, Program], start: Start, nursery: trio.Nursery) -> list[Member]:
    async def keep(program: Program, *, task_status: trio.TaskStatus[Member]) -> None:
        async with start(program, "ed25519", STRICT) as member:
            task_status.started(member)
            await trio.sleep_forever()

    return [await nursery.start(keep, program) for program in islice(cycle(programs.values()), SIZE)]


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
    await _all_do(partial(_publish, mesh), members)
    await _all_do(partial(_receive, mesh, len(members) - 1), members)


def _known(number: int, size: int) -> list[int]:
    pairs = [pair for pair in neighbours(size) if number in pair]
    return [second if first == number else first for first, second in pairs]


async def _all_do(work: Callable[[Member], Awaitable[None]], members: Sequence[Member]) -> None:
    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(work, member)


async def _publish(mesh: Mesh, member: Member) -> None:
    answer = await member.call(
        "publish", topic=TOPIC, count=mesh.messages, bytes=KIB, start=0, interval_ms=mesh.interval_ms
    )
    expect(answer["published"] == mesh.messages, f"{member.name} could not publish: {answer['first_error']}")


async def _receive(mesh: Mesh, publishers: int, member: Member) -> None:
    wanted = mesh.messages * publishers
    answer = await member.call("wait_received", topic=TOPIC, count=wanted, seconds=WAIT_SECONDS)
    found = sorted(answer["authors"].values())
    expect(found == [mesh.messages] * publishers, f"{member.name} received {found} of {publishers} publishers")
    expect_flawless(member, answer)
