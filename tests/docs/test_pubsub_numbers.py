"""The numbers in the tables about publish/subscribe are those of the code."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

from peerstack.protocols import pubsub

DOCS = Path(__file__).resolve().parents[2] / "docs"
_NAME = re.compile(r"`(\w+)\.(\w+)`")
_CONFIGS = {
    config.__name__: config()
    for config in (
        pubsub.GossipConfig,
        pubsub.PubsubConfig,
        pubsub.QueueConfig,
        pubsub.RpcLimits,
        pubsub.ScoreConfig,
    )
}


def rows() -> list[object]:
    """Return each row of a table that names settings, with the names."""
    found: list[object] = []
    for page in (DOCS / "pubsub.md", DOCS / "notes" / "pubsub.md"):
        for line in page.read_text().splitlines():
            names = [
                name for name in _NAME.findall(line) if name[0] in _CONFIGS or (name[0].islower() and name[1].isupper())
            ]
            if line.startswith("|") and names:
                found.append(pytest.param(line, names, id=f"{page.parent.name}-{names[0][1]}"))
    return found


def _is_constant(owner: str, name: str) -> bool:
    return owner.islower() and name.isupper()


def value_of(owner: str, name: str) -> int:
    return int(getattr(_CONFIGS.get(owner) or _module(owner), name))


def _module(name: str) -> ModuleType:
    (found,) = (
        info.name
        for info in pkgutil.walk_packages(pubsub.__path__, f"{pubsub.__name__}.")
        if info.name.endswith(f".{name}") and not info.ispkg and (name != "config" or ".router." in info.name)
    )
    return importlib.import_module(found)


def spellings(value: int) -> list[str]:
    """Return how a number may be written."""
    return [f"{value}", f"{value:,}".replace(",", " "), f"{value / 1024:g} KiB", f"{value / 1024**2:g} MiB"]


@pytest.mark.parametrize(("line", "names"), rows())
def test_a_table_tells_the_defaults(line: str, names: list[tuple[str, str]]) -> None:
    for owner, name in names:
        accepted = "|".join(re.escape(text) for text in spellings(value_of(owner, name)))
        assert re.search(rf"(?<![\d.])({accepted})(?![\d.])", line), f"{owner}.{name} is {value_of(owner, name)}"


def test_there_are_tables() -> None:
    assert len(rows()) > 20
