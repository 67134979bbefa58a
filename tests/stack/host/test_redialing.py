"""Where a peer was reached it is dialed again, although it announces other addresses, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, RawConnection
from peerstack.stack.host import Host
from peerstack.transports.memory import MemoryNetwork, MemoryTransport
from peerstack.transports.unix import UnixTransport

from .pair import ECHO, echo

Clock = trio.testing.MockClock

INSIDE, FORWARDED = Multiaddr("/memory/7"), Multiaddr("/memory/99")


class Outside(MemoryTransport):
    """Reaches nothing but a forwarded port, of which the host behind it does not know."""

    def can_dial(self, address: Multiaddr) -> bool:
        return address == FORWARDED

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        raw = await super().dial(INSIDE, options)
        return RawConnection(raw.stream, raw.local_address, address)


async def drop_and_come_back(alice: Host, bob: Host) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(alice.disconnect, bob.peer_id)
        nursery.start_soon(bob.disconnect, alice.peer_id)
    assert alice.peers == []
    async with await alice.open_stream(bob.peer_id, ECHO) as stream:
        await stream.send_all(b"again")
        assert await stream.receive_some() == b"again"


@pytest.mark.parametrize("named", [True, False], ids=["with the id", "without the id"])
async def test_a_forwarded_port(named: bool, autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with (
        open_host(transports=[Outside(network)]) as alice,
        open_host(listen=[INSIDE], transports=[MemoryTransport(network)]) as bob,
    ):
        bob.handle(ECHO, echo)
        await alice.connect(f"{FORWARDED}/p2p/{bob.peer_id}" if named else FORWARDED)
        bob.announce([Multiaddr("/memory/5000")])
        await trio.sleep(10)
        assert set(alice.peerstore.addresses(bob.peer_id)) == {INSIDE, FORWARDED, Multiaddr("/memory/5000")}
        for _ in range(2):
            await trio.sleep(2 * 3600)
            await drop_and_come_back(alice, bob)


async def test_it_is_remembered_for_an_hour_after_the_peer_has_gone(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with open_host(transports=[Outside(network)]) as alice:
        async with open_host(listen=[INSIDE], transports=[MemoryTransport(network)]) as bob:
            await alice.connect(FORWARDED)
            await trio.sleep(2 * 3600)
        await trio.sleep(3590)
        assert alice.peerstore.addresses(bob.peer_id) == (FORWARDED,)
        await trio.sleep(20)
        assert alice.peerstore.addresses(bob.peer_id) == ()


async def test_the_side_that_was_dialed_remembers_no_address_of_its_own_accord(autojump_clock: Clock) -> None:
    network = MemoryNetwork()
    async with (
        open_host(transports=[Outside(network)]) as alice,
        open_host(listen=[INSIDE], transports=[MemoryTransport(network)]) as bob,
    ):
        await alice.connect(FORWARDED)
        await trio.sleep(1)
        assert bob.peerstore.addresses(alice.peer_id) == ()


async def test_a_socket_in_the_file_system(tmp_path: Path) -> None:
    async with (
        open_host(transports=[UnixTransport()]) as alice,
        open_host(listen=[f"/unix/{tmp_path}/bob"], transports=[UnixTransport()]) as bob,
    ):
        bob.handle(ECHO, echo)
        await alice.connect(*bob.addresses)
        await drop_and_come_back(alice, bob)
