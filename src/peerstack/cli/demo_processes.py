"""The processes of `peerstack demo pubsub`, from its side: starts, commands and kills them, and leaves none behind."""

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
_own_group: dict[str, Any] = {}
"""Ctrl-C reaches the process group of the terminal. A worker has its own, and ends when the demo closes its pipes."""
if sys.platform == "win32":
    _own_group["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
else:
    _own_group["process_group"] = 0


class Worker:
    """One process of the demo (demo_worker.py)."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.address = ""
        """Where it listens, once it has said so."""
        self.alive = True
        self._process = process
        self._held = b""

    @property
    def pid(self) -> int:
        """The process id."""
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
        """End the process as `kill -9` does: its connections are not closed."""
        self.alive = False
        self._process.kill()
        await self._process.wait()

    def _gone(self) -> CommandError:
        return CommandError(f"the process of {self.name} ended by itself (pid {self.pid}); this is a bug of the demo")


class WorkerPool:
    """All workers, in the order they were started."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []

    @property
    def alive(self) -> list[Worker]:
        """The workers that were not killed."""
        return [worker for worker in self.workers if worker.alive]

    async def start(self, *names: str) -> None:
        """Start workers and wait until each listens. Raises CommandError, OSError."""
        started: list[Worker] = []
        for name in names:
            process = await trio.lowlevel.open_process(
                [*_WORKER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **_own_group
            )
            started.append(Worker(name, process))
            self.workers.append(started[-1])
        for worker in started:
            worker.address = (await worker.answer())["address"]


@asynccontextmanager
async def open_worker_pool() -> AsyncIterator[WorkerPool]:
    """Yield a pool; its processes end with the block, however it is left."""
    pool = WorkerPool()
    try:
        yield pool
    finally:
        with trio.CancelScope(shield=True):
            for worker in pool.alive:
                await worker.kill()


async def ask_all(workers: Iterable[Worker], **command: Any) -> dict[str, dict[str, Any]]:
    """Ask several at the same time and return the answers by name. Raises CommandError for the first that is gone."""
    answers: dict[str, dict[str, Any]] = {}
    failures: list[CommandError] = []

    async def ask(worker: Worker) -> None:
        try:
            answers[worker.name] = await worker.ask(**command)
        except CommandError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(ask, worker)
    if failures:
        raise failures[0]
    return answers
