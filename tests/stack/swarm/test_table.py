"""The table of connections: which is the best, which are redundant, and what closing streams gives back."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Direction, MuxedConnection
from peerstack.stack.identity import PeerId
from peerstack.stack.limits import Limits, Scopes
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.swarm import Connection, ConnectionTable
from peerstack.stack.testing import connection_infos, muxed_pair

from .parts import HIGHEST, LOWEST, OTHER_PEER, PEER, FakeConnection, info, tcp

Clock = trio.testing.MockClock
IN, OUT = Direction.INBOUND, Direction.OUTBOUND


@pytest.fixture
def scopes() -> Scopes:
    return Scopes(Limits())


def connect(scopes: Scopes, peer: PeerId, direction: Direction) -> Connection:
    muxed = FakeConnection(info(peer, direction))
    reservation = scopes.dial() if direction is OUT else scopes.accept(tcp(9), trio.current_time())
    return Connection(muxed, scopes.connected(reservation, peer, muxed.info.remote_address))


def table_of(local_peer: PeerId, *connections: Connection) -> ConnectionTable:
    table = ConnectionTable(local_peer)
    for connection in connections:
        table.add(connection)
    return table


async def test_an_empty_table(scopes: Scopes) -> None:
    table = ConnectionTable(LOWEST)
    assert (len(table), list(table), table.peers) == (0, [], [])
    assert (table.of(PEER), table.best(PEER), table.redundant(PEER)) == ([], None, [])


@pytest.mark.parametrize("order", [(IN, OUT), (OUT, IN)])
async def test_both_sides_prefer_what_the_lower_peer_dialed(
    order: tuple[Direction, Direction], scopes: Scopes, autojump_clock: Clock
) -> None:
    for local, remote, preferred in ((LOWEST, HIGHEST, OUT), (HIGHEST, LOWEST, IN)):
        connections = []
        for direction in order:
            connections.append(connect(scopes, remote, direction))
            await trio.sleep(1)
        table = table_of(local, *connections)
        best = table.best(remote)
        assert best is not None
        assert best.muxed.info.direction is preferred
        assert table.of(remote)[0] is best


async def test_only_the_dialer_finds_its_connection_redundant(scopes: Scopes) -> None:
    inbound, outbound = connect(scopes, LOWEST, IN), connect(scopes, LOWEST, OUT)
    assert table_of(HIGHEST, inbound, outbound).redundant(LOWEST) == [outbound]
    inbound, outbound = connect(scopes, HIGHEST, IN), connect(scopes, HIGHEST, OUT)
    assert table_of(LOWEST, inbound, outbound).redundant(HIGHEST) == []


async def test_of_two_of_the_same_dialer_the_earlier_is_redundant(scopes: Scopes, autojump_clock: Clock) -> None:
    first = connect(scopes, PEER, OUT)
    await trio.sleep(1)
    second = connect(scopes, PEER, OUT)
    assert table_of(LOWEST, second, first).redundant(PEER) == [first]


async def test_one_that_is_closing_is_neither_the_best_nor_redundant(scopes: Scopes) -> None:
    inbound, outbound = connect(scopes, LOWEST, IN), connect(scopes, LOWEST, OUT)
    table = table_of(HIGHEST, inbound, outbound)
    await inbound.muxed.aclose()
    assert table.best(LOWEST) is outbound
    assert table.redundant(LOWEST) == []
    assert len(table) == 2


async def test_a_peer_is_connected_until_its_last_connection_is_removed(scopes: Scopes) -> None:
    one, two, other = (connect(scopes, peer, OUT) for peer in (PEER, PEER, OTHER_PEER))
    table = table_of(LOWEST, one, two, other)
    assert set(table) == {one, two, other}
    table.remove(one)
    assert set(table.peers) == {PEER, OTHER_PEER}
    table.remove(two)
    assert table.peers == [OTHER_PEER]


async def test_the_table_may_change_while_it_is_gone_through(scopes: Scopes) -> None:
    connections = [connect(scopes, peer, OUT) for peer in (PEER, PEER, OTHER_PEER)]
    table = table_of(LOWEST, *connections)
    for connection in table:
        table.remove(connection)
    assert len(table) == 0


async def real_connection(scopes: Scopes, muxed: MuxedConnection) -> Connection:
    return Connection(muxed, scopes.connected(scopes.dial(), muxed.remote_peer, tcp(1)))


async def test_a_closed_stream_is_called_back_once(scopes: Scopes, autojump_clock: Clock) -> None:
    async with muxed_pair(Yamux(), Yamux()) as (near, _):
        await trio.testing.wait_all_tasks_blocked()
        connection = await real_connection(scopes, near.connection)
        closed: list[str] = []
        for name in ("one", "two"):
            stream = await near.connection.open_stream()
            connection.when_closed(stream, lambda name=name: closed.append(name))  # type: ignore[misc] # mypy: default
            if name == "one":
                stream.reset()
        assert closed == ["one"]
        assert not connection.idle
        connection.identified.set()
        connection.drop_streams()
        connection.drop_streams()
        assert closed == ["one", "two"]


async def test_idle_means_identified_and_without_streams(scopes: Scopes) -> None:
    connection = connect(scopes, PEER, OUT)
    assert not connection.idle
    connection.identified.set()
    assert connection.idle
    assert connection_infos()[0].remote_peer != connection.remote_peer
