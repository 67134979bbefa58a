"""Each misbehaviour costs the peer its connection or stream, in a stated time, and leaves a line that says why."""

from __future__ import annotations

import gc
import logging
import re
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.abc import Stream
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, InboundRefused
from peerstack.stack.host import Host
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.swarm.streams import LINES_AT_ONCE
from peerstack.stack.testing import RecordingObserver
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

from .attacks import ATTACKS, Attack, Cost

Clock = trio.testing.MockClock
ECHO = "/echo/1"
HERE = Multiaddr("/memory/7")


async def echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def never_read(stream: Stream) -> None:
    await trio.sleep_forever()


class Battlefield:
    """A host under attack, an honest peer that is connected all the while, and what was heard."""

    def __init__(self, network: MemoryNetwork, victim: Host, honest: Host, observer: RecordingObserver) -> None:
        self.network = network
        self.victim = victim
        self.honest = honest
        self.observer = observer
        self._calm = self.in_use()

    def in_use(self) -> dict[str, dict[str, int]]:
        limits = self.victim.statistics().swarm.limits
        return {name: limits[name] for name in ("system", "transient", "receive windows")}

    @property
    def calm(self) -> bool:
        """Whether nothing is reserved but for the honest peer."""
        return self.in_use() == self._calm

    async def honest_exchange(self) -> None:
        """Talk to the host over the connection there is, and over a new one."""
        async with open_host(transports=[MemoryTransport(self.network)]) as newcomer:
            for host in (self.honest, newcomer):
                await host.connect(*self.victim.addresses)
                async with await host.open_stream(self.victim.peer_id, ECHO) as stream:
                    await stream.send_all(b"hello")
                    assert await stream.receive_some() == b"hello"
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def battlefield() -> AsyncIterator[Battlefield]:
    network, observer = MemoryNetwork(), RecordingObserver()
    async with open_host(
        listen=[HERE],
        transports=[MemoryTransport(network)],
        observers=[observer],
        swarm=SwarmConfig(raise_handler_errors=True),
    ) as victim:
        victim.handle(ECHO, echo)
        victim.handle("/sink/1", never_read)
        async with open_host(transports=[MemoryTransport(network)]) as honest:
            await honest.connect(*victim.addresses)
            await trio.testing.wait_all_tasks_blocked()
            observer.events.clear()
            yield Battlefield(network, victim, honest, observer)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the swarm had to say; identify, which every peer is asked, has its own line."""
    records = [record for record in caplog.records if record.name.startswith("peerstack.stack.swarm")]
    assert all(record.levelno == logging.DEBUG for record in records)
    return [record.getMessage() for record in records]


def of(*costs: Cost) -> pytest.MarkDecorator:
    chosen = [attack for attack in ATTACKS if attack.cost in costs]
    return pytest.mark.parametrize("attack", chosen, ids=lambda attack: attack.name)


@of(Cost.HANDSHAKE)
async def test_it_costs_the_connection_before_it_is_one(
    attack: Attack, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "peerstack")
    async with battlefield() as field, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(attack.run, field.network.connect(HERE).stream)
        event = await field.observer.wait_for(InboundRefused)
        assert trio.current_time() - began <= attack.within
        assert re.search(attack.says, event.reason), event.reason
        await trio.testing.wait_all_tasks_blocked()
        assert field.calm
        assert lines(caplog) == [f"connection from {event.remote_address} refused: {event.reason}"]
        assert field.observer.of(ConnectionOpened) == []
        await field.honest_exchange()
        nursery.cancel_scope.cancel()


@of(Cost.CONNECTION)
async def test_it_costs_the_connection(attack: Attack, autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "peerstack")
    async with battlefield() as field, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(attack.run, field.network.connect(HERE).stream)
        event = await field.observer.wait_for(ConnectionClosed)
        assert trio.current_time() - began <= attack.within
        assert event.reason is not None
        assert re.search(attack.says, event.reason), event.reason
        await trio.sleep(SwarmConfig().handler_grace)
        await trio.testing.wait_all_tasks_blocked()
        assert field.calm
        about_the_connection = [line for line in lines(caplog) if line.startswith("connection ")]
        assert about_the_connection == [f"connection to {event.info.remote_peer} lost: {event.reason}"]
        assert len(lines(caplog)) <= 1 + LINES_AT_ONCE  # what became of its streams
        await field.honest_exchange()
        nursery.cancel_scope.cancel()


@of(Cost.STREAM)
async def test_it_costs_the_stream(attack: Attack, autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "peerstack")
    async with battlefield() as field, trio.open_nursery() as nursery:
        nursery.start_soon(attack.run, field.network.connect(HERE).stream)
        opened = await field.observer.wait_for(ConnectionOpened)
        began = trio.current_time()
        while not any(re.search(attack.says, line) for line in lines(caplog)):
            assert trio.current_time() - began <= attack.within
            await trio.testing.wait_all_tasks_blocked()
            if not any(re.search(attack.says, line) for line in lines(caplog)):
                await trio.sleep(1)
        line, *_ = lines(caplog)
        assert len(lines(caplog)) <= LINES_AT_ONCE
        assert str(opened.info.remote_peer) in line
        assert field.observer.of(ConnectionClosed) == []
        await field.honest_exchange()
        await field.victim.disconnect(opened.info.remote_peer)
        await trio.sleep(SwarmConfig().handler_grace)
        await trio.testing.wait_all_tasks_blocked()
        assert field.calm
        nursery.cancel_scope.cancel()


LIES = [attack for attack in ATTACKS if "lies" in attack.name or "megabyte" in attack.name or "beyond" in attack.name]


@pytest.mark.parametrize("attack", LIES, ids=lambda attack: attack.name)
async def test_nothing_is_allocated_for_a_lie(attack: Attack, autojump_clock: Clock) -> None:
    async with battlefield() as field:
        tracemalloc.start()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(attack.run, field.network.connect(HERE).stream)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 * 2**20


class CountTasks(trio.abc.Instrument):
    """Counts the tasks that are started, and how many live at once."""

    def __init__(self) -> None:
        self.started = self.living = self.most_at_once = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.started += 1
        self.living += 1
        self.most_at_once = max(self.most_at_once, self.living)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self.living -= 1


FLOODS = {
    "pings_in_a_flood": 0,
    "pings_and_never_reads": 0,
    "sends_empty_data_in_a_flood": 1,
    "opens_streams_in_a_flood": 256,  # the backlog of streams not yet accepted
    "opens_and_resets_streams_in_a_flood": 256,
    "holds_streams_open_in_a_flood": 512,
}
"""With the streams that each of them may have open at once."""


@pytest.mark.parametrize("name", FLOODS)
async def test_floods_start_few_tasks(name: str, autojump_clock: Clock) -> None:
    attack = next(attack for attack in ATTACKS if attack.name == name)
    async with battlefield() as field:
        counted = CountTasks()
        trio.lowlevel.add_instrument(counted)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(attack.run, field.network.connect(HERE).stream)
                with trio.move_on_after(15):
                    await field.observer.wait_for(ConnectionClosed)
                nursery.cancel_scope.cancel()
        finally:
            trio.lowlevel.remove_instrument(counted)
        assert 0 < counted.most_at_once <= FLOODS[name] + 25
        assert counted.started <= 2 * FLOODS[name] + 50


async def test_a_thousand_that_come_and_go_leave_no_trace(autojump_clock: Clock) -> None:
    """What is kept by peer or by address must not grow."""
    by_name = {attack.name: attack.run for attack in ATTACKS}
    async with battlefield() as field:
        for name, count in (("hangs_up_at_once", 900), ("hangs_up_without_go_away", 100)):
            for _ in range(count // 50):
                async with trio.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(by_name[name], field.network.connect(HERE).stream)
                await trio.sleep(SwarmConfig().handler_grace)
        assert len(field.observer.of(InboundRefused)) == 900
        assert len(field.observer.of(ConnectionClosed)) == 100
        field.observer.events.clear()
        assert field.calm
        gc.collect()
        assert field.victim.peers == [field.honest.peer_id]
        assert field.victim.statistics().swarm.limits["scopes"]["keyed"] <= 3  # of the honest peer and its streams
