"""The table of transports in the README: what it says of a run, and where it is written."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from interop.layers import PLAIN, Layers, all_layers
from interop.matrix import Cell, Direction, Outcome, Place
from interop.readme_table import BEGIN, END, NoPlace, to_table, write_table
from interop.report import Report
from interop.run import main

README = Path(__file__).resolve().parents[2] / "README.md"
WSS = Layers(transport="wss", security="tls")
BOTH = tuple(Direction)


def cells(
    peer: str,
    directions: tuple[Direction, ...] = BOTH,
    layers: Layers = PLAIN,
    key_type: str = "ed25519",
    but: Mapping[str, Outcome] | None = None,
) -> list[Cell]:
    rows = {"connect": Outcome.OK, "half-close": Outcome.OK, **(but or {})}
    return [
        Cell(
            place=Place(peer=peer, direction=direction, key_type=key_type, row=row, layers=layers),
            outcome=outcome,
            seconds=0.1,
        )
        for direction in directions
        for row, outcome in rows.items()
    ]


def table(*found: list[Cell], versions: Mapping[str, str] | None = None) -> list[list[str]]:
    report = Report(
        ours="peerstack",
        machine="m",
        seconds=1.0,
        cells=[cell for each in found for cell in each],
        versions=versions or {},
    )
    lines = to_table(report).splitlines()
    assert all(line.count("|") == 6 for line in lines)
    return [[word.strip() for word in line.strip("|").split("|")] for line in lines]


def row(layers: Layers, *found: list[Cell]) -> list[str]:
    (line,) = [line[1:] for line in table(*found) if line[0] == str(layers)]
    return line


def test_each_transport_with_its_security_has_a_line_and_each_implementation_a_column() -> None:
    head, rule, *lines = table(versions={"go": "go-libp2p v1", "js": "js-libp2p 2"})
    assert head == ["", "go-libp2p v1", "rust", "js-libp2p 2", "py"]
    assert rule == ["---"] * 5
    assert [line[0] for line in lines] == [str(PLAIN), *map(str, all_layers())]


def test_both_one_and_no_direction_are_told_apart() -> None:
    found = cells("go"), cells("rust", (Direction.OURS_DIALS,)), cells("js", but={"connect": Outcome.IMPOSSIBLE})
    assert row(PLAIN, *found) == ["both directions", "ours dials theirs only", "not", "not tried"]


def test_what_is_impossible_is_counted_out() -> None:
    found = cells("go"), cells("py", but={"half-close": Outcome.IMPOSSIBLE})
    assert row(PLAIN, *found) == ["both directions", "not tried", "not tried", "both directions, 2 of 4 checks"]


def test_a_failure_is_shown_whatever_else_went_well() -> None:
    assert row(WSS, cells("js", layers=WSS, but={"half-close": Outcome.FAILED}))[2] == "**failed**"


def test_lines_do_not_borrow_from_other_transports_keys_or_suites() -> None:
    other_layers = cells("js", layers=WSS, but={"connect": Outcome.FAILED})
    other_key = cells("go", key_type="rsa", but={"connect": Outcome.FAILED})
    other_suite = cells("rust", but={"publish 500": Outcome.FAILED})
    found = [*cells("js"), *other_layers], [*cells("go"), *other_key], [*cells("rust"), *other_suite]
    assert row(PLAIN, *found) == ["both directions", "both directions", "both directions", "not tried"]


def test_only_what_is_between_the_comments_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n\n{BEGIN}\nold\n{END}\n\nbelow\n")
    report = Report(ours="peerstack", machine="m", seconds=1.0, cells=cells("go"))
    write_table(page, report)
    once = page.read_text()
    assert once == f"above\n\n{BEGIN}\n\n{to_table(report)}\n{END}\n\nbelow\n"
    write_table(page, report)
    assert page.read_text() == once


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_page_without_a_place_for_it_is_left_alone(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(NoPlace, match=r"page\.md"):
        write_table(page, Report(ours="peerstack", machine="m", seconds=1.0, cells=[]))
    assert page.read_text() == text


@pytest.mark.parametrize("words", [["--suites", "transports"], ["--key-types", "rsa"]])
def test_a_run_that_leaves_out_what_the_table_tells_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main([*words, "--readme", "README.md"])
    assert refused.value.code == 2


def test_the_readme_has_the_table_of_a_run_without_failures_between_the_comments() -> None:
    text = README.read_text()
    between = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    lines = [line for line in between.splitlines() if line]
    assert [line.split("|")[1].strip() for line in lines[2:]] == [str(PLAIN), *map(str, all_layers())]
    assert "**failed**" not in between
    assert lines[2].count("both directions |") == 4
