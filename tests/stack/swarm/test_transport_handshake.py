"""A handshake left by a transport comes first in an upgrade, with a deadline; failing closes the stream."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from peerstack.stack.abc import Direction, RawConnection
from peerstack.stack.errors import ConnectionLost
from peerstack.stack.identity import Identity
from peerstack.stack.memory import MemoryPipe, memory_address, memory_pipe_pair
from peerstack.stack.muxing.yamux import Yamux
from peerstack.stack.report import Attempt, Outcome, StageName
from peerstack.stack.security.noise import Noise
from peerstack.stack.swarm import HostUpgrader, SwarmConfig

Clock = trio.testing.MockClock
ALICE, BOB = Identity.generate(), Identity.generate()
HERE, THERE = memory_address(1), memory_address(2)


def upgrader(identity: Identity = ALICE, connect_timeout: float = 5.0) -> HostUpgrader:
    return HostUpgrader([Noise(identity)], [Yamux()], SwarmConfig(connect_timeout=connect_timeout))


class Shaking(MemoryPipe):
    """What a handshake returns in place of the raw stream."""


@pytest.mark.parametrize("direction", [Direction.INBOUND, Direction.OUTBOUND])
async def test_the_transport_s_own_handshake_comes_first_and_gives_the_stream(direction: Direction) -> None:
    near, far = memory_pipe_pair()
    shaken = 0

    async def handshake() -> trio.abc.Stream:
        nonlocal shaken
        shaken += 1
        assert await near.receive_some(5) == b"hello"
        return Shaking(near.incoming, near.outgoing)

    async def remote() -> None:
        await far.send_all(b"hello")
        other = Direction.INBOUND if direction is Direction.OUTBOUND else Direction.OUTBOUND
        await upgrader(BOB).upgrade(RawConnection(far, THERE, HERE), other, None, Attempt("", 0))

    attempt = Attempt("", trio.current_time())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote)
        connection = await upgrader().upgrade(RawConnection(near, HERE, THERE, handshake), direction, None, attempt)
    assert connection.remote_peer == BOB.peer_id
    assert shaken == 1
    assert attempt.stages[0].name is StageName.CONNECT
    assert attempt.stages[0].outcome is Outcome.OK


async def test_a_handshake_of_the_transport_has_a_deadline_and_its_failure_closes_the_connection(
    autojump_clock: Clock,
) -> None:
    near, far = memory_pipe_pair()
    attempt = Attempt("", trio.current_time())
    with pytest.raises(trio.TooSlowError):
        await upgrader(connect_timeout=3).upgrade(
            RawConnection(near, HERE, THERE, trio.sleep_forever), Direction.INBOUND, None, attempt
        )
    assert trio.current_time() == 3
    assert await far.receive_some() == b""
    assert attempt.failure is not None
    assert attempt.failure.name is StageName.CONNECT


async def test_a_handshake_of_the_transport_that_breaks_is_a_lost_connection() -> None:
    async def breaks() -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError("reset")

    near, far = memory_pipe_pair()
    with pytest.raises(ConnectionLost, match="reset"):
        await upgrader().upgrade(RawConnection(near, HERE, THERE, breaks), Direction.INBOUND, None, Attempt("", 0))
    assert await far.receive_some() == b""
