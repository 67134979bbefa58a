"""Dials that differ from ordinary ones: the peer begins the handshakes, or all addresses are tried at once."""

from __future__ import annotations

import errno
from functools import partial

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, ConnectionInfo, DialOptions, Direction, MuxedConnection
from peerstack.stack.errors import DialError
from peerstack.stack.events import ConnectionOpened
from peerstack.stack.identity import PeerId
from peerstack.stack.report import Attempt, Outcome
from peerstack.stack.swarm import Connection, Swarm

from .parts import (
    LISTEN,
    ONE,
    OTHER_PEER,
    PEER,
    THREE,
    TWO,
    FakeConnection,
    FakeListener,
    ListeningTransport,
    ScriptedTransport,
    answers,
    connection_of,
    fails,
    inbound,
    info,
    running,
    stays_silent,
)

Clock = trio.testing.MockClock
SERVE = DialOptions(direction=Direction.INBOUND)
PUNCH = DialOptions(direction=Direction.INBOUND, from_listener=True, at_once=True)


async def test_the_transport_is_told(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers(), TWO: answers(FakeConnection(info(OTHER_PEER)))})
    async with running(transport) as (swarm, _):
        await swarm.dial(PEER, [ONE])
        await swarm.dial(OTHER_PEER, [TWO], options=PUNCH)
        assert transport.options == [DEFAULT_DIAL, PUNCH]


async def test_all_addresses_are_dialed_at_once(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: stays_silent, TWO: stays_silent, THREE: answers(after=1)})
    async with running(transport) as (swarm, _):
        await swarm.dial(PEER, [ONE, TWO, THREE], options=DialOptions(at_once=True))
        assert [when for when, _ in transport.dialed] == [0, 0, 0]


async def test_only_dials_of_one_kind_are_merged(autojump_clock: Clock) -> None:
    transport = ScriptedTransport({ONE: answers(after=1)})
    async with running(transport) as (swarm, _):
        async with trio.open_nursery() as nursery:
            for options in (DEFAULT_DIAL, SERVE, PUNCH, SERVE, DEFAULT_DIAL):
                nursery.start_soon(partial(swarm.dial, PEER, [ONE], options=options))
        assert set(transport.options) == {DEFAULT_DIAL, SERVE, PUNCH}
        assert len(transport.dialed) == 3


async def test_a_dial_as_the_server_is_a_dial_all_the_same(autojump_clock: Clock) -> None:
    asked: list[str] = []

    class Gater:
        def allow_dial(self, peer: PeerId | None, address: Multiaddr) -> bool:
            asked.append("dial")
            return True

        def allow_accept(self, address: Multiaddr) -> bool:
            asked.append("accept")
            return True

        def allow_connection(self, info: ConnectionInfo) -> bool:
            asked.append(f"{info.direction} connection")
            return True

    seen: list[Direction] = []
    transport = ScriptedTransport({ONE: answers(inbound())})
    async with running(transport, gater=Gater()) as (swarm, observer):

        async def hook(connection: Connection) -> None:
            seen.append(connection.muxed.info.direction)

        swarm.on_connection.add(hook, name="hook")
        connection, _ = await swarm.dial(PEER, [ONE], options=SERVE)
        await trio.testing.wait_all_tasks_blocked()
        assert connection.dialed == ONE
        assert asked == ["dial", "inbound connection"]
        assert seen == [Direction.INBOUND]
        assert [event.info.direction for event in observer.of(ConnectionOpened)] == [Direction.INBOUND]
        statistics = swarm.statistics()
        assert statistics.limits["system"] == {"outbound connections": 1, "connections": 1}
        assert statistics.inbound_connections == 1


# ---- the peer's dial arrives at a listener


class Meeting:
    """A swarm that listens, and whose dials are never answered."""

    def __init__(self) -> None:
        self.listener = FakeListener(LISTEN)
        self.transport = ScriptedTransport({ONE: stays_silent})
        self.transports = (ListeningTransport(self.listener), self.transport)

    def arrive(self, connection: FakeConnection) -> None:
        self.listener.arrive(partial(connection_of, connection))


async def dial_for(seconds: float, swarm: Swarm, options: DialOptions, *, direct: bool = False) -> Connection | None:
    with trio.move_on_after(seconds):
        connection, report = await swarm.dial(PEER, [ONE], options=options, direct=direct)
        assert report.notes == ["the peer's own dial arrived at a listener of this host"]
        assert [attempt.outcome for attempt in report.attempts] == [Outcome.CANCELLED]
        return connection
    return None


