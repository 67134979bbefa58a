"""Every publish/subscribe row can fail, and ends; rows get the peers they ask for, connected as they ask."""

from collections.abc import Sequence

import pytest
from trio.testing import MockClock

from interop.matrix import KNOWN_LIMITS, Cell, Direction, Limit, Outcome, Program
from interop.pubsub_matrix import PUBSUB_LIMITS, ROW_SECONDS, run_pubsub
from interop.pubsub_mesh import MESHES, SIZE, neighbours, run_meshes
from interop.pubsub_rows import FLOODSUB, LANES, ROWS, UNSIGNED

from .fake_pubsub import World

OURS = Program(name="ours", argv=[])
THEIRS = Program(name="theirs", argv=[])
OTHERS = [Program(name=name, argv=[]) for name in ("go", "rust", "js", "py")]

FAULTS: dict[str, str] = {
    "publish 500 x 1 KiB: ours to theirs": "loses 1024",
    "publish 500 x 1 KiB: theirs to ours": "counts wrong_author",
    "publish 20 x 64 KiB both ways": "loses 65536",
    "publish 500 x 1 KiB both ways, ours scoring": "scores badly",
    "publish 20 unsigned both ways": "counts duplicates",
    "ours strict, theirs unsigned: both refuse": "takes all",
    "ours unsigned, theirs strict: both refuse": "hangs up",
    "floodsub: theirs knows nothing else": "fails to publish",
    "floodsub: ours knows nothing else": "counts malformed",
    "publish 1000 x 1 KiB, 2 ms apart: ours to stock queues": "loses 1024",
    "publish 1000 x 1 KiB at once, all defaults": "loses 1024",
    "publish 1000 x 1 KiB at once, unpaced: receipts": "acknowledges too much",
    "both dial at once": "does not dial",
    "connected again, same topic": "stays connected",
    "publish 20 x 1 KiB both ways": "loses 1024",
    "unsubscribe and again: theirs": "delivers after leaving",
    "unsubscribe and again: ours": "delivers after leaving",
    "PRUNE of theirs, backoff, GRAFT": "prunes silently",
    "PRUNE of ours, backoff, GRAFT": "grafts early",
    "IDONTWANT in a triangle": "no idontwant",
    "late joiner by IHAVE, IWANT: theirs": "tells no late joiner",
    "late joiner by IHAVE, IWANT: ours": "keeps a mesh",
}


async def run_cells(world: World, *limits: Limit, key_types: Sequence[str] = ("ed25519",)) -> list[Cell]:
    cells, _ = await run_pubsub(OURS, [THEIRS], key_types, limits=limits, start=world.start)
    return cells


async def test_well_behaved_pair_fills_every_cell(autojump_clock: MockClock) -> None:
    cells, versions = await run_pubsub(OURS, [THEIRS], ["ed25519", "rsa"], limits=(), start=World().start)
    assert [cell for cell in cells if cell.outcome is not Outcome.OK] == []
    assert len({cell.place for cell in cells}) == sum(len(row.directions) for row in ROWS.values()) + 2
    assert {cell.place.row for cell in cells if cell.place.key_type == "rsa"} == {"publish 20 x 1 KiB both ways"}
    assert versions == {"ours": "fake v1", "theirs": "fake v1"}


def test_every_row_has_a_fault() -> None:
    assert FAULTS.keys() == ROWS.keys()


@pytest.mark.parametrize("row", FAULTS)
async def test_a_fault_fails_its_row(autojump_clock: MockClock, row: str) -> None:
    cells = await run_cells(World(faults=frozenset({FAULTS[row]})))
    assert [cell.outcome for cell in cells if cell.place.row == row] == [Outcome.FAILED] * len(ROWS[row].directions)


async def test_rows_end_when_a_peer_does_not_answer(autojump_clock: MockClock) -> None:
    cells = await run_cells(World(faults=frozenset({"never answers"})))
    (cell, *_) = [cell for cell in cells if cell.place.row == "publish 500 x 1 KiB: ours to theirs"]
    assert cell.reason == f"not over after {ROW_SECONDS:g} s"
    assert cell.seconds < ROW_SECONDS + 1


async def test_the_side_that_should_dial_dials(autojump_clock: MockClock) -> None:
    world = World()
    cells = await run_cells(world)
    assert {cell.place.direction for cell in cells} == set(Direction)
    first, *_ = world.dials
    assert first == ("theirs", "ours")
    assert world.dials.count(("theirs", "ours")) == world.dials.count(("ours", "theirs"))


async def test_an_option_the_peer_does_not_support_is_impossible_only_if_known(autojump_clock: MockClock) -> None:
    row = "floodsub: theirs knows nothing else"
    limit = Limit(peer="theirs", row=row, reason="it does not flood")
    for limits, expected in (((limit,), Outcome.IMPOSSIBLE), ((), Outcome.FAILED)):
        cells = await run_cells(World(unsupported="floodsub"), *limits)
        assert {cell.outcome for cell in cells if cell.place.row == row} == {expected}


async def test_a_program_that_does_not_start_fails_whatever_the_limits_say(autojump_clock: MockClock) -> None:
    cells = await run_cells(World(faults=frozenset({"absent"})), Limit(peer="theirs", reason="it cannot"))
    assert {cell.outcome for cell in cells} == {Outcome.FAILED}


def test_known_limits_name_rows_that_exist_and_give_a_reason_in_one_line() -> None:
    for limit in PUBSUB_LIMITS:
        assert limit.row in ROWS
        assert limit.reason
        assert "\n" not in limit.reason
    assert not set(ROWS) & {limit.row for limit in KNOWN_LIMITS}


def test_rows_of_one_lane_have_names_of_their_own() -> None:
    assert sum(map(len, LANES)) == len(ROWS)
    assert ROWS["publish 20 unsigned both ways"].ours == UNSIGNED
    assert ROWS["floodsub: theirs knows nothing else"].theirs == FLOODSUB


async def test_meshes_of_all_that_are_at_hand(autojump_clock: MockClock) -> None:
    world = World()
    cells = await run_meshes(OURS, OTHERS, start=world.start)
    assert [cell.reason for cell in cells if cell.outcome is not Outcome.OK] == []
    assert [cell.place.row for cell in cells][1] == "8 peers, 500 x 1 KiB from each: ours, go, rust, js"
    assert len(cells) == len(MESHES)


async def test_meshes_need_two_others(autojump_clock: MockClock) -> None:
    assert await run_meshes(OURS, OTHERS[:1], start=World().start) == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("does not dial", "ours, connect: refused"),
        ("tells nothing", "an answer the contract does not know: KeyError('peers')"),
        ("loses 1024", " received [499, 499, 499"),
        ("counts duplicates", "counts {'duplicates': 1}"),
        ("fails to publish", " could not publish: no"),
        ("never answers", "not over after 60 s"),
    ],
)
async def test_a_fault_fails_a_mesh(autojump_clock: MockClock, fault: str, reason: str) -> None:
    cells = await run_meshes(OURS, OTHERS[:2], start=World(faults=frozenset({fault})).start)
    assert {cell.outcome for cell in cells} == {Outcome.FAILED}
    assert reason in cells[0].reason


def test_every_node_of_a_mesh_has_three_neighbours() -> None:
    pairs = neighbours(SIZE)
    assert [sum(number in pair for pair in pairs) for number in range(SIZE)] == [3] * SIZE
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
