"""A peer that comes back on a new connection while the old one is dead and not yet noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from peerstack.stack.abc import ConnectionState, Muxer, Stream
from peerstack.stack.errors import DialError
from peerstack.stack.host import Host
from peerstack.stack.muxing.mplex import Mplex
from peerstack.stack.muxing.yamux import Yamux

from .pair import ECHO
from .roaming import meeting

Clock = trio.testing.MockClock

each_muxer = pytest.mark.parametrize("muxer", [Yamux, Mplex])
each_combination = pytest.mark.parametrize(
    ("lower", "old_by_mover", "new_by_mover"),
    [(lower, old, new) for lower in (True, False) for old in (True, False) for new in (True, False)],
)


async def never_answer(stream: Stream) -> None:
    await trio.sleep_forever()


async def round_trip(host: Host, peer: Host) -> float:
    began = trio.current_time()
    async with await host.open_stream(peer.peer_id, ECHO) as stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
    return trio.current_time() - began


@each_muxer
@each_combination
async def test_new_streams_use_the_new_connection_at_once_and_the_old_one_goes(
    muxer: Callable[[], Muxer], lower: bool, old_by_mover: bool, new_by_mover: bool, autojump_clock: Clock
) -> None:
    async with meeting(muxer, mover_is_lower=lower, mover_dials=old_by_mover) as meet:
        (old,) = meet.settled.connections(meet.mover.peer_id)
        await meet.move()
        await trio.sleep(10)
        await meet.meet(meet.mover if new_by_mover else meet.settled)
        await trio.sleep(0.02)  # for the last message of the handshake
        for host, peer in ((meet.settled, meet.mover), (meet.mover, meet.settled)):
            with trio.fail_after(1):
                assert await round_trip(host, peer) < 0.1
                await host.connect(peer.peer_id)
            best, *others = host.connections(peer.peer_id)
            assert best.state is ConnectionState.ALIVE
            assert [other.state for other in others] == [ConnectionState.SUSPECTED]
        assert meet.settled.statistics().swarm.suspected_connections == 1
        await trio.sleep(7)
        for host, peer in ((meet.settled, meet.mover), (meet.mover, meet.settled)):
            assert len(host.connections(peer.peer_id)) == 1
        assert old.closed


@each_muxer
@pytest.mark.parametrize("lower", [True, False])
async def test_old_connections_that_are_alive_stay_as_they_were(
    muxer: Callable[[], Muxer], lower: bool, autojump_clock: Clock
) -> None:
    async with meeting(muxer, mover_is_lower=lower, mover_dials=True) as meet:
        stream = await meet.mover.open_stream(meet.settled.peer_id, ECHO)
        meet._where = meet.mover.addresses
        await meet.meet(meet.settled)
        await trio.sleep(20)
        await stream.send_all(b"still")
        assert await stream.receive_some() == b"still"
        states = [connection.state for connection in meet.mover.connections(meet.settled.peer_id)]
        assert set(states) == {ConnectionState.ALIVE}


@each_muxer
@pytest.mark.parametrize("connecting", [True, False])
async def test_a_peer_whose_only_connection_is_suspected_is_dialed_beside_it(
    muxer: Callable[[], Muxer], connecting: bool, autojump_clock: Clock
) -> None:
    async with meeting(muxer, mover_is_lower=True, mover_dials=True) as meet:
        stream = await meet.settled.open_stream(meet.mover.peer_id, ECHO)
        await meet.move()
        await stream.send_all(b"?")
        await trio.sleep(3)
        (old,) = meet.settled.connections(meet.mover.peer_id)
        assert old.state is ConnectionState.SUSPECTED
        meet.settled.add_addresses(meet.mover.peer_id, meet.mover.addresses)
        with trio.fail_after(2):
            if connecting:
                await meet.settled.connect(meet.mover.peer_id)
            await round_trip(meet.settled, meet.mover)


@each_muxer
async def test_a_suspected_connection_that_answers_is_used_without_a_dial(
    muxer: Callable[[], Muxer], autojump_clock: Clock
) -> None:
    async with meeting(muxer, mover_is_lower=True, mover_dials=True) as meet:
        meet.mover.handle("/sink/1", never_answer)
        stream = await meet.settled.open_stream(meet.mover.peer_id, "/sink/1")
        await stream.send_all(b"that this is agreed on is answered")
        await trio.sleep(1)
        await stream.send_all(b"not so this")
        await trio.sleep(3)
        (old,) = meet.settled.connections(meet.mover.peer_id)
        assert old.state is ConnectionState.SUSPECTED
        assert await round_trip(meet.settled, meet.mover) < 0.1
        await trio.sleep(1)
        assert str(old.state) == "alive"
        await stream.send_all(b"nor to this")
        await trio.sleep(3)
        assert old.state is ConnectionState.SUSPECTED
        _, report = await meet.settled.connect_with_report(meet.mover.peer_id)
        assert (report.attempts, report.notes) == ([], ["already connected, and the peer answered a probe"])
        assert meet.settled.connections(meet.mover.peer_id) == [old]


@each_muxer
async def test_a_peer_that_is_nowhere_is_told_so_in_bounded_time(
    muxer: Callable[[], Muxer], autojump_clock: Clock
) -> None:
    async with meeting(muxer, mover_is_lower=True, mover_dials=True) as meet:
        stream = await meet.settled.open_stream(meet.mover.peer_id, ECHO)
        await meet.move()
        await stream.send_all(b"?")
        await trio.sleep(3)
        began = trio.current_time()
        with pytest.raises(DialError) as caught:
            await meet.settled.open_stream(meet.mover.peer_id, ECHO)
        assert caught.value.report.notes == ["the connection that is open does not answer"]
        assert trio.current_time() - began < 15
