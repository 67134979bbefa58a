"""The memory transport: addresses, errors as TCP gives them, and a bounded backlog."""

import errno

import pytest
import trio
from multiaddr import Multiaddr

from peerstack.stack.errors import InvalidAddress
from peerstack.stack.memory import MemoryPipe
from peerstack.stack.memory.exchange import BACKLOG
from peerstack.transports.memory import MemoryNetwork, MemoryTransport

ANY = Multiaddr("/memory/0")
ONE = Multiaddr("/memory/1")
TCP = Multiaddr("/ip4/127.0.0.1/tcp/1")


@pytest.fixture
def transport() -> MemoryTransport:
    return MemoryTransport(MemoryNetwork())


def test_it_knows_its_addresses(transport: MemoryTransport) -> None:
    assert transport.can_dial(ONE)
    assert transport.can_dial(Multiaddr("/memory/18446744073709551615"))
    assert not transport.can_dial(ANY)
    assert not transport.can_dial(TCP)
    assert not transport.can_dial(Multiaddr("/memory/1/tcp/1"))
    assert transport.can_listen(ANY)
    assert not transport.can_listen(TCP)


async def test_other_addresses_are_invalid(transport: MemoryTransport) -> None:
    with pytest.raises(InvalidAddress, match="tcp"):
        await transport.dial(TCP)
    with pytest.raises(InvalidAddress, match="tcp"):
        await transport.listen(TCP)


async def test_zero_takes_a_free_number_each_time(transport: MemoryTransport) -> None:
    taken = await transport.listen(Multiaddr("/memory/49153"))
    first, second = [await transport.listen(ANY) for _ in range(2)]
    assert str(first.address) == "/memory/49152"
    assert str(second.address) == "/memory/49154"
    assert str(taken.address) == "/memory/49153"


async def test_networks_are_apart(transport: MemoryTransport) -> None:
    async with await transport.listen(ONE):
        other = MemoryTransport(MemoryNetwork())
        with pytest.raises(ConnectionRefusedError, match="/memory/1") as refused:
            await other.dial(ONE)
        assert refused.value.errno == errno.ECONNREFUSED
        await (await other.listen(ONE)).aclose()


async def test_a_full_backlog_refuses(transport: MemoryTransport) -> None:
    async with await transport.listen(ONE) as listener:
        for _ in range(BACKLOG):
            await transport.dial(ONE)
        with pytest.raises(ConnectionRefusedError, match="waiting"):
            await transport.dial(ONE)
        await listener.accept()
        await transport.dial(ONE)


async def test_connections_that_were_not_accepted_end_with_their_listener(transport: MemoryTransport) -> None:
    listener = await transport.listen(ONE)
    raw = await transport.dial(ONE)
    with trio.CancelScope() as scope:
        scope.cancel()
        await listener.aclose()
    assert await raw.stream.receive_some() == b""


async def test_an_old_listener_does_not_free_the_number_of_the_new_one(transport: MemoryTransport) -> None:
    old = await transport.listen(ONE)
    await old.aclose()
    async with await transport.listen(ONE) as new:
        await old.aclose()
        await transport.dial(ONE)
        await new.accept()


async def test_the_capacity_of_wires_can_be_set() -> None:
    transport = MemoryTransport(MemoryNetwork(capacity=5))
    async with await transport.listen(ONE):
        raw = await transport.dial(ONE)
        assert isinstance(raw.stream, MemoryPipe)
        assert raw.stream.send_nowait(b"0123456789") == 5


def test_a_network_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        MemoryNetwork(capacity=0)
