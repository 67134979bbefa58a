"""The examples run, and do what their first line says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_echo_comes_back_from_another_process() -> None:
    with subprocess.Popen([sys.executable, str(EXAMPLES / "echo.py")], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert run("echo.py", address, "hello", "world") == "hello world\n"
        finally:
            server.terminate()


def test_requests_are_answered_side_by_side() -> None:
    lines = run("request_response.py").splitlines()
    assert sorted(lines) == sorted(f"{number} {number * (number + 1) // 2}" for number in range(20))


def test_observers_see_the_life_of_a_connection() -> None:
    printed = run("observe.py")
    for event in ("ListenStarted", "ConnectionOpened", "PeerIdentified", "StreamOpened", "ConnectionClosed"):
        assert f"alice: {event}" in printed


class Broadcaster:
    """A process that broadcasts."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._rest = b""

    async def say(self, line: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{line}\n".encode())

    async def line(self) -> str:
        """Return the next line it prints."""
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            more = await self._process.stdout.receive_some()
            assert more, "it is gone"
            self._rest += more
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode()


@asynccontextmanager
async def open_broadcaster(*peers: str) -> AsyncIterator[tuple[Broadcaster, str]]:
    """Start a process that knows these peers; yield it and its address."""
    arguments = ["--listen", "/ip4/127.0.0.1/tcp/0", *(word for peer in peers for word in ("--peer", peer))]
    command = [sys.executable, str(EXAMPLES / "broadcast.py"), *arguments]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    try:
        broadcaster = Broadcaster(process)
        yield broadcaster, await broadcaster.line()
        await process.stdin.aclose()  # the end of its input is the end of it
        assert await process.wait() == 0
    finally:
        process.kill()


async def test_a_broadcast_is_heard_by_all_processes_near_and_far() -> None:
    with trio.fail_after(60):
        async with (
            open_broadcaster() as (anna, at_anna),
            open_broadcaster(at_anna) as (bert, at_bert),
            open_broadcaster(at_bert) as (carl, _),  # carl and anna have no connection
        ):
            speakers = (carl, anna, bert)  # anna knows no other before she has received something
            heard = set()
            for speaker in speakers:
                await speaker.say("hello \x1b[31mred")
                lines = [await listener.line() for listener in speakers if listener is not speaker]
                assert len(set(lines)) == 1
                assert lines[0].endswith(": hello [31mred")
                heard.add(lines[0])
            assert len(heard) == 3  # each has a name of its own


def test_all_ledgers_agree_on_what_a_cheat_is_worth() -> None:
    assert run("ledger.py").splitlines() == ["100 70 130 100"] * 3


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_is_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 150
