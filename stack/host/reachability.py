"""Which addresses of a host others can dial, as several services found out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from multiaddr import Multiaddr

from ..events import ReachabilityChanged


class Reachability(StrEnum):
    """Whether others can dial an address of ours."""

    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


_STRENGTH = (Reachability.REACHABLE, Reachability.UNREACHABLE, Reachability.UNKNOWN)
"""Where reports differ: a dial that succeeded proves more than one that did not."""


class ReachabilityReports:
    """What each source reported last, and the whole of it."""

    def __init__(self) -> None:
        self._by_source: dict[str, dict[Multiaddr, Reachability]] = {}
        self.current: dict[Multiaddr, Reachability] = {}

    def report(self, statuses: Mapping[Multiaddr, Reachability], source: str) -> ReachabilityChanged | None:
        """Take what a source found, in place of its earlier report; return the event if that changes the whole."""
        self._by_source.pop(source, None)
        if statuses:
            self._by_source[source] = dict(statuses)
        merged: dict[Multiaddr, Reachability] = {}
        for status in reversed(_STRENGTH):
            for found in self._by_source.values():
                merged.update(dict.fromkeys((item for item, said in found.items() if said is status), status))
        if merged == self.current:
            return None
        self.current = merged
        return ReachabilityChanged(*(_of(merged, status) for status in _STRENGTH))


def _of(merged: Mapping[Multiaddr, Reachability], wanted: Reachability) -> tuple[Multiaddr, ...]:
    return tuple(address for address, status in merged.items() if status is wanted)
