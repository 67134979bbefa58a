"""A network in one process with latency, loss and partitions, in which the same seed gives the same run."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager, ExitStack
from itertools import count
from random import Random
from types import TracebackType
from typing import Self

import trio
from multiaddr import Multiaddr

from ..abc import DEFAULT_DIAL, DialOptions, RawConnection, StreamListener
from ..background import open_background
from ..memory import DEFAULT_CAPACITY, Exchange, MemoryListener, memory_address, memory_number
from .link import Link, LinkConditions, Timeline
from .raw_connection import SimulatedConnection
from .trace import Trace, TraceEvent, TraceKind, digest_of

DEFAULT_WINDOW = 256 * 1024
"""Bytes of one direction of a connection that may be under way or unread, as a receive window of TCP."""


class SimulatedNetwork:
    """A network of named nodes, used as `async with SimulatedNetwork(seed) as network`.

    Each node is a `StreamTransport` for `/memory/N` addresses. Time is trio's clock: run it under a `MockClock` that
    jumps when all tasks wait, and with `seed_scheduler`, and the trace is the same, byte for byte, for the same seed.
    What the model leaves out: acknowledgements take no time, so the window opens as soon as the reader takes bytes;
    and nothing slows down after a loss.
    """

    def __init__(
        self,
        seed: int,
        conditions: LinkConditions | None = None,
        *,
        send_buffer: int = DEFAULT_CAPACITY,
        window: int = DEFAULT_WINDOW,
    ) -> None:
        if min(send_buffer, window) < 1:
            raise ValueError("send_buffer and window must be at least one byte")
        self.random = Random(seed)
        """The one source of randomness; use it for the choices of a simulation, too."""
        self.conditions = conditions or LinkConditions()
        """What holds between nodes for which `set_link` was not called."""
        self.send_buffer = send_buffer
        self.window = window
        self.trace = Trace()
        self.timeline = Timeline()
        self.exchange = Exchange()
        self._nodes: dict[str, SimulatedNode] = {}
        self._homes: dict[int, str] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._connections: list[SimulatedConnection] = []
        self._wire_numbers = count(1)
        self._group_of: dict[str, int] = {}
        self._regrouped = trio.lowlevel.ParkingLot()
        self._began = 0.0
        self._background: AbstractAsyncContextManager[trio.Nursery] = open_background()

    async def __aenter__(self) -> Self:
        nursery = await self._background.__aenter__()
        self._began = trio.current_time()
        nursery.start_soon(self.timeline.run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.cut()
        self._connections.clear()
        await self._background.__aexit__(kind, error, traceback)

    # ---- commands of the simulation

    def node(self, name: str) -> SimulatedNode:
        """Return the node of that name; it appears when it is first asked for."""
        if name not in self._nodes:
            self._nodes[name] = SimulatedNode(self, name)
        return self._nodes[name]

    def set_link(self, one: str, other: str, conditions: LinkConditions) -> None:
        """Set the conditions between two nodes in both directions, for what is sent from now on."""
        self.link(one, other).conditions = conditions
        self.link(other, one).conditions = conditions

    def partition(self, *groups: Collection[str]) -> None:
        """Let nodes reach only nodes of their own group; those in no group form one more.

        Nothing is lost: what crosses groups, dials included, waits for `heal`, as with TCP's retransmissions.
        A new partition replaces the one before.
        """
        group_of: dict[str, int] = {}
        for index, group in enumerate(groups, start=1):
            for name in group:
                if group_of.setdefault(name, index) != index:
                    raise ValueError(f"node {name!r} is in two groups")
        self._regroup(group_of, TraceKind.PARTITIONED)

    def heal(self) -> None:
        """Let every node reach every other again."""
        self._regroup({}, TraceKind.HEALED)

    def sever(self, one: str, other: str) -> None:
        """Break every connection between two nodes at both ends; new dials are not affected."""
        for connection in self._connections:
            if set(connection.ends) == {one, other}:
                connection.cut()
        self.forget_what_is_over()

    def trace_hash(self, *, contents: bool = True) -> str:
        """Return one hash over all that happened; `contents=False` leaves out what the bytes were.

        Encrypted traffic needs the latter: its keys come from the operating system and not from the seed. Whole hosts
        need `seeded_identity` as well, since peers compare their ids.
        """
        return self.trace.hash(contents=contents)

    # ---- for nodes and connections

    def parted(self, one: str, other: str) -> bool:
        """Return whether a partition lies between two nodes."""
        return self._group_of.get(one, 0) != self._group_of.get(other, 0)

    def link(self, source: str, sink: str) -> Link:
        """Return the way from one node to another."""
        key = source, sink
        if key not in self._links:
            self._links[key] = Link(self.conditions, self.random)
        return self._links[key]

    def record(self, kind: TraceKind, node: str, link: str, what: str, data: bytes = b"") -> None:
        """Add an event to the trace."""
        time = round((trio.current_time() - self._began) * 1e9)
        self.trace.add(TraceEvent(time, node, link, kind, what, len(data), digest_of(data)))

    def forget_what_is_over(self) -> None:
        """Drop connections on which nothing can happen any more."""
        self._connections = [connection for connection in self._connections if not connection.over]

    def bind(self, node: str, address: Multiaddr) -> MemoryListener:
        """Bind an address for a node."""
        listener = self.exchange.bind(address)
        self._homes[self.exchange.number_of(listener.address)] = node
        return listener

    async def connect(self, node: str, address: Multiaddr) -> RawConnection:
        """Dial from a node: one round trip, then a connection, or `ConnectionRefusedError`."""
        # A number that was never in use is refused by the dialing node itself.
        home = self._homes.get(self.exchange.number_of(address), node)
        number = next(self._wire_numbers)
        name = f"{node}>{home}#{number}"
        self.record(TraceKind.DIAL, node, name, str(address))
        await self._cross(node, home)
        try:
            connection, origin = self._arrive(node, home, number, address)
        except ConnectionRefusedError:
            await self._cross(home, node)
            self.record(TraceKind.REFUSED, node, name, str(address))
            raise
        with ExitStack() as undo:
            undo.callback(connection.cut)
            await self._cross(home, node)
            undo.pop_all()
        self.record(TraceKind.CONNECTED, node, name, str(address))
        return RawConnection(connection.near, origin, address)

    def _arrive(self, node: str, home: str, number: int, address: Multiaddr) -> tuple[SimulatedConnection, Multiaddr]:
        """Hand a new connection to the listener there, and return it with the address it comes from."""
        listener = self.exchange.find(address)
        connection = SimulatedConnection(self, node, home, number)
        origin = memory_address(self.exchange.free_number())
        listener.deliver(RawConnection(connection.far, listener.address, origin))
        self._connections.append(connection)
        return connection, origin

    async def _cross(self, source: str, sink: str) -> None:
        """Wait as long as a packet without data takes from one node to the other."""
        while True:
            arrival, _ = self.link(source, sink).transmit(trio.current_time(), 0)
            await trio.sleep_until(arrival)
            if not self.parted(source, sink):
                return
            await self._regrouped.park()

    def _regroup(self, group_of: dict[str, int], kind: TraceKind) -> None:
        self._group_of = group_of
        self.record(kind, "", "", ",".join(f"{name}={group}" for name, group in sorted(group_of.items())))
        for connection in self._connections:
            if not self.parted(*connection.ends):
                connection.heal()
        self._regrouped.unpark_all()


class SimulatedNode:
    """One host of a simulated network; a `StreamTransport` for `/memory/N` addresses."""

    def __init__(self, network: SimulatedNetwork, name: str) -> None:
        self.name = name
        self._network = network

    def can_dial(self, address: Multiaddr) -> bool:
        """Return whether the address is `/memory/N` with N above 0."""
        return bool(memory_number(address))

    def can_listen(self, address: Multiaddr) -> bool:
        """Return whether the address is `/memory/N`."""
        return memory_number(address) is not None

    async def dial(self, address: Multiaddr, options: DialOptions = DEFAULT_DIAL) -> RawConnection:
        """Connect, which takes a round trip. Raises `ConnectionRefusedError`, `InvalidAddress`."""
        await trio.lowlevel.checkpoint()
        return await self._network.connect(self.name, address)

    async def listen(self, address: Multiaddr) -> StreamListener:
        """Bind; numbers are shared by all nodes. Raises `OSError` with `EADDRINUSE`, `InvalidAddress`."""
        await trio.lowlevel.checkpoint()
        return self._network.bind(self.name, address)
