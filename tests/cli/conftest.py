"""Peers to talk to, and an environment that does not depend on who runs the tests."""

from collections.abc import Iterator

import pytest

from .drive import Peer, serving


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    """A peer that serves identify, ping and perf."""
    with serving() as found:
        yield found
