"""A datagram network in memory, on trio's clock: latency, loss, and a look at everything that passes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from random import Random

import trio

from peerstack.stack.net.datagrams import Segments, SocketAddress, split

Tap = Callable[[bytes, SocketAddress, SocketAddress], bytes | None]
"""Sees each datagram with its source and destination; returns it, or what is to pass instead, or None to lose it."""


class MemoryNetwork:
    """Hosts at 10.0.0.x, or on loopback; every socket of one network reaches every other."""

    def __init__(self, *, latency: float = 0.001, loss: float = 0.0, jitter: float = 0.0, seed: int = 1) -> None:
        self.latency, self.loss, self.jitter = latency, loss, jitter
        self.tap: Tap = lambda datagram, source, destination: datagram
        self.sockets: dict[SocketAddress, MemorySocket] = {}
        self.passed = 0
        self.widest = 65_507  # bytes of a datagram; the system refuses larger ones
        self._random = Random(seed)
        self._ports = count(1000)

    def bind(self, address: SocketAddress) -> MemorySocket:
        # A wildcard has a loopback address here: there is one host.
        host = "127.0.0.1" if address[0] == "0.0.0.0" else address[0]
        bound = (host, address[1] or next(self._ports))
        if bound in self.sockets:
            raise OSError(errno.EADDRINUSE, "address already in use")
        self.sockets[bound] = socket = MemorySocket(self, bound)
        return socket

    def carry(self, datagram: bytes, source: SocketAddress, destination: SocketAddress) -> None:
        passed = self.tap(datagram, source, destination)
        target = self.sockets.get(destination)
        if passed is not None and target is not None and self._random.random() >= self.loss:
            self.passed += 1
            target.arrive(passed, source, trio.current_time() + self.latency + self._random.random() * self.jitter)


class MemorySocket:
    """A socket of the network."""

    def __init__(self, network: MemoryNetwork, address: SocketAddress) -> None:
        self.address: SocketAddress = address
        self._network = network
        self._inbox: list[tuple[float, int, bytes, SocketAddress]] = []
        self._order = count()
        self._arrival = trio.Event()
        self._closed = False

    def send(self, datagrams: Sequence[bytes], address: SocketAddress) -> OSError | None:
        refusal = None
        for datagram in datagrams:
            if len(datagram) > self._network.widest:
                refusal = OSError(errno.EMSGSIZE, "message too long")
            else:
                self._network.carry(datagram, self.address, address)
        return refusal

    def send_segments(self, data: bytes, segment: int, address: SocketAddress) -> OSError | None:
        return self.send([datagram for datagram, _ in split(Segments(data, segment, address))], address)

    def receive_segments(self) -> Segments | None:
        for datagram, source in self.receive_nowait():
            return Segments(datagram, len(datagram) or 1, source)
        return None

    def arrive(self, datagram: bytes, source: SocketAddress, when: float) -> None:
        heappush(self._inbox, (when, next(self._order), datagram, source))
        self._arrival.set()

    def receive_nowait(self) -> list[tuple[bytes, SocketAddress]]:
        if self._closed:
            raise trio.ClosedResourceError
        if not self._inbox or self._inbox[0][0] > trio.current_time():
            return []
        _, _, datagram, source = heappop(self._inbox)
        return [(datagram, source)]

    def unreachable(self) -> list[tuple[SocketAddress, int]]:
        return []

    async def wait_readable(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._closed and not (self._inbox and self._inbox[0][0] <= trio.current_time()):
            self._arrival = trio.Event()
            with trio.move_on_at(self._inbox[0][0] if self._inbox else float("inf")):
                await self._arrival.wait()
        if self._closed:
            raise trio.ClosedResourceError

    async def flush(self) -> None:
        await trio.sleep_forever()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            del self._network.sockets[self.address]
            self._arrival.set()
