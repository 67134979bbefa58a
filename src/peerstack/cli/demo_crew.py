"""The processes of `peerstack demo pubsub`, as the demo sees them: started, asked, killed, and never left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio

from .failure import CommandError

_WORKER = (sys.executable, "-m", "peerstack.cli.demo_worker")
_apart: dict[str, Any] = {}
"""Ctrl-C reaches all of a terminal's group: these are out of it, and end with the demo, which closes their pipes."""
if sys.platform == "win32":
    _apart["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
else:
    _apart["process_group"] = 0


class Member:
    """A process that takes part."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.address = ""
        """Where it listens, once it has said so."""
        self.alive = True
        self._process = process
        self._held = b""

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and return the answer. Raises CommandError if the process is gone."""
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(json.dumps(command).encode() + b"\n")
            return await self.answer()
        except trio.BrokenResourceError:
            raise self._gone() from None

    async def answer(self) -> dict[str, Any]:
        """Return the next answer. Raises CommandError if the process is gone."""
        assert self._process.stdout is not None
        while b"\n" not in self._held:
            more = await self._process.stdout.receive_some()
            if not more:
                raise self._gone()
            self._held += more
        line, _, self._held = self._held.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    async def kill(self) -> None:
        """End the process as `kill -9` does: it can say goodbye to nobody."""
        self.alive = False
        self._process.kill()
        await self._process.wait()

    def _gone(self) -> CommandError:
        return CommandError(
            f"the process of {self.name} ended by itself (number {self.pid}); this is a bug of the demo"
        )


class Crew:
    """All processes that were started, in order."""

    def __init__(self) -> None:
        self.members: list[Member] = []

    @property
    def alive(self) -> list[Member]:
        """Those that were not killed."""
        return [member for member in self.members if member.alive]

    async def start(self, *names: str) -> None:
        """Start processes, and wait until each listens. Raises CommandError, OSError."""
        started: list[Member] = []
        for name in names:
            process = await trio.lowlevel.open_process(
                [*_WORKER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **_apart
            )
            started.append(Member(name, process))
            self.members.append(started[-1])
        for member in started:
            member.address = (await member.answer())["address"]


@asynccontextmanager
async def open_crew() -> AsyncIterator[Crew]:
    """Yield a crew; its processes end with the block, however it is left."""
    crew = Crew()
    try:
        yield crew
    finally:
        with trio.CancelScope(shield=True):
            for member in crew.alive:
                await member.kill()


async def ask_all(members: Iterable[Member], **command: Any) -> dict[str, dict[str, Any]]:
    """Ask several at the same time and return the answers by name. Raises CommandError for the first that is gone."""
    answers: dict[str, dict[str, Any]] = {}
    failures: list[CommandError] = []

    async def ask(member: Member) -> None:
        try:
            answers[member.name] = await member.ask(**command)
        except CommandError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(ask, member)
    if failures:
        raise failures[0]
    return answers
