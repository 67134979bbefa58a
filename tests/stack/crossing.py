"""A transport whose dials meet: two that dial one another's address get the ends of one pipe, as TCP lets them."""

from __future__ import annotations

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, RawConnection, StreamListener
from peerstack.stack.memory import MemoryPipe, memory_address, memory_number, memory_pipe_pair


class _Dial:
    def __init__(self) -> None:
        self.met = trio.Event()
        self.pipe: MemoryPipe | None = None


class Crossing:
    """A network without listeners."""

    def __init__(self) -> None:
        self.dials: dict[tuple[Multiaddr, Multiaddr], _Dial] = {}
        """Under way, by where they come from and go to."""

    async def meet(self, here: Multiaddr, there: Multiaddr) -> MemoryPipe:
        """Wait for the dial that comes the other way."""
        other = self.dials.pop((there, here), None)
        if other is not None:
            await trio.lowlevel.checkpoint()
            ours, other.pipe = memory_pipe_pair()
            other.met.set()
            return ours
        dial = self.dials[here, there] = _Dial()
        try:
            await dial.met.wait()
        finally:
            self.dials.pop((here, there), None)
        assert dial.pipe is not None
        return dial.pipe


class CrossingTransport:
    """The transport of the host that has one `/memory/N` address of this network."""

    def __init__(self, network: Crossing, number: int) -> None:
        self.address = memory_address(number)
        self.options: list[DialOptions] = []
        """Those of each dial."""
        self._network = network

    def can_dial(self, address: Multiaddr) -> bool:
        return bool(memory_number(address))

    def can_listen(self, address: Multiaddr) -> bool:
        return False

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        self.options.append(options)
        return RawConnection(await self._network.meet(self.address, address), self.address, address)

    async def listen(self, address: Multiaddr) -> StreamListener:
        raise NotImplementedError
