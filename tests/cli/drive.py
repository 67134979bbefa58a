"""Runs the command in this process or in one of its own, and peers for it to talk to."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from queue import Queue
from typing import Any

import trio

from peerstack import Host, Identity, open_host
from peerstack.cli import main
from peerstack.protocols import perf

COMMAND = (sys.executable, "-m", "peerstack.cli")


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of its JSON form."""
        return [json.loads(text) for text in self.out.splitlines()]


class Screen(io.StringIO):
    """A terminal as far as programs can tell."""

    def isatty(self) -> bool:
        return True


def cli(*arguments: str, out: io.StringIO | None = None, err: io.StringIO | None = None) -> Ran:
    """Run the command in this process."""
    out, err = out or io.StringIO(), err or io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(arguments)
    return Ran(code, out.getvalue(), err.getvalue())


def process(*arguments: str, env: Mapping[str, str] | None = None) -> Ran:
    """Run the command in a process of its own, to its end."""
    ran = subprocess.run((*COMMAND, *arguments), capture_output=True, text=True, env=env, check=False)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@contextmanager
def listening(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run `listen --json` on a free port in a process of its own; yields it and its first event."""
    command = (*COMMAND, "listen", "--json", "--listen", "/ip4/127.0.0.1/tcp/0", *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as popen:
        assert popen.stdout is not None
        try:
            yield popen, json.loads(popen.stdout.readline())
        finally:
            popen.kill()


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Run a command that begins with `listening` in a process of its own; yields it and that event."""
    command = (*COMMAND, *arguments, "--json", "--listen", "/ip4/127.0.0.1/tcp/0")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as popen:
        assert popen.stdout is not None
        # A test that waits for an event that never comes reads the end instead.
        late = threading.Timer(60, popen.kill)
        late.start()
        try:
            yield popen, json.loads(popen.stdout.readline())
        finally:
            late.cancel()
            popen.kill()


def next_event(popen: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the next event of a process that was `started`."""
    assert popen.stdout is not None
    event: dict[str, Any] = json.loads(popen.stdout.readline())
    return event


@dataclass(frozen=True)
class Peer:
    """A host in a thread of its own."""

    address: str
    """Without its peer id."""
    peer_id: str

    @property
    def full_address(self) -> str:
        return f"{self.address}/p2p/{self.peer_id}"


def serve_perf(host: Host) -> None:
    """Let any peer measure."""
    host.handle(perf.PROTOCOL, partial(perf.serve, config=perf.PerfConfig()), max_streams_per_peer=1)


@contextmanager
def serving(
    configure: Callable[[Host], None] = serve_perf, *, agent: str = "tester", identity: Identity | None = None
) -> Iterator[Peer]:
    """Run a host in a thread for the time of the block."""
    ready: Queue[tuple[Peer, trio.lowlevel.TrioToken, trio.CancelScope]] = Queue()

    async def host_until_cancelled() -> None:
        with trio.CancelScope() as scope:
            async with open_host(listen=["/ip4/127.0.0.1/tcp/0"], agent=agent, identity=identity) as host:
                configure(host)
                peer = Peer(str(host.announced_addresses[0]), str(host.peer_id))
                ready.put((peer, trio.lowlevel.current_trio_token(), scope))
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(host_until_cancelled,))
    thread.start()
    peer, token, scope = ready.get(timeout=30)
    try:
        yield peer
    finally:
        trio.from_thread.run_sync(scope.cancel, trio_token=token)
        thread.join()


@contextmanager
def closed_port() -> Iterator[str]:
    """Yield an address where no process listens, and none can during the block."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"/ip4/127.0.0.1/tcp/{sock.getsockname()[1]}"
