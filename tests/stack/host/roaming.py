"""Two hosts of which one can move to another network while its old connections are left behind, dead and unnoticed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio
from multiaddr import Multiaddr

from peerstack import open_host
from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, Muxer, RawConnection, StreamListener
from peerstack.stack.host import Host
from peerstack.stack.identity import Identity
from peerstack.stack.swarm import SwarmConfig
from peerstack.stack.testing import LinkConditions, SimulatedNetwork

from .pair import ECHO, echo

LOWER, HIGHER = sorted((Identity.generate() for _ in range(2)), key=lambda identity: identity.peer_id)
CONFIG = SwarmConfig(raise_handler_errors=True)


class Roaming:
    """A transport of one host that is at home on one node of a network, and later on another."""

    def __init__(self, network: SimulatedNetwork, name: str) -> None:
        self._network = network
        self.name = name

    def can_dial(self, address: Multiaddr) -> bool:
        return self._network.node(self.name).can_dial(address)

    def can_listen(self, address: Multiaddr) -> bool:
        return self._network.node(self.name).can_listen(address)

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        return await self._network.node(self.name).dial(address, options)

    async def listen(self, address: Multiaddr) -> StreamListener:
        return await self._network.node(self.name).listen(address)


@dataclass
class Meeting:
    """Two connected hosts; `move` leaves the connection behind, and `meet` makes a new one."""

    network: SimulatedNetwork
    settled: Host
    mover: Host
    transport: Roaming
    _where: list[Multiaddr]

    async def move(self) -> None:
        """Cut the mover off from its old network, silently, and let it go on in a new one."""
        self.network.partition({"old"})
        self.transport.name = "new"
        self._where = await self.mover.listen("/memory/0")

    async def meet(self, dialer: Host) -> None:
        """Make one more connection; without a peer id it dials even if it is connected."""
        addresses = self.settled.addresses if dialer is self.mover else self._where
        await dialer.swarm.dial(None, addresses)


@asynccontextmanager
async def meeting(muxer: Callable[[], Muxer], *, mover_is_lower: bool, mover_dials: bool) -> AsyncIterator[Meeting]:
    """Open two hosts and connect them."""
    mine, other = (LOWER, HIGHER) if mover_is_lower else (HIGHER, LOWER)
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(SimulatedNetwork(1, LinkConditions(latency=0.01)))
        transport = Roaming(network, "old")
        settled = await stack.enter_async_context(
            open_host(
                listen=["/memory/0"], identity=other, transports=[network.node("home")], muxers=[muxer()], swarm=CONFIG
            )
        )
        mover = await stack.enter_async_context(
            open_host(listen=["/memory/0"], identity=mine, transports=[transport], muxers=[muxer()], swarm=CONFIG)
        )
        for host in (settled, mover):
            host.handle(ECHO, echo)
        here, there = (mover, settled) if mover_dials else (settled, mover)
        await here.connect(*there.addresses)
        await trio.sleep(1)
        yield Meeting(network, settled, mover, transport, [])
        network.heal()
