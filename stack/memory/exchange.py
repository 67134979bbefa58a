"""The listeners at `/memory/N` addresses, and dials to them."""

from __future__ import annotations

import errno
from contextlib import suppress

import trio
from multiaddr import Multiaddr

from ..abc import RawConnection, StreamListener
from ..errors import InvalidAddress

FIRST_FREE_NUMBER = 49152
"""Where the search for a free number begins, above the numbers that users commonly choose."""

BACKLOG = 128
"""Connections that wait to be accepted before dials are refused, so that a flood of dials stays bounded."""


def memory_address(number: int) -> Multiaddr:
    """Return `/memory/<number>`."""
    return Multiaddr(f"/memory/{number}")


def memory_number(address: Multiaddr) -> int | None:
    """Return N of `/memory/N`, or None for any other address."""
    parts = list(address.items())
    if len(parts) != 1 or parts[0][0].name != "memory":
        return None
    return int(parts[0][1])


class MemoryListener(StreamListener):
    """A bound `/memory/N` address."""

    def __init__(self, exchange: Exchange, number: int) -> None:
        self.addresses = (memory_address(number),)
        self._exchange = exchange
        self._number = number
        self._arrive, self._arrivals = trio.open_memory_channel[RawConnection](BACKLOG)

    async def accept(self) -> RawConnection:
        """Wait for the next connection. Raises `trio.ClosedResourceError` after `aclose`."""
        return await self._arrivals.receive()

    def deliver(self, connection: RawConnection) -> None:
        """Queue an arriving connection. Raises `ConnectionRefusedError` when too many wait already."""
        try:
            self._arrive.send_nowait(connection)
        except trio.WouldBlock:
            message = f"{self.address} has {BACKLOG} connections waiting to be accepted"
            raise ConnectionRefusedError(errno.ECONNREFUSED, message) from None

    async def aclose(self) -> None:
        """Free the address; connections not yet accepted are closed."""
        self._exchange.release(self._number, self)
        waiting = self._unaccepted()
        self._arrivals.close()
        with trio.CancelScope(shield=True):
            for connection in waiting:
                await connection.stream.aclose()
        await trio.lowlevel.checkpoint()

    def _unaccepted(self) -> list[RawConnection]:
        connections: list[RawConnection] = []
        with suppress(trio.WouldBlock, trio.ClosedResourceError):
            while True:
                connections.append(self._arrivals.receive_nowait())
        return connections


class Exchange:
    """A table of listeners by number; a space of `/memory/N` addresses of its own."""

    def __init__(self) -> None:
        self._listeners: dict[int, MemoryListener] = {}
        self._next_free = FIRST_FREE_NUMBER

    def bind(self, address: Multiaddr) -> MemoryListener:
        """Bind `/memory/N`, or a free number for `/memory/0`. Raises `OSError` (`EADDRINUSE`), `InvalidAddress`."""
        number = self.number_of(address) or self.free_number()
        if number in self._listeners:
            raise OSError(errno.EADDRINUSE, f"{memory_address(number)} is in use already")
        listener = self._listeners[number] = MemoryListener(self, number)
        return listener

    def find(self, address: Multiaddr) -> MemoryListener:
        """Return the listener there. Raises `ConnectionRefusedError`, `InvalidAddress`."""
        number = self.number_of(address)
        if number not in self._listeners:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"nothing listens on {memory_address(number)}")
        return self._listeners[number]

    def free_number(self) -> int:
        """Return a number with no listener that was not given out before."""
        while self._next_free in self._listeners:
            self._next_free += 1
        self._next_free += 1
        return self._next_free - 1

    def release(self, number: int, listener: MemoryListener) -> None:
        """Forget a listener; it may have been replaced already."""
        if self._listeners.get(number) is listener:
            del self._listeners[number]

    def number_of(self, address: Multiaddr) -> int:
        """Return N of `/memory/N`. Raises `InvalidAddress` for any other address."""
        number = memory_number(address)
        if number is None:
            raise InvalidAddress(f"{address} is not of the form /memory/N")
        return number
