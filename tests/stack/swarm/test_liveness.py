"""Connections in doubt: probed at once, closed only beside a better one that is alive."""

from __future__ import annotations

from collections.abc import Callable

import trio
import trio.testing

from peerstack.stack.abc import ConnectionState, Direction
from peerstack.stack.errors import ConnectionLost
from peerstack.stack.events import ConnectionClosed

from .parts import (
    HIGHEST,
    FakeConnection,
    ScriptedTransport,
    answers,
    failed_dial,
    info,
    refused,
    running,
    settle,
    tcp,
)

Clock = trio.testing.MockClock
ALIVE, SUSPECTED = ConnectionState.ALIVE, ConnectionState.SUSPECTED


class Probed(FakeConnection):
    """A connection whose peer answers probes when it is told to; it is silent from the start if that is wanted."""

    def __init__(self, direction: Direction = Direction.OUTBOUND, *, silent: bool = False) -> None:
        super().__init__(info(HIGHEST, direction))
        self.probes = 0
        self.answers = trio.Event()
        self.failing: Callable[[], Exception] | None = None
        self._silent = silent

    @property
    def unanswered_since(self) -> float | None:
        return trio.current_time() - 60 if self._silent else None

    async def probe(self) -> None:
        self.probes += 1
        if self.failing is not None:
            raise self.failing()
        await self.answers.wait()
        self._silent = False


async def test_a_new_connection_puts_the_others_in_doubt_until_they_answer(autojump_clock: Clock) -> None:
    old, new = Probed(), Probed()
    transport = ScriptedTransport({tcp(1): answers(old), tcp(2): answers(new)})
    async with running(transport) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        assert old.probes == 0
        await swarm.dial(None, [tcp(2)])
        await settle()
        assert (old.probes, old.state, new.probes, new.state) == (1, SUSPECTED, 0, ALIVE)
        assert swarm.statistics().suspected_connections == 1
        old.answers.set()
        await settle()
        assert old.state is ALIVE
        await trio.sleep(5)
        assert (old.closed, new.closed) == (True, False)  # idle, and superfluous


async def test_one_that_never_answers_is_closed_beside_one_that_is_alive(autojump_clock: Clock) -> None:
    old, new = Probed(Direction.OUTBOUND), Probed()
    transport = ScriptedTransport({tcp(1): answers(old), tcp(2): answers(new)})
    async with running(transport) as (swarm, observer):
        await swarm.dial(None, [tcp(1)])
        await swarm.dial(None, [tcp(2)])
        await trio.sleep(4.9)
        assert not old.closed
        await trio.sleep(0.2)
        assert (old.closed, new.closed) == (True, False)
        (closed,) = [event for event in observer.events if isinstance(event, ConnectionClosed)]
        assert closed.reason == "the peer did not answer for 5 s here, but is connected otherwise"


async def test_the_only_one_is_never_closed_for_its_silence(autojump_clock: Clock) -> None:
    only = Probed(silent=True)
    transport = ScriptedTransport({tcp(1): answers(only), tcp(2): refused()})
    async with running(transport) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        report = await failed_dial(swarm, HIGHEST, tcp(2))
        assert "the connection that is open does not answer" in report.notes
        await trio.sleep(1000)
        assert not only.closed
        assert only.state is SUSPECTED
        only.answers.set()
        await settle()
        assert only.state is ALIVE


async def test_of_two_in_doubt_neither_is_closed(autojump_clock: Clock) -> None:
    old, new = Probed(silent=True), Probed(silent=True)
    transport = ScriptedTransport({tcp(1): answers(old), tcp(2): answers(new)})
    async with running(transport) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        await swarm.dial(None, [tcp(2)])
        await trio.sleep(100)
        assert not old.closed
        assert not new.closed
        new.answers.set()
        new._silent = False
        await trio.sleep(6)
        assert (old.closed, new.closed) == (True, False)


async def test_a_dial_that_succeeds_beside_is_used_and_the_probe_s_answer_too_late(autojump_clock: Clock) -> None:
    old, new = Probed(silent=True), Probed()
    transport = ScriptedTransport({tcp(1): answers(old), tcp(2): answers(new)})
    async with running(transport) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        began = trio.current_time()
        connection, _report = await swarm.dial(HIGHEST, [tcp(2)])
        assert connection.muxed is new
        assert trio.current_time() - began == swarm.config.redial_delay


async def test_an_answer_while_the_dial_is_under_way_ends_the_dial(autojump_clock: Clock) -> None:
    old = Probed(silent=True)
    transport = ScriptedTransport({tcp(1): answers(old), tcp(2): answers(Probed(), after=100)})
    async with running(transport) as (swarm, _), trio.open_nursery() as nursery:
        await swarm.dial(None, [tcp(1)])

        async def answer_later() -> None:
            await trio.sleep(2)
            old.answers.set()

        nursery.start_soon(answer_later)
        connection, _report = await swarm.dial(HIGHEST, [tcp(2)])
        assert connection.muxed is old
        await settle()
        assert transport.cancelled == [tcp(2)]


async def test_one_that_ends_while_it_is_probed(autojump_clock: Clock) -> None:
    old, new = Probed(), Probed()
    old.failing = lambda: ConnectionLost("gone")
    transport = ScriptedTransport({tcp(1): answers(old), tcp(2): answers(new)})
    async with running(transport) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        old.fail(ConnectionLost("gone"))
        await swarm.dial(None, [tcp(2)])
        await trio.sleep(10)
        assert [connection.muxed for connection in swarm.connections(HIGHEST)] == [new]


async def test_a_bug_in_a_probe_ends_nothing(autojump_clock: Clock) -> None:
    old, new = Probed(), Probed()
    old.failing = lambda: ZeroDivisionError("a bug of a plug-in")
    transport = ScriptedTransport({tcp(1): answers(old), tcp(2): answers(new)})
    async with running(transport) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        await swarm.dial(None, [tcp(2)])
        await settle()
        assert old.state is new.state is ALIVE


async def test_one_that_is_only_quiet_is_asked_so_that_superfluous_ones_can_go(autojump_clock: Clock) -> None:
    old, new = Probed(), Probed()
    transport = ScriptedTransport({tcp(1): answers(old), tcp(2): answers(new)})
    async with running(transport) as (swarm, _):
        await swarm.dial(None, [tcp(1)])
        await swarm.dial(None, [tcp(2)])
        old.answers.set()
        new._silent = True  # it had the last word
        await trio.sleep(3)
        assert not old.closed
        new.answers.set()
        await trio.sleep(3)
        assert (old.closed, new.closed) == (True, False)
