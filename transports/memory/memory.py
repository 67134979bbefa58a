"""The memory transport: hosts of one process talk through `/memory/N` addresses."""

from __future__ import annotations

import trio
from multiaddr import Multiaddr

from peerstack.stack.abc import DEFAULT_DIAL, DialOptions, RawConnection, StreamListener
from peerstack.stack.memory import (
    DEFAULT_CAPACITY,
    Exchange,
    memory_address,
    memory_number,
    memory_pipe_pair,
)


class MemoryNetwork(Exchange):
    """A space of `/memory/N` addresses; share one among the hosts that are to reach each other."""

    def __init__(self, *, capacity: int = DEFAULT_CAPACITY) -> None:
        super().__init__()
        if capacity < 1:
            raise ValueError(f"capacity must be at least one byte, not {capacity}")
        self.capacity = capacity
        """Bytes that one direction of a connection holds before the sender waits."""

    def connect(self, address: Multiaddr) -> RawConnection:
        """Return a connection to the listener there. Raises `ConnectionRefusedError`, `InvalidAddress`."""
        listener = self.find(address)
        near, far = memory_pipe_pair(self.capacity)
        origin = memory_address(self.free_number())
        listener.deliver(RawConnection(far, listener.address, origin))
        return RawConnection(near, origin, listener.address)


class MemoryTransport:
    """Carries byte streams to `/memory/N` addresses of one `MemoryNetwork`; `/memory/0` listens on a free number."""

    def __init__(self, network: MemoryNetwork) -> None:
        self._network = network

    def can_dial(self, address: Multiaddr) -> bool:
        """Return whether the address is `/memory/N` with N above 0."""
        return bool(memory_number(address))

    def can_listen(self, address: Multiaddr) -> bool:
        """Return whether the address is `/memory/N`."""
        return memory_number(address) is not None

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        """Connect. Raises `ConnectionRefusedError` without a listener there, `InvalidAddress`."""
        await trio.lowlevel.checkpoint()
        return self._network.connect(address)

    async def listen(self, address: Multiaddr) -> StreamListener:
        """Bind. Raises `OSError` with `EADDRINUSE` when the number is taken, `InvalidAddress`."""
        await trio.lowlevel.checkpoint()
        return self._network.bind(address)
