"""The counters of a peer in one topic and their points: P1 to P4 of the peer score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .decay import faded

if TYPE_CHECKING:
    from .config import TopicScoreConfig


class TopicCounters:
    """The counters of one peer in one topic."""

    __slots__ = (
        "_deficit_counts",
        "_grafted",
        "config",
        "failures",
        "first",
        "in_mesh",
        "invalid",
        "mesh",
        "mesh_time",
    )

    def __init__(self, config: TopicScoreConfig) -> None:
        self.config = config
        self.in_mesh = False
        self._grafted = 0.0
        self.mesh_time = 0.0
        """Seconds in the mesh, as of the last decay."""
        self._deficit_counts = False
        """In the mesh for longer than the activation time, as of the last decay."""
        self.first = 0.0
        self.mesh = 0.0
        self.failures = 0.0
        self.invalid = 0.0

    @property
    def idle(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.in_mesh or self.first or self.mesh or self.failures or self.invalid)

    def points(self) -> float:
        """Return the points of this topic, weighted."""
        config = self.config
        points = self.first * config.first_deliveries_weight
        if self.in_mesh:
            quanta = int(self.mesh_time / config.time_in_mesh_quantum)
            points += min(quanta, config.time_in_mesh_cap) * config.time_in_mesh_weight
            points += self._squared_deficit() * config.mesh_deliveries_weight
        points += self.failures * config.mesh_failure_weight
        points += self.invalid * self.invalid * config.invalid_weight
        return points * config.weight

    def _squared_deficit(self) -> float:
        deficit = self.config.mesh_deliveries_threshold - self.mesh
        return deficit * deficit if self._deficit_counts and deficit > 0 else 0.0

    def enter_mesh(self, now: float) -> None:
        """Begin a time in the mesh."""
        self.in_mesh = True
        self._grafted = now

    def leave_mesh(self) -> None:
        """End the time in the mesh; the deficit of the moment stays as a failure (P3b)."""
        self.failures += self._squared_deficit()
        self.in_mesh = False
        self.mesh_time = 0.0
        self._deficit_counts = False

    def count_first(self) -> None:
        """Count a message that the peer was the first to deliver."""
        self.first = min(self.first + 1, self.config.first_deliveries_cap)
        self.count_mesh()

    def count_mesh(self) -> None:
        """Count a message that the peer delivered in time, if it is in the mesh."""
        if self.in_mesh and self.config.counts_mesh_deliveries:
            self.mesh = min(self.mesh + 1, self.config.mesh_deliveries_cap)

    def decay(self, steps: int, to_zero: float, now: float) -> None:
        """Let the counters fade, and see how long the peer has been in the mesh."""
        config = self.config
        if self.first:
            self.first = faded(self.first, config.first_deliveries_decay, steps, to_zero)
        if self.mesh:
            self.mesh = faded(self.mesh, config.mesh_deliveries_decay, steps, to_zero)
        if self.failures:
            self.failures = faded(self.failures, config.mesh_failure_decay, steps, to_zero)
        if self.invalid:
            self.invalid = faded(self.invalid, config.invalid_decay, steps, to_zero)
        if self.in_mesh:
            self.mesh_time = now - self._grafted
            self._deficit_counts = self.mesh_time > config.mesh_deliveries_activation
