"""What people and programs are shown of a run."""

import json
from dataclasses import replace

from interop.layers import Layers
from interop.matrix import Cell, Direction, Outcome, Place
from interop.report import Report, to_json, to_markdown


def cell(row: str, key_type: str, outcome: Outcome, reason: str = "") -> Cell:
    place = Place(peer="go", direction=Direction.OURS_DIALS, key_type=key_type, row=row)
    return Cell(place=place, outcome=outcome, seconds=0.0123, reason=reason)


REPORT = Report(
    ours="peerstack",
    machine="2 x x86_64, Linux, Python 3.11.7",
    seconds=4.2,
    cells=[
        cell("connect", "ed25519", Outcome.OK),
        cell("echo 8 MiB", "ed25519", Outcome.FAILED, "go, echo: stream reset\n    a log line"),
        cell("connect", "rsa", Outcome.IMPOSSIBLE, "no such keys"),
        cell("echo 8 MiB", "rsa", Outcome.IMPOSSIBLE, "no such keys"),
        cell("publish 500", "ed25519", Outcome.OK),
    ],
    versions={"go": "go-libp2p v0.51.0", "peerstack": "peerstack v0.1.0"},
    left_out={"rust": "cargo cannot be run: No such file or directory"},
)

MARKDOWN = """\
# Interop matrix

2 ok, 1 failed, 2 impossible; 4 s on 2 x x86_64, Linux, Python 3.11.7.

- go: go-libp2p v0.51.0
- peerstack: peerstack v0.1.0
- rust: left out, cargo cannot be run: No such file or directory

## go: ours dials theirs

| | ed25519 | rsa |
|---|---|---|
| connect | ok, 12 ms | impossible |
| echo 8 MiB | **FAILED** | impossible |
| publish 500 | ok, 12 ms |  |

## Failed

- go, echo 8 MiB (ours dials theirs, ed25519): go, echo: stream reset<br>    a log line

## Impossible

- go, connect (ours dials theirs, rsa) and 1 more: no such keys
"""


def test_markdown() -> None:
    assert to_markdown(REPORT) == MARKDOWN


def test_json_has_every_cell_with_its_place() -> None:
    read = json.loads(to_json(REPORT))
    assert read["totals"] == {"ok": 2, "failed": 1, "impossible": 2}
    assert read["versions"]["go"] == "go-libp2p v0.51.0"
    assert read["left_out"] == {"rust": "cargo cannot be run: No such file or directory"}
    assert read["cells"][1] == {
        "peer": "go",
        "direction": "ours dials theirs",
        "key_type": "ed25519",
        "row": "echo 8 MiB",
        "layers": "tcp, noise, yamux",
        "outcome": "failed",
        "seconds": 0.0123,
        "reason": "go, echo: stream reset\n    a log line",
    }


def test_without_failures_there_is_no_heading_for_them() -> None:
    clean = Report(ours="peerstack", machine="m", seconds=1.0, cells=[cell("connect", "rsa", Outcome.OK)])
    assert "Failed" not in to_markdown(clean)
    assert clean.summary() == "1 ok, 0 failed, 0 impossible"


def test_other_transports_have_a_table_of_their_own_with_a_line_for_each() -> None:
    plain = cell("connect", "ed25519", Outcome.OK)
    secure = Layers(transport="wss", security="tls", muxer="yamux")
    layered = replace(plain, place=replace(plain.place, layers=secure), outcome=Outcome.FAILED, reason="refused")
    shown = to_markdown(Report(ours="peerstack", machine="m", seconds=1.0, cells=[plain, layered]))
    assert (
        """## go over other transports: ours dials theirs

| | connect |
|---|---|
| wss, tls, yamux | **FAILED** |
"""
        in shown
    )
    assert "- go, connect (ours dials theirs, wss, tls, yamux): refused" in shown