async def test_a_dial_as_the_server_ends_when_the_peer_arrives_at_a_listener(autojump_clock: Clock) -> None:
    meeting = Meeting()
    async with running(*meeting.transports) as (swarm, _), trio.open_nursery() as nursery:
        await swarm.listen(LISTEN)
        arriving = inbound()

        async def arrive() -> None:
            await trio.sleep(1)
            meeting.arrive(inbound(OTHER_PEER))
            await trio.sleep(1)
            meeting.arrive(arriving)

        nursery.start_soon(arrive)
        connection = await dial_for(9, swarm, PUNCH, direct=True)
        assert connection is not None
        assert connection.muxed is arriving
        assert trio.current_time() == 2
        assert meeting.transport.cancelled == [ONE]


async def test_a_dial_as_the_server_waits_for_a_peer_that_was_first(autojump_clock: Clock) -> None:
    """Its port is taken by that connection, which is in its handshakes at a listener."""
    meeting = Meeting()
    meeting.transport.scripts[ONE] = fails(OSError(errno.EADDRINUSE, "connected there already"))
    async with running(*meeting.transports) as (swarm, _), trio.open_nursery() as nursery:
        await swarm.listen(LISTEN)
        arriving = inbound()

        async def arrive() -> None:
            await trio.sleep(1)
            meeting.arrive(arriving)

        nursery.start_soon(arrive)
        connection, _report = await swarm.dial(PEER, [ONE], options=PUNCH, direct=True)
        assert connection.muxed is arriving
        assert trio.current_time() == 1


@pytest.mark.parametrize(
    ("options", "number", "seconds"),
    [(PUNCH, errno.EADDRINUSE, 5), (PUNCH, errno.ECONNREFUSED, 0), (DialOptions(), errno.EADDRINUSE, 0)],
)
async def test_nothing_is_waited_for_longer_than_it_may_take(
    options: DialOptions, number: int, seconds: float, autojump_clock: Clock
) -> None:
    transport = ScriptedTransport({ONE: fails(OSError(number, "no"))})
    async with running(transport) as (swarm, _):
        with pytest.raises(DialError):
            await swarm.dial(PEER, [ONE], options=options)
        assert trio.current_time() == seconds


async def test_a_peer_that_arrives_while_the_dial_fails_is_not_forgotten(autojump_clock: Clock) -> None:
    ends: list[str] = []
    for steps in range(12):
        meeting = Meeting()

        async def fail(attempt: Attempt, steps: int = steps) -> MuxedConnection:
            await trio.sleep(1)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError("no")

        async def arrive(meeting: Meeting = meeting) -> None:
            await trio.sleep(1)
            meeting.arrive(inbound())

        meeting.transport.scripts[ONE] = fail
        async with running(*meeting.transports) as (swarm, _), trio.open_nursery() as nursery:
            await swarm.listen(LISTEN)
            nursery.start_soon(arrive)
            try:
                await swarm.dial(PEER, [ONE], options=PUNCH)
                ends.append("arrived")
            except DialError as error:
                ends.append(", ".join(error.report.notes))
    assert set(ends) == {"arrived", ""}
    assert ends == sorted(ends)  # one moment divides them


async def test_a_relayed_arrival_ends_no_direct_dial(autojump_clock: Clock) -> None:
    meeting = Meeting()
    async with running(*meeting.transports) as (swarm, _), trio.open_nursery() as nursery:
        await swarm.listen(LISTEN)
        relayed = inbound()
        relayed.info = ConnectionInfo(
            remote_peer=PEER,
            remote_public_key=None,
            local_address=LISTEN,
            remote_address=Multiaddr(f"/p2p/{OTHER_PEER}/p2p-circuit"),
            direction=Direction.INBOUND,
            security="/test",
            muxer="/test",
            relay=OTHER_PEER,
        )

        async def arrive() -> None:
            await trio.sleep(1)
            meeting.arrive(relayed)

        nursery.start_soon(arrive)
        assert await dial_for(9, swarm, PUNCH, direct=True) is None


async def test_an_ordinary_dial_goes_on_when_the_peer_arrives(autojump_clock: Clock) -> None:
    meeting = Meeting()
    async with running(*meeting.transports) as (swarm, _), trio.open_nursery() as nursery:
        await swarm.listen(LISTEN)

        async def arrive() -> None:
            await trio.sleep(1)
            meeting.arrive(inbound())

        nursery.start_soon(arrive)
        assert await dial_for(9, swarm, DialOptions(from_listener=True)) is None
