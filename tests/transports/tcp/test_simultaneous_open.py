"""Two hosts that dial one another from their listeners' ports get one TCP connection: over real loopback."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import Identity, open_host, ping
from peerstack.stack.abc import DialOptions, Direction, RawConnection, Security
from peerstack.stack.security.noise import Noise
from peerstack.stack.security.tls import Tls
from peerstack.stack.testing.checks import transfer
from peerstack.transports.tcp import TcpListener, TcpTransport

from .crossing import make_deaf

if sys.platform != "linux":
    pytest.skip("only Linux lets a program lose packets of its own", allow_module_level=True)

ANY = Multiaddr("/ip4/127.0.0.1/tcp/0")
CONNECT = DialOptions(from_listener=True, at_once=True)
SERVE = DialOptions(direction=Direction.INBOUND, from_listener=True, at_once=True)


@asynccontextmanager
async def crossing() -> AsyncIterator[tuple[TcpListener, RawConnection, TcpListener, RawConnection]]:
    one, other = TcpTransport(), TcpTransport()
    async with await one.listen(ANY) as ones, await other.listen(ANY) as others:
        make_deaf(others)
        found: list[RawConnection] = []

        async def dial() -> None:
            found.append(await one.dial(others.address, CONNECT))

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dial)
                await trio.testing.wait_all_tasks_blocked()
                assert not found
                back = await other.dial(ones.address, SERVE)
        async with found[0].stream, back.stream:
            yield ones, found[0], others, back


async def test_both_dials_are_one_connection() -> None:
    async with crossing() as (ones, near, others, far):
        assert (near.local_address, near.remote_address) == (ones.address, others.address)
        assert (far.local_address, far.remote_address) == (others.address, ones.address)
        await transfer(near.stream, far.stream, bytes(100_000))
        await transfer(far.stream, near.stream, bytes(100_000))
        with trio.move_on_after(0.01):
            await ones.accept()
            raise AssertionError("the listener saw the connection of a dial")


@pytest.mark.parametrize("security", [Noise, Tls], ids=["noise", "tls"])
async def test_both_hosts_get_one_connection(security: Callable[[Identity], Security]) -> None:
    one, other = Identity.generate(), Identity.generate()
    tcp = TcpTransport()
    with trio.fail_after(20):
        async with (
            open_host(identity=one, listen=ANY, transports=[TcpTransport()], security=[security(one)]) as alice,
            open_host(identity=other, listen=ANY, transports=[tcp], security=[security(other)]) as bob,
            trio.open_nursery() as nursery,
        ):
            make_deaf(*tcp._listeners)
            nursery.start_soon(partial(alice.swarm.dial, bob.peer_id, bob.addresses, options=CONNECT))
            await trio.testing.wait_all_tasks_blocked()
            connection, _ = await bob.swarm.dial(alice.peer_id, alice.addresses, options=SERVE)
            assert connection.muxed.info.direction is Direction.INBOUND
            assert await ping(bob, alice.peer_id) < 5
            assert await ping(alice, bob.peer_id) < 5
            assert [item.info.direction for item in alice.connections()] == [Direction.OUTBOUND]
            assert len(bob.connections()) == 1
