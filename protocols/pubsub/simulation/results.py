"""The results of a simulation: when each node got each message, and the traffic."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

BUCKET = 0.1
"""Seconds of latency that one bar of the histogram covers."""


@dataclass(slots=True)
class Traffic:
    """What was sent, by honest nodes and sybils together."""

    frames: int = 0
    bytes: int = 0
    """With the length before each frame; nothing of the layers below."""
    copies: int = 0
    """Messages in those frames."""
    ihave: int = 0
    """IHAVE entries; the same for the others that follow."""
    ihave_ids: int = 0
    iwant: int = 0
    iwant_ids: int = 0
    graft: int = 0
    prune: int = 0
    idontwant: int = 0


@dataclass(frozen=True, slots=True)
class Lateness:
    """How many of the expected deliveries there were, and how late. Times are seconds from the publication."""

    expected: int
    delivered: int
    median: float | None
    """None where so many never came."""
    p99: float | None
    """None where more than one in a hundred never came."""
    max: float | None
    """Of those that came; None if none did."""

    @property
    def missing(self) -> int:
        """Deliveries that there should have been."""
        return self.expected - self.delivered

    @classmethod
    def of(cls, latencies: Iterable[float], expected: int) -> Lateness:
        """Return the account of these latencies; what is missing counts as later than all of them."""
        ordered = sorted(latencies)
        return cls(
            expected,
            len(ordered),
            _quantile(ordered, expected, 0.5),
            _quantile(ordered, expected, 0.99),
            ordered[-1] if ordered else None,
        )


def _quantile(ordered: Sequence[float], expected: int, share: float) -> float | None:
    place = max(math.ceil(share * expected), 1) - 1
    return ordered[place] if place < len(ordered) else None


@dataclass(frozen=True, slots=True)
class Published:
    """One message and its deliveries."""

    at: float
    """Seconds since the simulation began."""
    author: int
    """Index of the node."""
    lateness: Lateness


@dataclass(frozen=True, slots=True)
class Census:
    """The meshes of the honest nodes when the last message has been published."""

    degrees: dict[int, int]
    """How many nodes have a mesh of how many peers."""
    sybils: int
    """Places in those meshes that sybils hold."""
    suspects: int
    """Honest peers that an honest node scores below 0, counted for each of these nodes."""

    @property
    def mean_degree(self) -> float:
        """The mean size of a mesh."""
        return sum(degree * count for degree, count in self.degrees.items()) / sum(self.degrees.values())

    @property
    def sybil_share(self) -> float:
        """The share of the places that sybils hold."""
        places = sum(degree * count for degree, count in self.degrees.items())
        return self.sybils / places if places else 0.0


@dataclass(frozen=True, slots=True)
class Results:
    """The results of a simulation; the same for the same scenario."""

    trace_hash: str
    """Over every frame that arrived: when, where, how long, and what it was."""
    connections: int
    traffic: Traffic
    deliveries: int
    """To honest nodes, their own messages included."""
    duplicates: int
    """Copies that honest nodes had already."""
    lateness: Lateness
    """Of all messages at all honest nodes but their authors."""
    affected: Lateness
    """Of those that the attack is aimed at."""
    settled: Lateness
    """The same for the last quarter of all messages, when the network has had time to react."""
    histogram: tuple[int, ...]
    """Deliveries to others than the author by latency: up to 100 ms, up to 200 ms, ..."""
    messages: tuple[Published, ...]
    """In the order they were published; only the authors and the nodes that the attack is aimed at."""
    census: Census

    @property
    def sends_per_delivery(self) -> float:
        """Copies sent for each delivery; publishing counts as a delivery to the author."""
        return self.traffic.copies / self.deliveries


class Record:
    """Records publications and deliveries while the simulation runs."""

    def __init__(self) -> None:
        self.copies_received = 0
        """By honest nodes."""
        self._numbers: dict[bytes, int] = {}
        self._published: list[tuple[float, int]] = []
        self._message = array("L")
        self._node = array("L")
        self._latency = array("d")

    def publish(self, message_id: bytes, author: int, now: float) -> None:
        """Note a publication."""
        self._numbers[message_id] = len(self._published)
        self._published.append((now, author))

    def deliver(self, message_id: bytes, node: int, now: float) -> None:
        """Note that a node got a message for the first time."""
        number = self._numbers[message_id]
        self._message.append(number)
        self._node.append(node)
        self._latency.append(now - self._published[number][0])

    @property
    def deliveries(self) -> int:
        """Deliveries to others than the author."""
        return len(self._message)

    @property
    def published(self) -> int:
        """Messages published."""
        return len(self._published)

    def histogram(self) -> tuple[int, ...]:
        """Return the deliveries by latency."""
        counts = Counter(int(latency / BUCKET) for latency in self._latency)
        return tuple(counts[bucket] for bucket in range(max(counts, default=-1) + 1))

    def messages(self, nodes: Collection[int], *, author: int | None = None) -> tuple[Published, ...]:
        """Return how each message, or each of an author, fared among these nodes."""
        latencies: list[list[float]] = [[] for _ in self._published]
        for number, node, latency in zip(self._message, self._node, self._latency, strict=True):
            if node in nodes:
                latencies[number].append(latency)
        return tuple(
            Published(at, whose, Lateness.of(found, len(nodes) - (whose in nodes)))
            for (at, whose), found in zip(self._published, latencies, strict=True)
            if author is None or whose == author
        )

    def lateness(self, nodes: Collection[int], *, since: float = 0.0, author: int | None = None) -> Lateness:
        """Return the account of what these nodes got of what was published `since` then, by that author or by all."""
        chosen = {
            number
            for number, (at, whose) in enumerate(self._published)
            if at >= since and (author is None or whose == author)
        }
        own = sum(self._published[number][1] in nodes for number in chosen)
        found = [
            latency
            for number, node, latency in zip(self._message, self._node, self._latency, strict=True)
            if number in chosen and node in nodes
        ]
        return Lateness.of(found, len(chosen) * len(nodes) - own)
