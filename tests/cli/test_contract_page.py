"""docs/cli.md shows every event of the JSON form with exactly the fields it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from peerstack.cli import events, simulate_events
from peerstack.cli.app import _COMMANDS
from peerstack.cli.events import OutputEvent

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()


def shown() -> Iterator[dict[str, Any]]:
    for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        yield from map(json.loads, block.splitlines())


def kinds() -> Iterator[type[OutputEvent]]:
    for kind in (*vars(events).values(), simulate_events.Simulated):
        if isinstance(kind, type) and issubclass(kind, OutputEvent) and kind is not OutputEvent:
            yield kind


def keys(kind: type[OutputEvent]) -> tuple[str, ...]:
    if kind is events.Report:
        return ("event", "peer", "routings", "resolutions", "attempts", "notes")
    return ("event", *(field.metadata.get("json", field.name) for field in fields(kind)))


def test_the_page_shows_all_events_as_they_are() -> None:
    assert {(told["event"], tuple(told)) for told in shown()} == {(kind.event, keys(kind)) for kind in kinds()}


def test_the_page_names_every_command() -> None:
    assert [name for name in _COMMANDS if f"`peerstack {name}" not in PAGE] == []


def test_the_page_names_every_exit_code() -> None:
    codes = re.findall(r"^\| ([0-9, ]+) \|", PAGE, re.MULTILINE)
    assert codes == ["0", "1", "2", "130, 143", "141"]
