"""What the limits of a host say of memory holds over QUIC, too."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio
import trio.testing

from peerstack import Identity, open_host
from peerstack.stack.abc import Stream
from peerstack.stack.limits import Limits, WindowBudget
from peerstack.transports.quic import QuicConfig, QuicConnection, QuicTransport

from .hosts import ANYWHERE, inside
from .link import MemoryNetwork

pytestmark = pytest.mark.aioquic

MIB = 1 << 20
SIZE = 30 * MIB


@dataclass
class Growth:
    """By how much windows had grown at most while a stream was read: of the host, of the connection, of `memory`."""

    host: int = 0
    connection: int = 0
    own: int = 0


async def transfer(limits: Limits, memory: WindowBudget | None = None) -> Growth:
    """Send much over a long path, at the pace of windows, to a host with these limits."""
    network, growth = MemoryNetwork(latency=0.05), Growth()
    reader, writer = Identity.generate(), Identity.generate()
    fast = QuicTransport(writer, QuicConfig(send_buffer=8 * MIB), network=network)
    bounded = QuicTransport(reader, network=network, memory=memory)
    done = trio.Event()
    async with (
        open_host(
            listen=[ANYWHERE], identity=reader, limits=limits, transports=[], native_transports=[bounded]
        ) as alice,
        open_host(identity=writer, transports=[], native_transports=[fast]) as bob,
    ):

        async def read(stream: Stream) -> None:
            connection = stream.connection
            assert isinstance(connection, QuicConnection)
            received = 0
            while received < SIZE:
                received += len(await stream.receive_some())
                growth.host = max(growth.host, alice.swarm.scopes.windows.used)
                grown = inside(connection)._flow.connection.size - QuicConfig().connection_window
                growth.connection = max(growth.connection, grown)
                growth.own = max(growth.own, 0 if memory is None else memory.used)
            done.set()

        alice.handle("/read/1", read)
        await bob.connect(*alice.addresses)
        async with await bob.open_stream(alice.peer_id, "/read/1") as stream:
            await stream.send_all(bytes(SIZE))
            await done.wait()
        await bob.disconnect(alice.peer_id)
        await trio.sleep(1)
        assert alice.swarm.scopes.windows.used == 0, "a closed connection keeps memory"
    return growth


async def test_windows_grow_from_what_the_host_has_for_all(autojump_clock: trio.testing.MockClock) -> None:
    growth = await transfer(Limits())
    assert growth.host == growth.connection > 5 * MIB


async def test_neither_the_host_nor_one_connection_goes_beyond(autojump_clock: trio.testing.MockClock) -> None:
    growth = await transfer(Limits(receive_windows=5 * MIB, receive_windows_per_connection=2 * MIB))
    assert MIB <= growth.host == growth.connection <= 2 * MIB
    growth = await transfer(Limits(receive_windows=2 * MIB, receive_windows_per_connection=2 * MIB))
    assert MIB <= growth.host <= 2 * MIB


async def test_a_budget_of_its_own_comes_first(autojump_clock: trio.testing.MockClock) -> None:
    growth = await transfer(Limits(receive_windows=MIB, receive_windows_per_connection=MIB), WindowBudget(100 * MIB))
    assert growth.host == 0
    assert growth.own == growth.connection > 5 * MIB
