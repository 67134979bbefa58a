"""Every row of the matrix can fail, and the known limits turn the right failures into impossible cells."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from interop.matrix import KNOWN_LIMITS, ROWS, Cell, Direction, Limit, Outcome, Place, Program, run_pair, to_cell

FAKE = str(Path(__file__).with_name("fake_peer.py"))
PLACE = Place(peer="py", direction=Direction.OURS_DIALS, key_type="rsa", row="connect")
LIMIT = Limit(peer="py", key_type="rsa", reason="it cannot")

WRONG_ANSWERS: dict[str, dict[str, dict[str, Any]]] = {
    "connect": {"connect": {"peer_id": "QmOther"}},
    "identify: ours reads theirs": {"identify": {"agent": "other/1"}},
    "identify: theirs reads ours": {"identify": {"agent": "other/1"}},
    "signed record: ours verifies theirs": {"identify": {"signed_record": False}},
    "signed record: theirs verifies ours": {"identify": {"signed_record": False}},
    "ping 10": {"ping": {"rtt_us": [1.0] * 9}},
    "echo 8 MiB": {"echo": {"sha256_received": "00"}},
    "100 streams at once": {"streams": {"completed": 99}},
    "half-close": {"digest": {"sha256_remote": ""}},
    "reset seen as reset": {"reset": {"outcome": "eof"}},
    "wrong peer id refused": {"connect": {"ok": True, "peer_id": "Qmours"}},
}
IDENTIFY_COMPLAINTS: list[tuple[dict[str, Any], str]] = [
    ({"agent": "other/1"}, "agent 'other/1' does not name ours"),
    ({"protocols": ["/ipfs/id/1.0.0"]}, "protocols lack /interop/digest/1.0.0"),
    ({"listen_addresses": ["/ip4/10.0.0.1/tcp/1"]}, "listen addresses"),
    ({"observed_address": "/ip4/10.0.0.1/tcp/1"}, "observed address /ip4/10.0.0.1/tcp/1 is not where theirs is"),
]


def program(name: str, *arguments: str, **faults: dict[str, Any]) -> Program:
    argv = [sys.executable, FAKE, "--name", name, "--faults", json.dumps(faults), *arguments]
    return Program(name=name, argv=argv)


async def run_cells(theirs: Program, *limits: Limit) -> dict[str, Cell]:
    cells, _ = await run_pair(program("ours"), theirs, ["ed25519"], limits=limits)
    return {cell.place.row: cell for cell in cells if cell.place.direction is Direction.THEIRS_DIALS}


@pytest.mark.trio
async def test_well_behaved_pair_fills_every_cell() -> None:
    cells, versions = await run_pair(program("ours"), program("theirs"), ["ed25519", "rsa"])
    assert [cell for cell in cells if cell.outcome is not Outcome.OK] == []
    assert len(cells) == len(ROWS) * 2 * 2
    assert versions == {"ours": "ours v1", "theirs": "theirs v1"}


def test_every_row_has_a_wrong_answer() -> None:
    assert WRONG_ANSWERS.keys() == ROWS.keys()


@pytest.mark.trio
@pytest.mark.parametrize("row", ROWS)
async def test_a_wrong_answer_fails_its_row(row: str) -> None:
    if ": ours " in row:
        ours, theirs = program("ours", **WRONG_ANSWERS[row]), program("theirs")
    else:
        ours, theirs = program("ours"), program("theirs", **WRONG_ANSWERS[row])
    cells, _ = await run_pair(ours, theirs, ["ed25519"], limits=())
    failed = {c.place.row for c in cells if c.outcome is Outcome.FAILED and c.place.direction is Direction.THEIRS_DIALS}
    assert row in failed
    assert failed == {row} or row == "connect"


@pytest.mark.trio
@pytest.mark.parametrize(("answer", "complaint"), IDENTIFY_COMPLAINTS)
async def test_each_part_of_identify_is_checked(answer: dict[str, Any], complaint: str) -> None:
    cell = (await run_cells(program("theirs", identify=answer)))["identify: theirs reads ours"]
    assert cell.outcome is Outcome.FAILED
    assert complaint in cell.reason


@pytest.mark.trio
async def test_without_a_connection_every_later_row_fails() -> None:
    cells = await run_cells(program("theirs", connect={"ok": False, "error": "refused"}))
    assert cells["connect"].reason == "theirs, connect: refused"
    assert {cell.reason for row, cell in cells.items() if row != "connect"} == {"no connection"}


@pytest.mark.trio
async def test_an_answer_without_its_fields_fails_and_the_run_goes_on() -> None:
    cells = await run_cells(program("theirs", ping={"rtt_us": None}))
    assert "an answer the contract does not know" in cells["ping 10"].reason
    assert cells["echo 8 MiB"].outcome is Outcome.OK


@pytest.mark.trio
async def test_unsupported_key_type_is_impossible_only_if_known() -> None:
    theirs = program("theirs", "--unsupported", "ed25519")
    known = await run_cells(theirs, Limit(peer="theirs", key_type="ed25519", reason="it has no such keys"))
    assert {(cell.outcome, cell.reason) for cell in known.values()} == {(Outcome.IMPOSSIBLE, "it has no such keys")}
    unknown = await run_cells(theirs)
    assert {cell.outcome for cell in unknown.values()} == {Outcome.FAILED}
    assert "none here" in unknown["connect"].reason


@pytest.mark.trio
async def test_a_program_that_does_not_start_fails_whatever_the_limits_say() -> None:
    theirs = Program(name="theirs", argv=["/nonexistent/peer"])
    cells = await run_cells(theirs, Limit(peer="theirs", reason="it cannot"))
    assert {cell.outcome for cell in cells.values()} == {Outcome.FAILED}


def test_a_known_limit_makes_a_failure_impossible() -> None:
    cell = to_cell(PLACE, "refused", 1.0, [LIMIT])
    assert (cell.outcome, cell.reason) == (Outcome.IMPOSSIBLE, "it cannot")


def test_a_known_limit_that_no_longer_holds_fails() -> None:
    cell = to_cell(PLACE, "", 1.0, [LIMIT])
    assert cell.outcome is Outcome.FAILED
    assert cell.reason == "works, so this known limit is out of date: it cannot"


@pytest.mark.parametrize(
    "other",
    [
        Limit(peer="go", reason="-"),
        Limit(peer="py", key_type="ecdsa", reason="-"),
        Limit(peer="py", row="ping 10", reason="-"),
        Limit(peer="py", direction=Direction.THEIRS_DIALS, reason="-"),
    ],
)
def test_a_limit_covers_only_its_own_cells(other: Limit) -> None:
    assert to_cell(PLACE, "refused", 1.0, [other]).outcome is Outcome.FAILED
    assert to_cell(PLACE, "", 1.0, [other]).outcome is Outcome.OK


def test_known_limits_name_rows_that_exist_and_give_a_reason_in_one_line() -> None:
    for limit in KNOWN_LIMITS:
        assert limit.row is None or limit.row in ROWS
        assert limit.reason
        assert "\n" not in limit.reason
