"""Dials the peers given with --peer again when they are lost, with growing pauses, until they are back."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import trio
from multiaddr import Multiaddr

from peerstack.stack.errors import StackError
from peerstack.stack.events import ConnectionClosed, ConnectionOpened, Event
from peerstack.stack.host import Host
from peerstack.stack.identity import PeerId

from .events import OutputEvent, PeerBack, PeerLost

FIRST_WAIT = 1.0
"""Seconds before the first dial: most connections are lost because the peer restarts."""
LONGEST_WAIT = 60.0
"""Seconds between two dials at most: a peer that is gone for days costs a packet a minute."""
STEADY = 60.0
"""Seconds that a connection stands before the next loss is taken for a new one; else the waits go on growing."""
ASKED_FOR = "asked for with --peer"

Emit = Callable[[OutputEvent], Awaitable[None]]


def waits(chance: Callable[[], float]) -> Iterator[float]:
    """Yield the seconds before each dial: 1, 2, 4 and so on up to 60, each shortened by chance by up to a half.

    Hosts that lost the same peer at the same moment must not all dial it at once. `chance` is from 0 to 1.
    """
    longest = FIRST_WAIT
    while True:
        yield longest * (1 - chance() / 2)
        longest = min(2 * longest, LONGEST_WAIT)


@dataclass(slots=True)
class _Asked:
    """A peer that was asked for."""

    address: Multiaddr
    peer: PeerId
    reason: str | None = None
    """Why its last connection ended."""
    changed: trio.Event = field(default_factory=trio.Event)


class Redialer:
    """Keeps a host connected to peers: `connect` to each, and `run` it meanwhile."""

    def __init__(self, host: Host, *, chance: Callable[[], float] = random.random) -> None:
        self._host = host
        self._chance = chance
        self._asked: list[_Asked] = []
        host.observe(self)

    def notify(self, event: Event) -> None:
        """Take note of connections that come and go."""
        if not isinstance(event, ConnectionOpened | ConnectionClosed):
            return
        for asked in self._asked:
            if event.info.remote_peer == asked.peer:
                if isinstance(event, ConnectionClosed):
                    asked.reason = event.reason
                asked.changed.set()

    async def connect(self, address: Multiaddr) -> PeerId:
        """Dial a peer for the first time. Raises DialError: a peer that is not there at first is not waited for."""
        peer = await self._host.connect(address)
        self._host.protect(peer, ASKED_FOR)
        self._asked.append(_Asked(address, peer))
        return peer

    async def run(self, emit: Emit) -> None:
        """Dial lost peers again, and report when they are lost and when they are back, until cancelled."""
        async with trio.open_nursery() as nursery:
            for asked in self._asked:
                nursery.start_soon(self._keep, asked, emit)

    async def _keep(self, asked: _Asked, emit: Emit) -> None:
        ahead = waits(self._chance)
        while True:
            began = trio.current_time()
            await self._wait(asked, connected=False)
            lost = trio.current_time()
            if lost - began >= STEADY:
                ahead = waits(self._chance)
            await emit(PeerLost(str(asked.peer), str(asked.address), asked.reason))
            await self._regain(asked, ahead)
            await emit(PeerBack(str(asked.peer), str(asked.address), round(trio.current_time() - lost, 3)))

    async def _regain(self, asked: _Asked, ahead: Iterator[float]) -> None:
        """Dial until the peer is back, which it may be by itself."""
        for seconds in ahead:
            with trio.move_on_after(seconds):
                await self._wait(asked, connected=True)
                return
            try:
                peer = await self._host.connect(asked.address)
            except (StackError, OSError):
                continue
            self._host.unprotect(asked.peer, ASKED_FOR)
            self._host.protect(peer, ASKED_FOR)
            asked.peer = peer
            return

    async def _wait(self, asked: _Asked, *, connected: bool) -> None:
        while bool(self._host.connections(asked.peer)) != connected:
            await asked.changed.wait()
            asked.changed = trio.Event()
