"""The simulated network: a clock that jumps from event to event, links between nodes, and the frames on them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, Protocol, TypeVarTuple

from peerstack.stack.identity import PeerId
from peerstack.stack.testing.link import Link, LinkConditions
from peerstack.stack.testing.trace import Trace, TraceEvent, TraceKind, digest_of
from peerstack.stack.wire import varint

from .results import Traffic
from .scenario import Scenario

ArgsT = TypeVarTuple("ArgsT")


class Schedule:
    """A heap of calls by time; those of the same time are made in the order they were added.

    The `Timeline` of the simulated network does the same on trio's clock. A jump of that clock costs a pass of the
    event loop, and here nearly each of a million events has its own time.
    """

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the simulation began."""
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = count()

    def at(self, when: float, call: Callable[[*ArgsT], None], *args: *ArgsT) -> None:
        """Call at `when`, or now if that is past."""
        heapq.heappush(self._due, (when, next(self._order), call, args))

    def run(self, until: float) -> None:
        """Make all calls due up to `until`, which is the time then."""
        due = self._due
        while due and due[0][0] <= until:
            when, _, call, args = heapq.heappop(due)
            if when > self.now:
                self.now = when
            call(*args)
        self.now = max(self.now, until)


class Node(Protocol):
    """A node at the end of a link."""

    index: int
    name: str
    peer_id: PeerId

    def take(self, edge: Edge, frame: bytes) -> None:
        """Receive a frame from `edge`: one RPC with its length before it."""

    def lose(self, edge: Edge) -> None:
        """Note that the other end of `edge` closed the connection."""


class Edge:
    """One direction of a connection."""

    __slots__ = ("back", "closed", "last_arrival", "link", "name", "sink", "source")

    back: Edge
    """The other direction."""

    def __init__(self, source: Node, sink: Node, link: Link) -> None:
        self.source = source
        self.sink = sink
        self.link = link
        self.name = f"{source.name}>{sink.name}"
        self.last_arrival = 0.0
        self.closed = False


class Network:
    """Connects nodes, carries frames in order, and traces every arrival."""

    def __init__(self, scenario: Scenario, schedule: Schedule) -> None:
        self.schedule = schedule
        self.trace = Trace()
        self.traffic = Traffic()
        self._scenario = scenario
        self._random = Random(f"{scenario.seed}/links")
        self._connected: set[tuple[int, int]] = set()

    @property
    def connections(self) -> int:
        """Connections ever made."""
        return len(self._connected)

    def connect(self, one: Node, other: Node) -> Edge | None:
        """Return the edge to `other` of a new connection, or None if there is, or was, one."""
        pair = min(one.index, other.index), max(one.index, other.index)
        if pair in self._connected or one is other:
            return None
        self._connected.add(pair)
        nearest, farthest = self._scenario.latency
        latency = nearest + (farthest - nearest) * self._random.random()
        conditions = LinkConditions(
            latency=latency,
            jitter=latency * self._scenario.jitter,
            bandwidth=self._scenario.bandwidth,
            loss=self._scenario.loss,
        )
        there = Edge(one, other, Link(conditions, self._random))
        there.back = Edge(other, one, Link(conditions, self._random))
        there.back.back = there
        return there

    def send(self, edge: Edge, frame: bytes, digest: str | None = None) -> None:
        """Send a frame; `digest` is that of the frame if it is known already."""
        schedule, link = self.schedule, edge.link
        self.traffic.frames += 1
        self.traffic.bytes += len(frame)
        arrival, _ = link.transmit(schedule.now, len(frame))
        # A stream keeps its order, whatever became of the segments.
        edge.last_arrival = arrival = max(arrival, edge.last_arrival)
        schedule.at(arrival, self._arrive, edge, frame, digest or digest_of(frame))

    def hang_up(self, edge: Edge) -> None:
        """Close a connection from the source of `edge`; frames on the way are lost."""
        edge.closed = edge.back.closed = True
        self.schedule.at(self.schedule.now + edge.link.conditions.latency, edge.sink.lose, edge)

    def _arrive(self, edge: Edge, frame: bytes, digest: str) -> None:
        if edge.closed:
            return
        time = round(self.schedule.now * 1e9)
        self.trace.add(TraceEvent(time, edge.sink.name, edge.name, TraceKind.DELIVERED, "rpc", len(frame), digest))
        edge.sink.take(edge, frame)


def content_of(frame: bytes) -> bytes:
    """Return the RPC in a frame."""
    size, start = varint.decode(frame, 0)
    assert start + size == len(frame), "frames are never split or joined here"
    return frame[start:]
