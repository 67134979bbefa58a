"""Connections that simultaneous dials made superfluous: only the right side closes them, and only while idle."""

from __future__ import annotations

import trio
import trio.testing

from peerstack.stack.abc import Direction, Stream
from peerstack.stack.events import ConnectionOpened
from peerstack.stack.memory import memory_pipe_pair
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.swarm import Connection
from peerstack.stack.testing import PlainChannel

from .parts import (
    HIGHEST,
    LISTEN,
    LOWEST,
    FakeConnection,
    FakeListener,
    ListeningTransport,
    ScriptedTransport,
    answers,
    connection_of,
    info,
    running,
    tcp,
)

Clock = trio.testing.MockClock


async def some_stream() -> Stream:
    near, _ = memory_pipe_pair()
    return await Yamux().mux(PlainChannel(near), info()).open_stream()


async def test_the_dialer_of_the_worse_one_closes_it(autojump_clock: Clock) -> None:
    listener = FakeListener(LISTEN)
    ours = FakeConnection(info(LOWEST))
    theirs = FakeConnection(info(LOWEST, Direction.INBOUND))
    dialing = ScriptedTransport({tcp(1): answers(ours)})
    async with running(dialing, ListeningTransport(listener), local_peer=HIGHEST) as (swarm, observer):
        await swarm.listen(LISTEN)
        await swarm.dial(LOWEST, [tcp(1)])
        listener.arrive(lambda: connection_of(theirs))
        await observer.wait_for(ConnectionOpened, count=2)
        assert not ours.closed
        await trio.sleep(1.5)
        assert (ours.closed, theirs.closed) == (True, False)
        assert [connection.muxed for connection in swarm.connections(LOWEST)] == [theirs]


async def test_the_other_side_leaves_both_alone(autojump_clock: Clock) -> None:
    listener = FakeListener(LISTEN)
    ours = FakeConnection(info(HIGHEST))
    theirs = FakeConnection(info(HIGHEST, Direction.INBOUND))
    dialing = ScriptedTransport({tcp(1): answers(ours)})
    async with running(dialing, ListeningTransport(listener), local_peer=LOWEST) as (swarm, observer):
        await swarm.listen(LISTEN)
        await swarm.dial(HIGHEST, [tcp(1)])
        listener.arrive(lambda: connection_of(theirs))
        await observer.wait_for(ConnectionOpened, count=2)
        await trio.sleep(100)
        assert (ours.closed, theirs.closed) == (False, False)
        assert swarm.connections(HIGHEST)[0].muxed is ours


async def test_one_with_streams_is_closed_when_they_are(autojump_clock: Clock) -> None:
    one, two = FakeConnection(info(LOWEST)), FakeConnection(info(LOWEST))
    transport = ScriptedTransport({tcp(1): answers(one), tcp(2): answers(two)})
    async with running(transport, local_peer=HIGHEST) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        await trio.sleep(0.1)
        one.streams.append(await some_stream())
        await swarm.dial(None, [tcp(2)])
        await trio.sleep(100)
        assert not one.closed
        one.streams.clear()
        await trio.sleep(1.5)
        assert (one.closed, two.closed) == (True, False)


async def test_one_that_is_not_identified_yet_is_left_alone(autojump_clock: Clock) -> None:
    go_on = trio.Event()

    async def slow(connection: Connection) -> None:
        await go_on.wait()

    transport = ScriptedTransport({tcp(1): answers(), tcp(2): answers()})
    async with running(transport) as (swarm, _):
        swarm.on_connection.add(slow, name="test", identifies=True)
        await swarm.dial(None, [tcp(1)])
        await swarm.dial(None, [tcp(2)])
        await trio.sleep(50)
        assert swarm.statistics().connections == 2
        go_on.set()
        await trio.sleep(1.5)
        assert swarm.statistics().connections == 1


async def test_when_the_better_one_is_lost_the_other_stays(autojump_clock: Clock) -> None:
    one, two = FakeConnection(), FakeConnection()
    transport = ScriptedTransport({tcp(1): answers(one), tcp(2): answers(two)})
    async with running(transport) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        await trio.sleep(0.1)
        await swarm.dial(None, [tcp(2)])
        await trio.sleep(0.5)
        two.fail()
        await trio.sleep(100)
        assert not one.closed


async def test_it_is_looked_after_again_the_next_time(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({tcp(1): answers(), tcp(2): answers()})
    async with running(transport) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        for _ in range(3):
            await trio.sleep(0.1)
            transport.scripts[tcp(2)] = answers()
            await swarm.dial(None, [tcp(2)])
            await trio.sleep(3)
            assert swarm.statistics().connections == 1
