"""Lines from pipes, files and devices, on systems that watch them and on those that do not."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerstack.cli.standard_input import lines

SYSTEMS = pytest.mark.parametrize("system", ["linux", "darwin", "win32"])


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return both ends of a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


class Input:
    """A standard input with a number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number


async def read(number: int, system: str, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    monkeypatch.setattr(sys, "stdin", Input(number))
    monkeypatch.setattr(sys, "platform", system)
    return [line async for line in lines(100)]


@SYSTEMS
async def test_lines_of_a_pipe(system: str, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pipe
    os.write(writer, b"one\r\ntwo\nthree")
    os.close(writer)
    assert await read(reader, system, monkeypatch) == [b"one", b"two", b"three"]


@SYSTEMS
async def test_lines_of_a_file(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_bytes(b"one\ntwo\n")
    number = os.open(tmp_path / "text", os.O_RDONLY)
    assert await read(number, system, monkeypatch) == [b"one", b"two"]
    os.close(number)


@SYSTEMS
async def test_nothing_comes_from_the_null_device(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = os.open(os.devnull, os.O_RDONLY)
    assert await read(number, system, monkeypatch) == []
    os.close(number)
