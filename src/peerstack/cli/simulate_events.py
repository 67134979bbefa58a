"""The events of `simulate`; part of the JSON form (docs/cli.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .events import OutputEvent


@dataclass(frozen=True, slots=True)
class Latencies:
    """How many deliveries were expected, how many never came, and how late the others were, in milliseconds.

    What never came counts as later than all: a quantile is null where that many are missing.
    """

    expected: int
    missing: int
    median_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True)
class Meshes:
    """The meshes of the honest nodes when the last message was published."""

    min: int
    mean: float
    max: int
    degrees: tuple[int, ...]
    """Nodes with a mesh of 0 peers, of 1, ..."""
    sybil_share: float
    """Of all places in them, 0 to 1."""
    suspects: int
    """Honest peers that an honest node scores below 0."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent between the nodes; the entries of control messages are counted one by one."""

    frames: int
    bytes: int
    messages: int
    ihave: int
    ihave_ids: int
    iwant: int
    iwant_ids: int
    graft: int
    prune: int
    idontwant: int


@dataclass(frozen=True, slots=True)
class Simulated(OutputEvent):
    """The end of `simulate gossip`."""

    event: ClassVar[str] = "simulation"
    nodes: int
    connections: int
    messages: int
    seed: int
    version: str
    scored: bool
    attack: str
    sybils: int
    deliveries: int
    """To honest nodes, one for each message at its author included."""
    sends_per_delivery: float
    duplicates: int
    latency: Latencies
    histogram: tuple[int, ...]
    """Deliveries that took up to 100 ms, up to 200 ms, ..."""
    affected: Latencies
    """Of the deliveries the attack is aimed at, from its beginning."""
    settled: Latencies
    """The same for the last quarter of the messages."""
    mesh: Meshes
    sent: Sent
    trace_hash: str
    """The same for the same arguments, wherever they are run."""
    wall_seconds: float
    peak_memory_bytes: int | None
