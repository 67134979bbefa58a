"""open_host over real TCP: no socket outlives its block, and dials that fail say why."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from peerstack import open_host
from peerstack.stack.errors import DialError, InvalidAddress
from peerstack.stack.host import Host
from peerstack.stack.report import Outcome
from peerstack.stack.swarm import SwarmConfig

TCP = "/ip4/127.0.0.1/tcp/0"


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def nothing_is_left(host: Host) -> bool:
    limits = host.statistics().swarm.limits
    return limits["system"] == limits["transient"] == {} and host.connections() == host.swarm.listen_addresses == []


async def test_no_socket_outlives_the_block() -> None:
    # Warm up what opens files of its own.
    async with open_host(listen=[TCP]):
        pass
    before = open_files()
    async with open_host(listen=[TCP, TCP]) as bob, open_host() as alice:
        peer = await alice.connect(*bob.addresses)
        assert open_files() > before
    assert peer == bob.peer_id
    assert open_files() == before
    assert nothing_is_left(alice)
    assert nothing_is_left(bob)


def open_files() -> int:
    from pathlib import Path

    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("address", "error"),
    [("nonsense", InvalidAddress), ("/memory/7", InvalidAddress), ("/ip4/203.0.113.1/tcp/1", OSError)],
)
async def test_an_address_that_cannot_be_listened_on_leaves_nothing_open(address: str, error: type[Exception]) -> None:
    before, files = tasks(), open_files()
    with pytest.raises(error):
        async with open_host(listen=[TCP, address]):
            raise AssertionError("the block must not run")
    assert (tasks(), open_files()) == (before, files)


async def test_a_port_that_accepts_and_stays_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with open_host(swarm=SwarmConfig(negotiation_timeout=0.05)) as host:
            with pytest.raises(DialError, match=r"security negotiation: no answer within 0.05 s") as caught:
                await host.connect(f"/ip4/127.0.0.1/tcp/{port}")
    connect, negotiation = caught.value.report.attempts[0].stages
    assert connect.outcome is Outcome.OK
    assert negotiation.advice == "the port accepts but stays silent: is it a libp2p port?"


async def test_a_port_without_a_listener() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with open_host() as host:
        with pytest.raises(DialError, match="Connection refused") as caught:
            await host.connect(f"/ip4/127.0.0.1/tcp/{port}")
    stage = caught.value.report.attempts[0].failure
    assert stage is not None
    assert stage.advice == "nothing listens there: is the peer running, and is the address right?"
