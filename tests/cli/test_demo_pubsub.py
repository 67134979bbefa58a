"""The demo of publish/subscribe counts honestly, and leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peerstack.cli import demo_processes, events
from peerstack.cli.demo_pubsub import INCOMPLETE, KILLED, LINKS, NAMES, SUCCESSOR, Tally, verdict
from peerstack.cli.demo_worker import Counts
from peerstack.cli.render import describe
from peerstack.cli.shapes import plain_lines

from .drive import COMMAND, cli

DEMO = ("demo", "pubsub", "--messages", "5", "--json")


def in_session(number: int) -> list[int]:
    """Return the processes that were started in a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[3]) == number:
            found.append(int(stat.parent.name))
    return found


def test_every_message_reaches_every_process_although_one_is_killed() -> None:
    ran = cli(*DEMO)
    assert (ran.code, ran.err) == (0, "")
    kinds = [event["event"] for event in ran.events]
    assert kinds == ["step", "step", "round", "step", "round", "step", "round", "step", "deliveries", "verdict"]
    rounds = [event for event in ran.events if event["event"] == "round"]
    assert [(event["publishers"], event["delivered"], event["expected"]) for event in rounds] == [
        (5, 100, 100),
        (4, 60, 60),
        (5, 100, 100),
    ]
    *_, deliveries, last = ran.events
    assert last == {"event": "verdict", "complete": True, "missing": 0, "duplicates": 0}
    cells = {(cell["publisher"], cell["receiver"]): cell for cell in deliveries["cells"]}
    names = {*NAMES, SUCCESSOR}
    assert set(cells) == {(one, other) for one in names for other in names if one != other}
    for (publisher, receiver), cell in cells.items():
        both = {publisher, receiver}
        rounds_of_both = 0 if both == {KILLED, SUCCESSOR} else 1 if both & {KILLED, SUCCESSOR} else 3
        assert (cell["delivered"], cell["expected"], cell["duplicates"]) == (5 * rounds_of_both, 5 * rounds_of_both, 0)
        assert cell["alive"] == (receiver != KILLED)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_behind(number: int) -> None:
    if sys.platform == "win32":
        return
    pipe = subprocess.PIPE
    with subprocess.Popen((*COMMAND, *DEMO), stdout=pipe, stderr=pipe, text=True, start_new_session=True) as demo:
        assert demo.stdout is not None
        while json.loads(demo.stdout.readline())["event"] != "round":
            pass
        assert len(in_session(demo.pid)) > len(NAMES) - 1
        # As Ctrl-C does, which reaches all processes at the terminal.
        os.killpg(demo.pid, number) if number == signal.SIGINT else demo.send_signal(number)
        _, complaints = demo.communicate(timeout=30)
        assert (demo.returncode, complaints) == (128 + number, "")
        assert in_session(demo.pid) == []


def test_a_process_that_cannot_work_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_processes, "_WORKER", (sys.executable, "-c", "pass"))
    ran = cli(*DEMO)
    assert ran.code == 2
    assert ran.err.startswith(f"peerstack: the process of {NAMES[0]} ended by itself")
    assert ran.err.count("\n") == 1


def test_the_exit_code_tells_of_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget_one(members: Any, **command: Any) -> dict[str, Any]:
        answers = await ask_all(members, **command)
        if command["do"] == "report":
            authors = answers[NAMES[1]]["authors"][NAMES[0]]
            authors["delivered"]["1"] -= 1
        return answers

    ask_all = demo_processes.ask_all
    monkeypatch.setattr("peerstack.cli.demo_pubsub.ask_all", forget_one)
    ran = cli(*DEMO)
    assert ran.code == INCOMPLETE
    assert ran.events[-1] == {"event": "verdict", "complete": False, "missing": 1, "duplicates": 0}


# ---- counting


def tally(**delivered: int) -> Tally:
    """Return the tally of one round of two, with what each has got of the other."""
    other = {"a": "b", "b": "a"}
    reports = {
        name: {other[name]: {"delivered": {"1": count}, "duplicates": max(0, count - 10)}}
        for name, count in delivered.items()
    }
    return Tally(10, rounds={1: ("a", "b")}, reports=reports, alive=("a", "b"))


def test_a_round_is_counted_by_what_came() -> None:
    one = tally(a=10, b=7)
    assert (one.delivered(1), one.expected(1)) == (17, 20)
    assert verdict(one.cells()) == events.Verdict(complete=False, missing=3, duplicates=0)


def test_killed_processes_do_not_count() -> None:
    one = tally(a=10, b=7)
    one.alive = ("a",)
    assert verdict(one.cells()) == events.Verdict(complete=True, missing=0, duplicates=0)


def test_a_process_that_got_nothing_misses_everything() -> None:
    one = tally(a=10, b=0)
    one.reports["b"] = {}
    assert verdict(one.cells()).missing == 10


def test_a_message_that_comes_twice_is_a_duplicate_and_counts_once() -> None:
    counts = Counts()
    for data in (b"a 1 0", b"a 1 1", b"a 1 0", b"a 2 0", b"b 1 0"):
        counts.add(data)
    assert counts.report() == {
        "a": {"delivered": {"1": 2, "2": 1}, "duplicates": 1},
        "b": {"delivered": {"1": 1}, "duplicates": 0},
    }
    cells = Tally(2, rounds={1: ("a", "b")}, reports={"a": {}, "b": counts.report()}, alive=("b",)).cells()
    assert verdict(cells) == events.Verdict(complete=False, missing=0, duplicates=1)


def test_the_ring_survives_the_death_of_one() -> None:
    left = [link for link in LINKS if KILLED not in link]
    reached = {left[0][0]}
    for _ in NAMES:
        reached |= {name for link in left if reached & set(link) for name in link}
    assert reached == set(NAMES) - {KILLED}
    assert len(LINKS) < len(NAMES) * (len(NAMES) - 1) / 2


def test_people_see_a_row_for_each_publisher() -> None:
    cells = (
        events.Cell("a", "b", 10, 10, 0, alive=True),
        events.Cell("a", "c", 7, 10, 1, alive=True),
        events.Cell("b", "a", 0, 0, 0, alive=True),
        events.Cell("b", "c", 3, 10, 0, alive=False),
    )
    shown = [text for shape in describe(events.Deliveries(cells)) for text in plain_lines(shape)]
    assert [text.split() for text in shown] == [
        ["from", "/", "to", "a", "b", "c"],
        ["a", "-", "10/10", "7/10", "+1"],
        ["b", "-", "-", "3/10"],
    ]
