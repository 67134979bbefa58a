"""A host that is out of file descriptors says so, waits, and goes on; so says a dial."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.errors import DialError
from peerstack.stack.host import Host

if sys.platform != "linux":
    pytest.skip("looks into /proc", allow_module_level=True)

import resource

assert sys.platform == "linux"


class Heard(logging.Handler):
    """Sets an event at the first line of a logger."""

    def __init__(self) -> None:
        super().__init__()
        self.line = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.line.set()


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no further file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        while True:
            try:
                fillers.append(socket.socket())
            except OSError:
                break
        yield
    finally:
        for filler in fillers:
            filler.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def warm_up(victim: Host, friend: Host) -> None:
    """Let everything be imported that is imported at its first use."""
    await friend.connect(*victim.addresses)
    await friend.disconnect(victim.peer_id)
    with pytest.raises(DialError):
        await friend.connect("/ip4/127.0.0.1/tcp/1")


def port_of(host: Host) -> int:
    return int(host.swarm.listen_addresses[0].value_for_protocol("tcp") or 0)


async def test_without_files_it_waits_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    logger = logging.getLogger("peerstack.stack.net.sockets")
    logger.addHandler(heard)
    try:
        async with open_host(listen=["/ip4/127.0.0.1/tcp/0"]) as victim, open_host() as friend:
            await warm_up(victim, friend)
            with socket.socket() as client:
                with no_more_files():
                    client.connect(("127.0.0.1", port_of(victim)))
                    with trio.fail_after(10):
                        await heard.line.wait()
                    assert "Too many open files" in caplog.text
                assert await friend.connect(*victim.addresses) == victim.peer_id
    finally:
        logger.removeHandler(heard)


async def test_a_dial_without_files_says_that_it_is_ours() -> None:
    async with open_host(listen=["/ip4/127.0.0.1/tcp/0"]) as victim, open_host() as friend:
        await warm_up(victim, friend)
        with no_more_files(), pytest.raises(DialError, match="Too many open files") as caught:
            await friend.connect(Multiaddr(f"/ip4/127.0.0.1/tcp/{port_of(victim)}"))
        stage = caught.value.report.attempts[0].failure
        assert stage is not None
        assert stage.limit == "ours: open files, set by the operating system"
        assert await friend.connect(*victim.addresses) == victim.peer_id
