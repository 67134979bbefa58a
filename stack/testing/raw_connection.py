"""One connection of a simulated network: two hops, each of which carries bytes in one direction."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final, Protocol

import trio

from ..memory import ByteQueue, MemoryPipe, QueueState
from .link import Link, OnLoss, Timeline
from .trace import TraceKind

SEGMENT_SIZE: Final = 16 * 1024
"""Most bytes that travel, and get lost, together."""

_UNBOUNDED: Final = 2**62


class SegmentKind(StrEnum):
    """What a segment says."""

    DATA = "data"
    FIN = "fin"
    """No more bytes will come."""
    GONE = "gone"
    """The reader is gone."""
    RESET = "reset"
    """The connection is broken."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What travels together."""

    kind: SegmentKind
    data: bytes = b""


class Network(Protocol):
    """What a connection needs of its network."""

    send_buffer: int
    window: int
    timeline: Timeline

    def link(self, source: str, sink: str) -> Link:
        """Return the way from one node to another."""
        ...

    def parted(self, one: str, other: str) -> bool:
        """Return whether a partition lies between two nodes."""
        ...

    def record(self, kind: TraceKind, node: str, link: str, what: str, data: bytes = b"") -> None:
        """Add an event to the trace."""
        ...

    def forget_what_is_over(self) -> None:
        """Drop connections on which nothing can happen any more."""
        ...


class Hop:
    """One direction of a connection: takes bytes out of the sender's queue and puts them, later, into the reader's."""

    def __init__(self, network: Network, from_node: str, to_node: str, number: int) -> None:
        self.from_node = from_node
        self.to_node = to_node
        self.name = f"{from_node}>{to_node}#{number}"
        self.source = ByteQueue(network.send_buffer)
        # The window bounds what is put in; what the reader gives back must not count against it.
        self.sink = ByteQueue(_UNBOUNDED)
        self.source.on_change = self.sink.on_change = self._changed
        self._network = network
        self._travelling: deque[Segment] = deque()
        self._in_flight = 0
        self._last_arrival = -inf
        self._held = 0
        self._said: set[SegmentKind] = set()
        self._pump_due = False

    def join(self, back: Hop, cut: Callable[[], None]) -> None:
        """Learn of the other direction, and how to break both."""
        self._back = back
        self._cut = cut

    @property
    def over(self) -> bool:
        """Whether nothing can come out of this hop any more."""
        return self.sink.state is not QueueState.OPEN and not self._travelling

    def say(self, kind: SegmentKind) -> None:
        """Send a segment without data, once."""
        if not self._said & {kind, SegmentKind.RESET}:
            self._said.add(kind)
            self._send(Segment(kind))

    def silence(self) -> None:
        """Send nothing more; what is under way is lost."""
        self._said.add(SegmentKind.RESET)
        self._travelling.clear()
        self._held = 0

    def heal(self) -> None:
        """Send again what a partition held back."""
        held, self._held = self._held, 0
        for segment in list(self._travelling)[:held]:
            self._schedule(segment)

    def _changed(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            self._network.timeline.at(trio.current_time(), self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        if SegmentKind.RESET in self._said:
            return
        if self.source.state is QueueState.BROKEN:
            self.say(SegmentKind.RESET)
            return
        self._send_data()
        if self.source.state is QueueState.ENDED and not self.source.size:
            self.say(SegmentKind.FIN)
        if self.sink.state is QueueState.ABANDONED:
            self._back.say(SegmentKind.GONE)

    def _send_data(self) -> None:
        room = self._network.window - self._in_flight - self.sink.size
        while self.source.size and room > 0:
            data = self.source.take(min(room, SEGMENT_SIZE))
            room -= len(data)
            self._in_flight += len(data)
            self._send(Segment(SegmentKind.DATA, data))

    def _send(self, segment: Segment) -> None:
        self._travelling.append(segment)
        self._record(TraceKind.SENT, self.from_node, segment)
        self._schedule(segment)

    def _schedule(self, segment: Segment) -> None:
        link = self._network.link(self.from_node, self.to_node)
        arrival, losses = link.transmit(trio.current_time(), len(segment.data))
        for _ in range(losses):
            self._record(TraceKind.LOST, self.from_node, segment)
        if losses and link.conditions.on_loss is OnLoss.RESET:
            self._cut()
            return
        self._last_arrival = max(arrival, self._last_arrival)
        self._network.timeline.at(self._last_arrival, self._arrive)

    def _arrive(self) -> None:
        """Deliver the first segment that travels: arrivals have times, the queue has the order."""
        if len(self._travelling) <= self._held:
            return
        if self._network.parted(self.from_node, self.to_node):
            self._record(TraceKind.HELD, self.to_node, self._travelling[self._held])
            self._held += 1
            return
        segment = self._travelling.popleft()
        self._record(TraceKind.DELIVERED, self.to_node, segment)
        self._deliver(segment)
        if segment.kind is not SegmentKind.DATA:
            self._network.forget_what_is_over()

    def _deliver(self, segment: Segment) -> None:
        match segment.kind:
            case SegmentKind.DATA:
                self._in_flight -= len(segment.data)
                # The reader may be gone, which it tells by itself.
                with suppress(trio.BrokenResourceError):
                    self.sink.put(segment.data)
            case SegmentKind.FIN:
                self.sink.end()
            case SegmentKind.GONE:
                self._back.source.abandon()
            case SegmentKind.RESET:
                self._back.silence()
                self.sink.cut()
                self._back.source.cut()

    def _record(self, kind: TraceKind, node: str, segment: Segment) -> None:
        self._network.record(kind, node, self.name, segment.kind, segment.data)


class SimulatedConnection:
    """Two hops, and the pipe at each end."""

    def __init__(self, network: Network, dialer: str, listener: str, number: int) -> None:
        self.ends = dialer, listener
        self._there = Hop(network, dialer, listener, number)
        self._back = Hop(network, listener, dialer, number)
        self._there.join(self._back, self.cut)
        self._back.join(self._there, self.cut)
        self.near = MemoryPipe(self._back.sink, self._there.source)
        self.far = MemoryPipe(self._there.sink, self._back.source)

    @property
    def over(self) -> bool:
        """Whether nothing can happen on this connection any more."""
        return self._there.over and self._back.over

    def cut(self) -> None:
        """Break the connection at both ends at once; what travels is lost."""
        for hop in self._there, self._back:
            hop.silence()
            hop.source.cut()
            hop.sink.cut()

    def heal(self) -> None:
        """Send again what a partition held back."""
        self._there.heal()
        self._back.heal()
